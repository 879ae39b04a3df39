"""Jobs as forks of a process that has everything loaded: as good as processes of their own, whatever dies."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from workflow_runs import run, write_config

from rsmvs.cli.workflow import modules_of
from rsmvs.config import config_from_dict
from rsmvs.warm import ADDRESS, warm_process

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no warm process but on Linux")


@contextmanager
def job(folder: Path, does: str, address: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A script that hands itself over and then does something; `own` is whether it stayed in its own process."""
    script = folder / "script.py"
    script.write_text(
        "import os, sys\n"
        "from rsmvs.warm import hand_over\n"
        f"own = {ADDRESS!r} in os.environ\n"
        f"hand_over()\n{does}\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script), "a word"], cwd=folder, env=os.environ | address | {"X": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(folder: Path, does: str, address: dict[str, str]) -> SimpleNamespace:
    with job(folder, does, address) as process:
        out, err = process.communicate(timeout=30)
        return SimpleNamespace(status=process.returncode, out=out, err=err)


def test_the_script_runs_in_a_copy_that_has_the_modules(tmp_path: Path):
    with warm_process(["json.tool"]) as address:
        said = ended(tmp_path, "print(own, 'json.tool' in sys.modules, os.getcwd(), os.environ['X'], sys.argv[1])", address)
        again = ended(tmp_path, "print(own)", address)
    assert said.out == f"False True {tmp_path} 1 a word\n" and said.status == 0
    assert again.out == "False\n"


@pytest.mark.parametrize(
    ("does", "status", "says"),
    [
        ("sys.exit(3)", 3, ""),
        ("sys.exit('a reason')", 1, ""),
        ("raise ValueError('this')", 1, "ValueError: this"),
        ("os._exit(4)", 128 + signal.SIGKILL, ""),  # without a word: as if killed
        ("os.kill(os.getpid(), 9)", 128 + signal.SIGKILL, ""),
    ],
)
def test_it_ends_as_its_copy_ends(does: str, status: int, says: str, tmp_path: Path):
    with warm_process([]) as address:
        said = ended(tmp_path, does, address)
    assert said.status == status and says in said.err


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")")[-1].split()[0] != "Z"


def test_a_killed_job_takes_its_copy_along(tmp_path: Path):
    pid = tmp_path / "pid"
    does = "open('.pid', 'w').write(str(os.getpid())); os.rename('.pid', 'pid')\nwhile True: pass"
    with warm_process([]) as address, job(tmp_path, does, address) as process:
        until(pid.exists)
        copy = int(pid.read_text())
        assert copy != process.pid and alive(copy)
        process.kill()
        until(lambda: not alive(copy))
        assert ended(tmp_path, "print(own)", address).out == "False\n"  # the warm process has not suffered


def test_a_killed_copy_is_heard_of_though_it_leaves_children(tmp_path: Path):
    does = "import time\nif os.fork() == 0: time.sleep(6); os._exit(0)\nos.kill(os.getpid(), 9)"
    with warm_process([]) as address, job(tmp_path, does, address) as process:
        assert process.wait(timeout=4) == 128 + signal.SIGKILL


def test_no_room_for_a_socket_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    long = tmp_path / ("long" * 30)
    long.mkdir()
    for folder in (long, tmp_path / "missing"):
        monkeypatch.setattr("tempfile.tempdir", str(folder))
        with warm_process([]) as address:
            assert address == {}
            assert ended(tmp_path, "print(own)", address).status == 0
    assert not list(long.iterdir())


def test_without_a_warm_process_a_job_goes_on_by_itself(tmp_path: Path):
    with warm_process([]) as address:
        warm = int(subprocess.check_output(["pgrep", "-n", "-P", str(os.getpid()), "-f", "rsmvs.warm"]))
        os.kill(warm, signal.SIGKILL)
        until(lambda: not alive(warm))
        assert ended(tmp_path, "print(own)", address).out == "True\n"
    assert ended(tmp_path, "print(own)", address).out == "True\n"  # its socket is gone
    assert not Path(address[ADDRESS]).parent.exists()


def test_a_job_of_another_environment_goes_on_by_itself(tmp_path: Path):
    with warm_process([]) as address:
        other = "import sys; sys.prefix = '/elsewhere'\n"
        (tmp_path / "sitecustomize.py").write_text(other)
        assert ended(tmp_path, "print(own)", address | {"PYTHONPATH": str(tmp_path)}).out == "True\n"


def test_many_jobs_at_a_time(tmp_path: Path):
    said: dict[int, Any] = {}

    def one(k: int, address: dict[str, str]) -> None:
        folder = tmp_path / str(k)
        folder.mkdir()
        said[k] = ended(folder, f"import time; time.sleep(0.2); print(own, {k}); sys.exit({k})", address)

    with warm_process(["decimal", "statistics"]) as address:
        threads = [threading.Thread(target=one, args=(k, address)) for k in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {k: (s.status, s.out) for k, s in said.items()} == {k: (k, f"False {k}\n") for k in range(12)}


@pytest.mark.parametrize("model", ["sgm", "mvsr3d"])
def test_what_it_loads_is_there(model: str, tmp_path: Path):
    """A module that is not would slow all runs down without a word."""
    images = [{"path": f"{k}.tif"} for k in "ab"]
    area = {"crs": "EPSG:32632", "aoi": [0, 0, 100, 100]}
    heights = {"model": model, "learned": {"weights": "mvsr3d-tiny"}} if model != "sgm" else {}
    values = {"images": images, "area": area, "heights": heights, "output": str(tmp_path)}
    config = config_from_dict(values, tmp_path / "c.yaml")
    for module in modules_of(config):
        assert import_module(module)


def test_the_jobs_of_a_run_on_this_machine_are_copies(
    two_tiles: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """...and not those of a run whose jobs may go elsewhere."""
    told = tmp_path / "told"
    (tmp_path / "sitecustomize.py").write_text(
        f"import os, sys\nif 'rsmvs.warm' in sys.orig_argv:\n"
        f"    os.register_at_fork(after_in_child=lambda: open({str(told)!r}, 'a').write('copy '))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    config = write_config(tmp_path, two_tiles)
    assert run(config, "--target", "plan").returncode == 0
    jobs = sum(1 for _ in (tmp_path / "out" / "logs").rglob("*.log"))
    assert jobs > 2 and told.read_text() == jobs * "copy "
    (tmp_path / "out" / "plan.json").unlink()
    assert run(config, "--target", "plan", "--", "--executor", "local").returncode == 0
    assert told.read_text() == jobs * "copy "


def test_one_series_of_looks_of_the_scheduler():
    """rules/scheduler.smk, against the Snakemake that is installed."""
    from snakemake.scheduling.job_scheduler import JobScheduler

    before = JobScheduler._schedule_reevalutation
    try:
        runpy.run_path(str(ROOT / "rules" / "scheduler.smk"))
        assert JobScheduler._schedule_reevalutation is not before
        looks = threading.Semaphore(0)
        scheduler = SimpleNamespace(_open_jobs=looks)
        for _ in range(5):
            JobScheduler._schedule_reevalutation(scheduler, 0.05)
        assert looks.acquire(timeout=5) and not looks.acquire(timeout=0.3)  # one of five
        JobScheduler._schedule_reevalutation(scheduler, 0.05)
        assert looks.acquire(timeout=5)  # and another one after it
    finally:
        JobScheduler._schedule_reevalutation = before
