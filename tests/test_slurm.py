"""The workflow on a real SLURM with two nodes: a job cancelled, a job killed, a node drained in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from slurm_cluster import Slurm, Unavailable, cluster

# The cluster keeps no accounts, and a test has no time: ask squeue, and often.
QUICK = ("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "3", "--latency-wait", "10",
         "--max-status-checks-per-second", "10",
         "--default-resources", "slurm_partition=main")  # fmt: skip


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    if find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("no SLURM: snakemake-executor-plugin-slurm is not installed (pip install 'rsmvs[slurm]')")
    try:
        with cluster(tmp_path_factory.mktemp("slurm")) as started:
            yield started
    except Unavailable as why:
        pytest.skip(f"no SLURM: {why}")


def waited(find: Callable[[], Any], process: subprocess.Popen[bytes]) -> Any:
    """What `find` finds, as soon as it does while the run goes on."""
    while process.poll() is None:
        if found := find():
            return found
        time.sleep(0.2)
    raise AssertionError("the run ended before")


def running(slurm: Slurm, rule: str) -> dict[str, str] | None:
    """A job of a rule that runs."""
    return next((j for j in slurm.jobs() if f"rule_{rule}" in j["comment"] and j["state"] == "RUNNING"), None)


def worker_of(tile: str) -> int | None:
    """The process that works on a tile's heights: it holds the job's log open."""
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            if any(str(fd.readlink()).endswith(f"/logs/predict_heights/{tile}.log") for fd in folder.iterdir()):
                return int(folder.parent.name)
        except OSError:
            continue
    return None


@pytest.mark.slurm
@pytest.mark.timeout(1800)
def test_a_run_survives_lost_jobs_and_a_drained_node(slurm: Slurm, tiny_values: dict[str, Any], tmp_path: Path):
    xmin, ymin, xmax, ymax = tiny_values["area"]["aoi"]
    area = {**tiny_values["area"], "aoi": [xmin, ymin, xmax, (ymin + ymax) / 2]}
    config, folder, began = tmp_path / "my.yaml", tmp_path / "out", time.monotonic()
    config.write_text(yaml.safe_dump({**tiny_values, "area": area, "output": str(folder)}))
    words = [sys.executable, "-m", "rsmvs.cli", "run", str(config), "--profile", "slurm", "--target", "products", "--", *QUICK]
    said = tmp_path / "said"
    with said.open("w") as out:
        process = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT)

    cancelled = waited(lambda: running(slurm, "match_views"), process)
    slurm.call("scancel", cancelled["id"])

    waited((folder / "plan.json").exists, process)  # written after the plans of the tiles
    tiles = [path.parent.name for path in sorted(folder.glob("tiles/*/plan.json"))]
    pid = waited(lambda: next(filter(None, map(worker_of, tiles)), None), process)
    node = waited(lambda: running(slurm, "predict_heights"), process)["node"]
    os.kill(pid, signal.SIGKILL)
    slurm.call("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
    before = {job["id"] for job in slurm.jobs() if job["node"] == node}
    waited(lambda: list(folder.glob("tiles/*/heights/index.json")), process)
    during = {job["id"] for job in slurm.jobs() if job["node"] == node}
    slurm.call("scontrol", "update", f"NodeName={node}", "State=RESUME")

    assert process.wait() == 0, said.read_text()
    print(f"{time.monotonic() - began:.0f} s for the run")
    assert before and during == before, "the drained node had jobs, and got none"
    ledger = json.loads((folder / "products" / "ledger.json").read_text())
    assert ledger["counts"] == {"ok": len(tiles), "empty": 0, "failed": 0} and len(tiles) == 2
    jobs = {job["id"]: job for job in slurm.jobs()}
    again = [job["state"] for job in jobs.values() if job["comment"] == cancelled["comment"]]  # it names rule and view
    assert again == ["CANCELLED", "COMPLETED"] and jobs[cancelled["id"]]["state"] == "CANCELLED"
    heights = [job["state"] for job in jobs.values() if job["comment"].startswith("rule_predict_heights")]
    assert sorted(heights) == [*["COMPLETED"] * len(tiles), "FAILED"], "one job was killed, no other one was lost with it"
    assert "trial 2; the one before was killed" in "".join(p.read_text() for p in folder.glob("logs/predict_heights/*.log"))
