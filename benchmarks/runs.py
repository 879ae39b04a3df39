"""Whole runs of the configurations with a reference: CPU seconds, wall time, peak memory of a job, accuracy.

python benchmarks/runs.py [CONFIG ...] [--cores 2]
Without a configuration: the demo scene, and those of config/ whose images are there.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from rsmvs.config import as_dict, load_config

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ("completeness", "pag_1.0", "pag_2.5", "rmse", "nmad")


def run_in(folder: Path, values: dict[str, Any], cores: str) -> dict[str, float]:
    """Run a configuration into `folder`/out. CPU seconds are those of all processes, Snakemake included; peak: MB of the
    largest job."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values | {"output": f"{folder}/out"}))
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-m", "rsmvs.cli", "run", str(path), "--cores", cores], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    logs = "".join(p.read_text() for p in (folder / "out" / "logs").rglob("*.log"))
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak = max(map(int, re.findall(r"^done in .* peak (\d+) MB", logs, re.MULTILINE)))
    return {"cpu": cpu, "wall": time.monotonic() - began, "peak": peak}


def measured(config: Path, cores: str) -> dict[str, float]:
    """Cost and figures of a configuration, run in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        cost = run_in(Path(folder), as_dict(load_config(config)), cores)
        metrics = json.loads((Path(folder) / "out" / "products" / "metrics.json").read_text())
    return cost | {k: metrics["aligned"][k] for k in FIGURES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="*", type=Path)
    parser.add_argument("--cores", default="2")
    args = parser.parse_args()
    configs = args.configs or sorted((ROOT / "config").glob("*.yaml"))
    print(f"{'run':16} {'CPU s':>7} {'wall s':>7} {'peak MB':>8}" + "".join(f"{name:>13}" for name in FIGURES))
    for path in configs:
        config = load_config(path)
        if not config.reference.dsm or not all(Path(image.path).is_file() for image in config.images):
            continue
        got = measured(path, args.cores)
        line = f"{path.stem:16} {got['cpu']:7.0f} {got['wall']:7.0f} {got['peak']:8.0f}"
        print(line + "".join(f"{got[name]:13.2f}" for name in FIGURES), flush=True)


if __name__ == "__main__":
    main()
