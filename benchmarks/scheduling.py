"""What Snakemake itself costs while the jobs of a large area run: processor seconds, threads, memory, every 15 s.

    python -m benchmarks.scheduling [--tiles 10000] [--jobs 8] [--minutes 2] [--plain]

The workflow is the real one, of an area from benchmarks.scale; the jobs of its tiles sleep for a second. --plain leaves away
what the workflow does about Snakemake's scheduler (rules/scheduler.smk, scheduler-subsample).
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.scale import area_of, measured, stage

ROOT = Path(__file__).resolve().parents[1]
STEP = 15.0  # s
SCRIPT = """import time
from pathlib import Path
time.sleep(1)
out = Path(snakemake.output[0])
out.parent.mkdir(parents=True, exist_ok=True)
out.write_text("{}")
"""


def workflow_of(folder: Path, plain: bool) -> Path:
    """A copy of the workflow whose tiles only wait."""
    for name in ("rules", "profiles", "envs", "workflow_scripts"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("predict_heights", "filter_heights", "fuse_tile"):
        (folder / "workflow_scripts" / f"{name}.py").write_text(SCRIPT)
    text = (ROOT / "Snakefile").read_text()
    (folder / "Snakefile").write_text(text.replace('include: "rules/scheduler.smk"\n', "") if plain else text)
    return folder / "Snakefile"


def used(pid: int) -> tuple[float, int, float]:
    """Processor seconds, threads, MB of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    return (int(fields[11]) + int(fields[12])) / ticks, int(fields[17]), int(fields[21]) * page / 1e6


def watch(process: subprocess.Popen[bytes], run: Path, minutes: float) -> None:
    print(f"{'s':>6} {'jobs':>6} {'CPU s':>6} {'per job':>8} {'threads':>8} {'MB':>6}")
    jobs, processor = 0, 0.0
    for step in range(1, round(60 * minutes / STEP) + 1):
        time.sleep(STEP)
        if process.poll() is not None:
            return
        now, threads, memory = used(process.pid)
        done = sum(1 for _ in run.glob("tiles/*/*/index.json"))
        each = f"{(now - processor) / (done - jobs):8.3f}" if done > jobs else f"{'':8}"
        print(f"{step * STEP:6.0f} {done - jobs:6} {now - processor:6.1f} {each} {threads:8} {memory:6.0f}", flush=True)
        jobs, processor = done, now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, default=10000, help="a square number")
    parser.add_argument("--jobs", type=int, default=8, help="at a time")
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--plain", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rsmvs-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        config = area_of(folder / "area", args.tiles)
        measured(stage("plan", config), folder / "plan.out")
        words = [sys.executable, "-m", "snakemake", "heights", "--snakefile", str(workflow_of(folder, args.plain)),
                 "--cores", str(args.jobs), "--configfile", str(config)]  # fmt: skip
        words += ["--scheduler-subsample", str(4 * args.tiles)] if args.plain else []
        with (folder / "said").open("wb") as said:
            process = subprocess.Popen(words, stdout=said, stderr=subprocess.STDOUT, cwd=folder / "area" / "run",
                                       env=os.environ | {"RSMVS_PLANNED": "1"}, start_new_session=True)  # fmt: skip
        watch(process, folder / "area" / "run", args.minutes)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        elif process.returncode:
            raise SystemExit((folder / "said").read_text()[-2000:])


if __name__ == "__main__":
    main()
