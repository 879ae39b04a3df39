"""Where the time of a run goes: in the stage functions, or around them (interpreters, imports, Snakemake).

    python -m benchmarks.overhead [CONFIG] [--cores 1 2] [--tile 500] [--refine none] [--repeat 1]

CONFIG (config/demo.yaml) is run in an empty folder for each number of cores. Every process of the run tells when it and its
stage function began and ended (benchmarks/probe); what a stage function imports counts as outside. On several cores the
stages' share of the run is the time by the clock in which at least one was at work. Processor seconds say the same on a
machine that others use, where the clock does not. With several numbers of cores, or several runs, the last line compares
the wall times of the first number with those of the others, by the best run of each.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rsmvs.config import as_dict, config_from_dict, load_config, tiles
from rsmvs.io.timings import read_timings

ROOT = Path(__file__).resolve().parents[1]
PROBE = Path(__file__).resolve().parent / "probe"


@dataclass(frozen=True)
class Told:
    """wall, cpu: s of a run. processes: what each of them told. rows: the run's own timings, from its logs."""

    wall: float
    cpu: float
    processes: list[dict[str, Any]]
    rows: list[dict[str, Any]]

    @property
    def jobs(self) -> list[dict[str, Any]]:
        return [p for p in self.processes if p["kind"] == "job"]

    @property
    def stage_wall(self) -> float:
        """Time by the clock in which a stage function was at work; its own imports, at most those of all, taken off."""
        covered, until = 0.0, 0.0
        for job in sorted(self.jobs, key=lambda j: j["start"]):
            covered += max(0.0, job["end"] - max(job["start"], until))
            until = max(until, job["end"])
        return covered - sum(job["end"] - job["start"] - job["stage"] for job in self.jobs)

    @property
    def stage_cpu(self) -> float:
        return sum(job["stage_cpu"] for job in self.jobs)


def run(values: dict[str, Any], cores: int) -> Told:
    """A configuration from nothing to its products."""
    with tempfile.TemporaryDirectory(prefix="rsmvs-") as name:
        folder = Path(name)
        (folder / "probed").mkdir()
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump(values | {"output": str(folder / "out")}))
        path = os.pathsep.join(filter(None, (str(PROBE), os.environ.get("PYTHONPATH"))))
        words = [sys.executable, "-m", "rsmvs.cli", "run", str(config), "--cores", str(cores)]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL,
                       env=os.environ | {"PYTHONPATH": path, "RSMVS_PROBED": str(folder / "probed")})  # fmt: skip
        wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        processes = [json.loads(p.read_text()) for p in (folder / "probed").iterdir()]
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Told(wall, cpu, processes, read_timings(folder / "out" / "logs"))


def print_rules(told: Told) -> None:
    """Per rule: seconds of its stage function, and of the process around it, by the clock and of the processor."""
    by_rule = defaultdict(list)
    for job in told.jobs:
        by_rule[job["rule"]].append(job)
    logged = {row["stage"]: row["seconds"] for row in told.rows}
    print(f"{'':18} {'jobs':>4} {'stage s':>8} {'CPU s':>7} {'logged s':>9} {'around s':>9} {'CPU s':>7} {'imports':>8}")
    for rule, jobs in sorted(by_rule.items(), key=lambda item: min(j["began"] for j in item[1])):
        life, stage = sum(j["ended"] - j["began"] for j in jobs), sum(j["stage"] for j in jobs)
        cpu, stage_cpu, imports = (sum(j[k] for j in jobs) for k in ("cpu", "stage_cpu", "imports"))
        print(f"{rule:18} {len(jobs):4} {stage:8.1f} {stage_cpu:7.1f} {logged[rule]:9.1f} "
              f"{life - stage:9.1f} {cpu - stage_cpu:7.1f} {imports:8.1f}")  # fmt: skip
    for kind in ("snakemake", "rsmvs"):
        them = [p for p in told.processes if p["kind"] == kind]
        life, cpu = sum(p["ended"] - p["began"] for p in them), sum(p["cpu"] for p in them)
        print(f"{kind:18} {len(them):4} {'':8} {'':7} {'':9} {life:9.1f} {cpu:7.1f}")


def summary(told: Told, cores: int) -> str:
    clock, processor = 1 - told.stage_wall / told.wall, 1 - told.stage_cpu / told.cpu
    logged = sum(row["seconds"] for row in told.rows)
    return (f"{cores} cores: {told.wall:.1f} s by the clock, {clock:.0%} of them outside the stage functions; "
            f"{told.cpu:.1f} CPU s, {processor:.0%} outside; logged by the jobs: {logged:.1f} s")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", type=Path, default=ROOT / "config" / "demo.yaml")
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--tile", type=float, help="another area.tile_size, m")
    parser.add_argument("--refine", help="other fuse.refine.weights, as none")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each number of cores, by turns")
    args = parser.parse_args()
    values = as_dict(load_config(args.config))
    values["area"] |= {"tile_size": args.tile} if args.tile else {}
    values["fuse"]["refine"] |= {"weights": args.refine} if args.refine else {}
    print(f"{args.config}: {len(tiles(config_from_dict(values, args.config)))} tiles, {os.cpu_count()} cores here")
    walls = defaultdict(list)
    for _ in range(args.repeat):
        for cores in args.cores:
            told = run(values, cores)
            print_rules(told)
            print(summary(told, cores), flush=True)
            walls[cores].append(told.wall)
    first, *others = walls
    for cores in others:
        print(f"{cores} cores instead of {first}: {min(walls[first]) / min(walls[cores]):.2f} times as fast")


if __name__ == "__main__":
    main()
