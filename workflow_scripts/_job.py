"""The frame of every job: its log, its threads, its time limit, and one line for an error that the user can act on."""

from __future__ import annotations

import errno
import faulthandler
import fcntl
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # a conda environment of a rule does not hold the package

from rsmvs.warm import THREADS, hand_over

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG)
_LIMIT, _STACK = "time limit ", "Stack (most recent call first)"  # of the log: ours, and faulthandler's


@dataclass(frozen=True)
class Trial:
    """Which trial of a job this is, from 1, and how the one before ended ('' for the first)."""

    number: int
    before: str


@contextmanager
def job(snakemake: Any) -> Iterator[Trial]:
    """Run a stage inside: everything it prints goes to the job's log.

    A wrong input ends in one line, `error: <file, key or value>: <cause>; <remedy>`, in the log and on standard
    error; anything else in a traceback in the log. Both end the job with exit status 1. Import the stage inside, so
    that the numerical libraries find their number of threads.
    """
    if snakemake.threads == 1:
        hand_over()
    for name in THREADS:
        os.environ[name] = str(snakemake.threads)
    console = os.dup(2)
    path = Path(str(snakemake.log))
    number = int(snakemake.resources.get("trial", 1))
    with path.open("a") as log:
        before = _carry_over(path, log, number)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        began = time.monotonic()
        if number > 1:
            print(f"trial {number}; the one before {before}", flush=True)
        _limit_time(snakemake, log)
        if number > 1 and not _tile(snakemake) and before.startswith("ended") and "(traceback in the log)" not in before:
            _end(before.removeprefix("ended with "), console)  # the same input is as wrong as it was
        try:
            yield Trial(number, before)
        except Exception as error:
            _fail(error, snakemake, console)
        finally:
            sys.stdout.flush()
            signal.setitimer(signal.ITIMER_REAL, 0)
        _kept(path).unlink(missing_ok=True)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"done in {time.monotonic() - began:.1f} s, {time.process_time():.1f} CPU s, peak {peak:.0f} MB", flush=True)


def tile_job(snakemake: Any, work: Callable[[Trial], None]) -> None:
    """Run a stage of one tile, which must not take the other tiles with it.

    A trial that ends badly is repeated by Snakemake, in the same way at first, then with `trial.number` 3 for the stage
    to do with less memory. The last trial gives the tile up: its ledger tells why. So does at once a tile one of whose
    intermediate files is damaged: the launcher makes it anew.
    """
    from rsmvs.resources import TRIALS

    with job(snakemake) as trial:
        from rsmvs.errors import ManifestError
        from rsmvs.stages.tile import give_up

        out, tile = snakemake.output[0], snakemake.wildcards.tile
        if trial.number >= TRIALS:
            give_up(out, tile, f"given up: trial {trial.number - 1} {trial.before}")
            return
        try:
            work(trial)
        except ManifestError as error:
            damaged = _damaged(error, snakemake)
            if damaged is None:
                raise
            damaged.unlink()
            give_up(out, tile, str(error))


def _kept(path: Path) -> Path:
    """A second name of a log: Snakemake takes away the first one before every trial."""
    return path.with_name(f".{path.name}")


def _carry_over(path: Path, log: Any, number: int) -> str:
    """How the trial before ended ('' for the first trial); what it said goes into the log of this one.

    The same job of a killed run may still be at work: it is let end. It holds the lock of its log, of either name.
    """
    kept, said = _kept(path), ""
    if kept.is_file() and not kept.samefile(path):
        with kept.open("r", errors="replace") as old:
            _lock(old)
            said = old.read() if number > 1 else ""
    _lock(log)
    kept.unlink(missing_ok=True)
    with suppress(OSError):  # some file systems have no links
        os.link(path, kept)
    log.truncate(0)
    log.write(said)
    log.flush()
    return _ending(said) if number > 1 else ""


def _lock(file: Any) -> None:
    with suppress(OSError):  # some cluster file systems have no locks
        fcntl.flock(file, fcntl.LOCK_EX)


def _limit_time(snakemake: Any, log: Any) -> None:
    """End the process when it takes longer than its rule's `runtime` (minutes), whatever it is doing.

    By an alarm, which interrupts the main thread where it stands and ends the process after the thread's stack is in the
    log. (`faulthandler.dump_traceback_later` reads the stacks of running threads, and may crash on them.)
    """
    minutes = snakemake.resources.get("runtime")
    if minutes:
        seconds = 60 * float(minutes)
        print(f"{_LIMIT}{timedelta(seconds=seconds)} h", flush=True)
        faulthandler.register(signal.SIGALRM, file=log, all_threads=False, chain=True)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _ending(said: str) -> str:
    """How the last trial in a log ended, in words."""
    hung = False
    for line in reversed(said.splitlines()):
        if line.startswith("error: "):
            return f"ended with {line.removeprefix('error: ')}"
        hung |= line.startswith(_STACK)
        if hung and line.startswith(_LIMIT):
            return f"took longer than {line.removeprefix(_LIMIT)}"
        if line.startswith((_LIMIT, "trial ")):
            break
    return "was killed (out of memory, or stopped from outside)"


def _fail(error: Exception, snakemake: Any, console: int) -> None:
    from rsmvs.errors import DAMAGED, RsmvsError

    if isinstance(error, RsmvsError):
        line = str(error)
        damaged = _damaged(error, snakemake)
        if damaged is not None:
            print(f"{DAMAGED}{damaged}")
    elif isinstance(error, OSError) and error.errno in _UNWRITABLE:
        line = f"{error.filename or 'output'}: cannot be written ({error.strerror}); make room for it, or set 'output'"
    else:
        traceback.print_exc()
        first = (str(error).splitlines() or [""])[0]
        line = f"{snakemake.rule}: {type(error).__name__} {first} (traceback in the log)"
    _end(line, console)


def _end(line: str, console: int) -> None:
    print(f"error: {line}", file=sys.stderr, flush=True)
    os.write(console, f"error: {line}\n".encode())
    sys.exit(1)


def _tile(snakemake: Any) -> bool:
    """Whether the job is that of a tile, which gives the tile up in the end."""
    return hasattr(snakemake.wildcards, "tile")


def _damaged(error: Exception, snakemake: Any) -> Path | None:
    """The input from this run's folder, or the tile's plan, that an error calls damaged.

    A raster or point cloud stands for the index or ledger beside it, which the workflow knows.
    """
    from rsmvs.errors import ImageError, ManifestError

    damaged = Path(getattr(error, "where", ""))
    if not isinstance(error, ManifestError | ImageError):
        return None
    for path in (Path(name) for name in filter(None, (*snakemake.input, snakemake.params.get("plan")))):
        if path.is_absolute() or not path.is_file():  # files of the run's folder, where Snakemake works, are named from there
            continue
        beside = path.name in ("index.json", "ledger.json") and path.parent.resolve() == damaged.parent.resolve()
        if beside or path.resolve() == damaged.resolve():
            return path
    return None
