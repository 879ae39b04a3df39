"""A real SLURM on this machine for tests: controller, nodes and authentication as plain processes on the loopback.

No systemd, no cgroups, no accounting. Needs root and Debian's packages slurm-wlm and munge (`.ci/run` installs them).
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

# Snakemake's plugin takes SLURM_CONF out of a job's environment: only a file at the default place is found there.
_DEFAULT_CONF = Path("/etc/slurm/slurm.conf")
_NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo", "srun")
_START = 30.0  # s
_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
AccountingStorageType=accounting_storage/none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0
SlurmdParameters=config_overrides
GresTypes=gpu
ReturnToService=2
JobRequeue=0
KillWait=2
MinJobAge=3600
SlurmdTimeout=300
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
"""


class Unavailable(Exception):
    """Why there can be no SLURM here."""


@dataclass(frozen=True)
class Slurm:
    """A running cluster. nodes: their names."""

    folder: Path
    nodes: tuple[str, ...]

    def call(self, *words: str) -> str:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def jobs(self) -> list[dict[str, str]]:
        """Id, state, comment (rule and wildcards) and node of every job that the controller remembers, in order."""
        keys = ("id", "state", "comment", "node")
        lines = self.call("squeue", "--noheader", "--states=all", "--sort=i", "--format=%i|%T|%k|%N").splitlines()
        return [dict(zip(keys, line.split("|"), strict=True)) for line in lines]


@contextmanager
def cluster(folder: Path, nodes: int = 2) -> Iterator[Slurm]:
    """Start munged, slurmctld and a slurmd a node; stop them, and only them, in the end. Raises Unavailable."""
    _check()
    folder.mkdir(parents=True, exist_ok=True)
    names = tuple(f"n{i}" for i in range(1, nodes + 1))
    (folder / "slurm.conf").write_text(_configuration(folder, names))
    (folder / "gres.conf").write_text(f"NodeName=n[1-{nodes}] Name=gpu File=/dev/null\n")  # a GPU to be asked for
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    _DEFAULT_CONF.parent.mkdir(exist_ok=True)
    _DEFAULT_CONF.symlink_to(folder / "slurm.conf")
    with ExitStack() as stack:
        stack.callback(_DEFAULT_CONF.unlink, missing_ok=True)
        munge = ("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.sock",
                 f"--pid-file={folder}/munge.pid", f"--log-file={folder}/munge.log",
                 f"--seed-file={folder}/munge.seed")  # fmt: skip
        stack.enter_context(_daemon("munged", munge, folder))
        _until(lambda: (folder / "munge.sock").exists(), "munged does not answer", folder)
        stack.enter_context(_daemon("slurmctld", ("slurmctld", "-D", "-c"), folder))
        for name in names:
            (folder / f"spool.{name}").mkdir()
            stack.enter_context(_daemon(f"slurmd.{name}", ("slurmd", "-D", "-N", name), folder))
        slurm = Slurm(folder, names)
        _until(lambda: _idle(names), "its nodes do not come up", folder)
        yield slurm
        subprocess.run(["scancel", "--user=root"], capture_output=True, check=False)
        _until(lambda: not subprocess.run(["squeue", "-h"], capture_output=True, check=False).stdout, "jobs do not end", folder)


def _check() -> None:
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing:
        raise Unavailable(f"{missing[0]} is not installed (Debian: apt-get install slurm-wlm munge)")
    if os.geteuid() != 0:
        raise Unavailable("slurmd needs root")
    if _DEFAULT_CONF.is_symlink() and not _DEFAULT_CONF.exists():
        _DEFAULT_CONF.unlink()  # of a test that was killed
    if _DEFAULT_CONF.exists() or _DEFAULT_CONF.is_symlink():
        raise Unavailable(f"{_DEFAULT_CONF} belongs to another SLURM")


def _configuration(folder: Path, names: tuple[str, ...]) -> str:
    host = socket.gethostname().split(".")[0]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 * 9 // 10 // len(names)
    lines = [_CONF.format(host=host, port=_free_port(), folder=folder)]
    for name in names:
        lines.append(f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={_free_port()} CPUs=1 "
                     f"RealMemory={memory} Gres=gpu:1 State=UNKNOWN\n")  # fmt: skip
    lines.append(f"PartitionName=main Nodes={','.join(names)} Default=YES MaxTime=INFINITE State=UP\n")
    return "".join(lines)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _daemon(name: str, words: tuple[str, ...], folder: Path) -> Iterator[None]:
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}  # gres.conf is looked for beside it
    with (folder / f"{name}.out").open("wb") as out:
        process = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, env=environment)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _idle(names: tuple[str, ...]) -> bool:
    said = subprocess.run(["sinfo", "-h", "-N", "-o", "%T"], capture_output=True, text=True, check=False).stdout.split()
    return said == ["idle"] * len(names)


def _until(done: object, complaint: str, folder: Path) -> None:
    assert callable(done)
    end = time.monotonic() + _START
    while not done():
        if time.monotonic() > end:
            logs = "".join(p.read_text(errors="replace")[-400:] for p in sorted(folder.glob("*.log")))
            raise Unavailable(f"{complaint}: {' '.join(logs.split())[-800:]}")
        time.sleep(0.1)
