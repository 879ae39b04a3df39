"""A process that has loaded what the jobs of a run need, and becomes each of them by a fork.

A job is a few seconds of work behind a second or two in which an interpreter loads the numerical libraries. A run on one
machine pays for that once: the launcher starts a warm process (`warm_process`), and the script of a job asks it to run
the script in its place (`hand_over`), in a copy of itself with the working folder, the environment and the streams of the
job. The job's own process waits, and ends as its copy ends; when it is killed, the copy is killed by the kernel. Where
there is no such process, or it died, the job goes on by itself: everything is as with it, only slower.

A fork copies the one thread that calls it, so the warm process only imports, on one thread: it starts none of the
libraries' own. It knows no more of the jobs than the paths of their scripts. Linux only.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import json
import os
import runpy
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

ADDRESS = "RSMVS_WARM"  # variable of the environment: the socket of the warm process
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "GDAL_NUM_THREADS")
_SIZE = struct.Struct("!I")
_STARTED = b"\xff"  # what the copy says before the script runs; afterwards it says its exit status
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """In a child, before it becomes another program: be killed when its parent is (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def warm_process(modules: Sequence[str], wanted: bool = True) -> Iterator[dict[str, str]]:
    """A process that loads modules, in their order, and serves jobs meanwhile; what to add to the environment of these.

    It uses one thread, as the jobs that may be handed over do. It ends with the `with`, or with this process. Where it is
    not wanted, or not possible, there is nothing to add.
    """
    if not wanted or sys.platform != "linux":
        yield {}
        return
    try:
        folder = Path(tempfile.mkdtemp(prefix="rsmvs-"))  # of this user alone
    except OSError:  # no room: the jobs load for themselves
        yield {}
        return
    process = None
    try:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as door:  # as a path that is too long for a socket
            door.bind(str(folder / "jobs"))
            door.listen(64)
            words = [sys.executable, "-m", "rsmvs.warm", str(door.fileno()), *modules]
            process = subprocess.Popen(words, pass_fds=[door.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, env=os.environ | dict.fromkeys(THREADS, "1"),
                                       preexec_fn=die_with_parent)  # fmt: skip
        yield {ADDRESS: str(folder / "jobs")} if process else {}
    finally:
        if process:
            process.terminate()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def hand_over() -> None:
    """Have this script run by the warm process, and end as it ends; return where there is none.

    Call it before anything else is done: the script starts anew there.
    """
    address = os.environ.pop(ADDRESS, None)
    if not address:
        return
    with socket.socket(socket.AF_UNIX) as line, suppress(OSError):
        line.connect(address)
        job = {"argv": sys.argv, "folder": str(Path.cwd()), "environment": dict(os.environ), "home": _home()}
        request = json.dumps(job).encode()
        socket.send_fds(line, [_SIZE.pack(len(request))], [0, 1, 2])
        line.sendall(request)
        if line.recv(1) != _STARTED:
            return
        status = b""
        with suppress(OSError):
            status = line.recv(1)
        os._exit(status[0] if status else 128 + signal.SIGKILL)  # it ended without a word


def _home() -> list[str]:
    """What has to be the same for a script to find the same code: interpreter, environment, and file system."""
    return [sys.executable, sys.prefix, str(Path("/proc/self/ns/mnt").readlink())]


def serve(door: socket.socket, modules: Sequence[str]) -> NoReturn:
    """Load the modules, and become the jobs that come through the door, until this process is ended."""
    jobs: dict[int, socket.socket] = {}
    interrupted = signal.getsignal(signal.SIGINT)  # a run in the background ignores it, and so do its jobs
    signal.signal(signal.SIGCHLD, lambda *_: _bury(jobs))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the launcher ends its run, and this process
    begun = False
    for module in modules:
        while begun and not jobs:  # one is about to come, and should not wait for an import
            _take(door, jobs, interrupted)
        with suppress(ImportError):  # its users say what is missing
            loaded = import_module(module)
            if module == "numba":
                loaded.njit(lambda: 0)()  # its compiler gets ready with the first kernel, which takes some tenths of a second
        while select.select([door], [], [], 0)[0]:
            _take(door, jobs, interrupted)
            begun = True
    gc.collect()
    gc.freeze()  # pages that no collection touches stay shared with the copies
    while True:
        _take(door, jobs, interrupted)


def _bury(jobs: dict[int, socket.socket]) -> None:
    """Let the processes of copies that ended hear so. The copies' own children may hold their ends of the sockets open."""
    for pid in list(jobs):
        with suppress(OSError, KeyError):  # buried by a signal that came meanwhile
            if os.waitpid(pid, os.WNOHANG)[0]:
                with jobs.pop(pid) as line:
                    line.shutdown(socket.SHUT_RDWR)


def _take(door: socket.socket, jobs: dict[int, socket.socket], interrupted: Any) -> None:
    """Fork for the next job. One that is gone again, or comes from another environment, is left to itself."""
    line, _ = door.accept()
    with suppress(OSError, ValueError, struct.error):
        head, streams, *_ = socket.recv_fds(line, _SIZE.size, 3)
        try:
            job = json.loads(_read(line, _SIZE.unpack(head)[0]))
            if job["home"] == _home() and len(list(Path("/proc/self/task").iterdir())) == 1:
                pid = os.fork()
                if not pid:
                    for other in (door, *jobs.values()):
                        other.close()
                    _become(job, line, streams, interrupted)
                jobs[pid] = line
                _bury(jobs)  # it may have ended before it was known
                return
        finally:
            for stream in streams:
                os.close(stream)
    line.close()


def _read(line: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = line.recv(size - len(data))
        if not part:
            raise ValueError("ended too early")
        data += part
    return data


def _become(job: dict[str, Any], line: socket.socket, streams: Sequence[int], interrupted: Any) -> NoReturn:
    """In the copy: run the script, and say how it ended. interrupted: what SIGINT does there."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, interrupted)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.chdir(job["folder"])
        os.environ.clear()
        os.environ.update(job["environment"])
        sys.argv[:] = job["argv"]
        sys.path[0] = str(Path(sys.argv[0]).parent)
        line.sendall(_STARTED)
        # The kernel sends SIGIO when the other end is closed, which ends this process whatever it is doing.
        fcntl.fcntl(line, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(line, fcntl.F_SETFL, fcntl.fcntl(line, fcntl.F_GETFL) | os.O_ASYNC)
        if select.select([line], [], [], 0)[0]:
            os._exit(status)  # closed already: nothing is sent from there any more
        runpy.run_path(sys.argv[0], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    signal.signal(signal.SIGIO, signal.SIG_IGN)  # the other end is closed when it has heard this
    with suppress(OSError):
        line.sendall(bytes([status & 0xFF]))
    os._exit(status & 0xFF)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
