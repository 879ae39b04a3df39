"""One Snakemake process after another in one folder: locked, watched, its errors collected."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rsmvs
from rsmvs.errors import DAMAGED, ConfigError
from rsmvs.warm import die_with_parent

ROOT = Path(rsmvs.__file__).resolve().parents[1]
_WAIT = 5.0  # s for the processes of a killed run to go
_PROGRESS = re.compile(r"^(\d+) of (\d+) steps")
_TOTAL = re.compile(r"^total +(\d+)")
_ERROR = re.compile(r"^ *(?:Error in rule|Error executing rule) (\w+)")
_LOG = re.compile(r"^ +log: ([^\s,]+)")
_MESSAGE = re.compile(r"^ +message: (SLURM-job .*?)\. ")
_COMPLAINT = re.compile(r"^ *(\w+(Exception|Error)\b)")
_DRY = ("--dry-run", "--quiet", "host", "rules")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder of a run alone. The lock goes with the processes that have it: a killed run leaves none behind."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("a+")
    except OSError as error:
        raise ConfigError(folder, f"cannot be written ({error.strerror})", "set 'output' to a folder of yours") from None
    with lock:
        end = time.monotonic() + _WAIT
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    lock.seek(0)
                    owner = lock.read().strip() or "unknown"
                    raise ConfigError(folder, f"another run (process {owner}) is at work there",
                                      "wait for it, stop it, or set another 'output'") from None  # fmt: skip
                time.sleep(0.1)
            except OSError:
                break  # a cluster file system without locks: Snakemake's own lock file has to do
        with suppress(OSError):  # a full disk
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
        os.set_inheritable(lock.fileno(), True)  # Snakemake holds it too: it may outlive this process
        yield


@dataclass
class Workflow:
    """Snakemake runs of one configuration. extra: the user's own arguments. planned: whether the area's plan is made.
    jobs: what to add to the environment of its jobs."""

    config: Path
    folder: Path
    cores: str
    profile: str | None
    extra: Sequence[str]
    planned: bool = False
    jobs: dict[str, str] = field(default_factory=dict)
    failed_logs: dict[str, str] = field(default_factory=dict)
    said: str = ""
    damaged: set[Path] = field(default_factory=set)
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=12))

    @property
    def local(self) -> bool:
        """Whether the jobs run on this machine, in this environment."""
        words = ("-e", "--executor", "--profile", "--workflow-profile", "--sdm", "--software-deployment-method", "--use-")
        profile = self.profile or os.environ.get("SNAKEMAKE_PROFILE")
        return not profile and not any(word.startswith(words) for word in self.extra)

    def command(self, arguments: Sequence[str]) -> list[str]:
        if not (ROOT / "Snakefile").is_file():
            raise ConfigError(ROOT, "holds no Snakefile", "install with 'pip install -e .' in a clone")
        words = [sys.executable, "-m", "snakemake", *arguments, "--snakefile", str(ROOT / "Snakefile"), "--cores", self.cores]
        words += ["--rerun-incomplete", "--nocolor", "--notemp"]
        if self.profile:
            named = ROOT / "profiles" / self.profile
            words += ["--workflow-profile", str(named if named.is_dir() else Path(self.profile).resolve())]
        else:
            words += ["--resources", f"mem_mb={_memory_mb()}"]
        return [*words, *self.extra, "--configfile", str(self.config)]

    def unlock(self) -> None:
        """Take away the lock that a killed Snakemake left behind: `held` has made sure that none is at work."""
        locks = self.folder / ".snakemake" / "locks"
        if locks.is_dir() and any(locks.iterdir()):
            self._execute(["--unlock"], None)

    def dry_run(self, arguments: Sequence[str]) -> int:
        """Print what would be done."""
        words = self.command([*arguments, *_DRY])
        return subprocess.run(words, check=False, cwd=self.folder, env=self.environment()).returncode

    def stands(self, target: str) -> bool:
        """Whether nothing has to be done for a target that is there."""
        done = subprocess.run(self.command([target, *_DRY]), check=False, cwd=self.folder, capture_output=True, text=True)
        return done.returncode == 0 and "Nothing to be done" in done.stdout + done.stderr

    def environment(self) -> dict[str, str]:
        return os.environ | self.jobs | ({"RSMVS_PLANNED": "1"} if self.planned else {})

    def run(self, name: str, arguments: Sequence[str]) -> int:
        """One pass; 0 when it ended well. Otherwise the errors of its jobs are the last lines on standard error."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        columns: tuple[Any, ...] = (TextColumn("{task.description:>6}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        columns += (TextColumn("{task.fields[rule]}"),)
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task(name, total=None, rule="")
            status = self._execute(arguments, lambda **seen: progress.update(task, **seen))
        if status and self.remove_damaged():
            return 1
        for line in self.errors() if status else ():
            print(line, file=sys.stderr)
        return 1 if status else 0

    def remove_damaged(self) -> bool:
        """Take away the files that jobs found damaged, so that another round makes them; False where there are none, or
        one of them was made again already."""
        logs = (self.folder / log for log in self.failed_logs)
        lines = [line for log in logs if log.is_file() for line in log.read_text(errors="replace").splitlines()]
        found = {self.folder / line.removeprefix(DAMAGED) for line in lines if line.startswith(DAMAGED)}
        if not found or found & self.damaged:
            return False
        self.damaged |= found
        for path in sorted(found):
            path.unlink(missing_ok=True)
            print(f"note: {path} is damaged; it is made again", file=sys.stderr)
        return True

    def errors(self) -> list[str]:
        """One line for each job that failed, from its log; the end of Snakemake's words where no job did."""
        lines = []
        for log, rule in self.failed_logs.items():
            path = self.folder / log
            said = path.read_text(errors="replace").splitlines() if path.is_file() else []
            line = next((s for s in reversed(said) if s.startswith("error: ")), f"error: {rule}")
            lines.append(line if "(traceback in the log)" not in line and said else f"{line}; see {path}")
        if not lines:  # Snakemake itself: a file that no rule makes, an output that a job did not write, ...
            cause = next((s.strip() for s in reversed(self.tail) if _COMPLAINT.match(s)), "Snakemake failed")
            lines = [*self.tail, f"error: {cause}; see {self.folder / '.snakemake' / 'log'}"]
        return list(dict.fromkeys(lines))

    def _execute(self, arguments: Sequence[str], update: Any) -> int:
        process = subprocess.Popen(
            self.command(arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            cwd=self.folder, env=self.environment(), close_fds=False, preexec_fn=die_with_parent,
        )  # fmt: skip
        assert process.stdout is not None
        self.failed_logs.clear()
        previous = signal.signal(signal.SIGTERM, lambda *_: _interrupt())
        try:
            rule = ""
            for line in process.stdout:
                rule = self._follow(line.rstrip("\n"), rule, update)
            return process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait()
            print("interrupted; the same command goes on from here", file=sys.stderr)
            raise
        finally:
            signal.signal(signal.SIGTERM, previous)

    def _follow(self, line: str, failing: str, update: Any) -> str:
        """Take in one line of Snakemake's; the rule whose error block is being read, if any."""
        if line.strip():
            self.tail.append(line)
        if found := _ERROR.match(line):
            return found[1]
        if failing and (found := _MESSAGE.match(line)):
            self.said = found[1]
        if failing and (found := _LOG.match(line)):
            self.failed_logs[found[1]], self.said = f"{failing}: {self.said or 'ended without a word'}", ""
            return ""
        if update is not None:
            if found := _PROGRESS.match(line):
                update(completed=int(found[1]), total=int(found[2]))
            elif found := _TOTAL.match(line):
                update(completed=0, total=int(found[1]))
            elif found := re.match(r"^(?:local)?rule (\w+):", line):
                update(rule=found[1])
        return failing


def modules_of(config: Any) -> list[str]:
    """What the jobs of a run import, in the order in which they need it: for a process that has it ready (rsmvs.warm)."""
    refined = config.fuse.refine.weights != "none"
    return [
        *("snakemake.script", "numba", "rsmvs.stages.views", "rsmvs.geometry.camera"),
        "rsmvs.stages.adjust",
        *(["rsmvs.stages.rdm"] if config.heights.rdm else []),
        *("rsmvs.stages.heights", "matplotlib.pyplot", "scipy.spatial"),
        *(["torch"] if config.heights.model != "sgm" or config.heights.rdm else []),
        *(["rsmvs.stages.refinement", "safetensors.torch"] if refined else []),
        *("rsmvs.stages.tile_fusion", "rsmvs.stages.tile_ortho", "rsmvs.fusion.uncertainty", "rsmvs.fusion.outliers"),
        *("rsmvs.stages.products", "rsmvs.stages.evaluation", "rsmvs.stages.report", "rsmvs.io.copc"),
    ]


def _interrupt() -> None:
    raise KeyboardInterrupt


def _memory_mb() -> int:
    """Four fifths of the memory of this machine or of its control group, in MB."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        total = min(total, int(text))
    return int(total * 0.8 / 1e6)
