"""`rsmvs run` in tests: configurations, runs in processes of their own, and what comes of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

DESCRIBING = ("catalogue_scene", "report_scene")  # they tell of the configuration itself
RSMVS = [sys.executable, "-m", "rsmvs.cli"]


def write_config(folder: Path, values: dict[str, Any], name: str = "my.yaml", **sections: Any) -> Path:
    """A configuration in `folder` whose output is `folder`/out; `sections` replace those of `values`."""
    path = folder / name
    path.write_text(yaml.safe_dump({**values, **sections, "output": str(folder / "out")}))
    return path


def run(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RSMVS, "run", str(config), "--cores", "2", *arguments], capture_output=True, text=True, check=False)


def pending(config: Path, *arguments: str) -> dict[str, int]:
    """Jobs per rule that a dry run announces, without those that only describe the run."""
    said = run(config, "-n", *arguments)
    assert said.returncode == 0, said.stderr
    table = re.findall(r"^(\w+) +(\d+)$", said.stdout, re.MULTILINE)
    return {rule: int(number) for rule, number in table if rule not in ("total", "all", *DESCRIBING)}


def products(folder: Path) -> dict[str, bytes]:
    """The bytes of the products by name; of the report without the times, which no two runs share."""
    found = {p.name: p.read_bytes() for p in sorted((folder / "out" / "products").iterdir())}
    return found | {"report.html": re.sub(rb'(id="timings">)[^<]*', rb"\1", found["report.html"])}
