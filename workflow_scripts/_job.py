"""The frame of every job: its log, its threads, and one line for an error that the user can act on."""

from __future__ import annotations

import fcntl
import os
import resource
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # a conda environment of a rule does not hold the package

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "GDAL_NUM_THREADS")


@contextmanager
def job(snakemake: Any) -> Iterator[None]:
    """Run a stage inside: everything it prints goes to the job's log.

    A wrong input ends in one line, `error: <file, key or value>: <cause>; <remedy>`, in the log and on standard
    error; anything else in a traceback in the log. Both end the job with exit status 1. Import the stage inside, so
    that the numerical libraries find their number of threads.
    """
    for name in _THREAD_VARIABLES:
        os.environ[name] = str(snakemake.threads)
    console = os.dup(2)
    path = Path(str(snakemake.log))
    with path.open("a") as log:
        fcntl.flock(log, fcntl.LOCK_EX)  # the same job of a killed run may still be at work: let it end
        log.truncate(0)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        began = time.monotonic()
        try:
            yield
        except Exception as error:
            _fail(error, snakemake.rule, console)
        finally:
            sys.stdout.flush()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"done in {time.monotonic() - began:.1f} s, {time.process_time():.1f} CPU s, peak {peak:.0f} MB", flush=True)


def _fail(error: Exception, rule: str, console: int) -> None:
    from rsmvs.errors import RsmvsError

    if isinstance(error, RsmvsError):
        line = f"error: {error}"
    else:
        traceback.print_exc()
        first = (str(error).splitlines() or [""])[0]
        line = f"error: {rule}: {type(error).__name__} {first} (traceback in the log)"
    print(line, file=sys.stderr, flush=True)
    os.write(console, f"{line}\n".encode())
    sys.exit(1)
