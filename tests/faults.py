"""What goes wrong in a run, on purpose: each fault is done to a run at work, and says how to put right what it broke.

A fault gets the run's folder (with `out` in it), a source of chance, and the ids of the run's processes; it returns
what a user would do about it before the same command is given again.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Repair = Callable[[], object]
Fault = Callable[[Path, random.Random, int], Repair]


def descendants(pid: int) -> list[int]:
    """Processes below one, the youngest last."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [pid]
    for process in found:
        found += sorted(parents.get(process, []))
    return found[1:]


def holders(path: Path) -> list[int]:
    """Processes that have a file open: the worker of a job, by its log."""
    found = []
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            if any(fd.readlink() == path for fd in folder.iterdir()):
                found.append(int(folder.parent.name))
        except OSError:
            continue
    return found


def _kill(*pids: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def nothing() -> None:
    """To be put right."""


def kill_all(folder: Path, chance: random.Random, pid: int) -> Repair:
    _kill(pid, *descendants(pid))
    return nothing


def kill_launcher(folder: Path, chance: random.Random, pid: int) -> Repair:
    _kill(pid)
    return nothing


def kill_some_process(folder: Path, chance: random.Random, pid: int) -> Repair:
    below = descendants(pid)
    _kill(*([chance.choice(below)] if below else []))
    return nothing


def _files(folder: Path) -> list[Path]:
    out = folder / "out"
    kept = [path for pattern in ("*.json", "adjusted/*", "matches/*", "tiles/*/*", "tiles/*/*/*") for path in out.glob(pattern)]
    return sorted(p for p in kept if p.is_file() and not p.name.startswith(".") and p.suffix != ".png")


def truncate_a_file(folder: Path, chance: random.Random, pid: int) -> Repair:
    files = _files(folder)
    if files:
        victim = chance.choice(files)
        size = victim.stat().st_size
        os.truncate(victim, chance.randrange(max(size, 1)))
    return nothing


def spoil_a_file(folder: Path, chance: random.Random, pid: int) -> Repair:
    """Bytes change, the length and the name stay."""
    files = _files(folder)
    if files:
        victim = chance.choice(files)
        content = bytearray(victim.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 64] = bytes(byte ^ 0x5A for byte in content[middle : middle + 64])
        victim.write_bytes(content)
    return nothing


def remove_a_file(folder: Path, chance: random.Random, pid: int) -> Repair:
    files = _files(folder)
    if files:
        chance.choice(files).unlink(missing_ok=True)
    return nothing


def exchange_an_image(folder: Path, chance: random.Random, pid: int) -> Repair:
    """Another image of the scene under the name of one; put back afterwards."""
    first, second = chance.sample(sorted((folder / "images").iterdir()), 2)
    times = first.stat()
    kept = folder / "kept.tif"
    shutil.copy2(first, kept)
    shutil.copy(second, folder / "other.tif")
    (folder / "other.tif").replace(first)

    def back() -> None:
        kept.replace(first)
        os.utime(first, ns=(times.st_atime_ns, times.st_mtime_ns))

    return back


def fill_the_disk(folder: Path, chance: random.Random, pid: int) -> Repair:
    out = str(folder / "out")
    left = chance.randrange(4, 150)  # kB
    subprocess.run(["mount", "-o", f"remount,size={shutil.disk_usage(out).used // 1024 + left}k", out], check=True)
    return lambda: subprocess.run(["mount", "-o", "remount,size=1g", out], check=True)


def write_protect(folder: Path, chance: random.Random, pid: int) -> Repair:
    """The tiles or the products, by a read-only mount over them: the whole cannot be, with files open for writing."""
    part = str(folder / "out" / chance.choice(("tiles", "products")))
    subprocess.run(["mount", "--bind", part, part], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", part], check=True)
    return lambda: subprocess.run(["umount", "-l", part], check=True)


def workers(folder: Path) -> list[int]:
    """Processes that work on a job at this moment: they hold its log open."""
    logs = {path.resolve() for path in (folder / "out" / "logs").rglob("*.log") if not path.name.startswith(".")}
    return sorted({pid for log in logs for pid in holders(log)})


def starve_a_job(folder: Path, chance: random.Random, pid: int) -> Repair:
    """A job at work gets next to no memory beyond what it holds."""
    for worker in (chance.choice(found) for found in (workers(folder),) if found):
        try:
            pages = int(Path(f"/proc/{worker}/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + chance.randrange(0, 20_000_000)
            resource.prlimit(worker, resource.RLIMIT_AS, (limit, limit))
        except (OSError, ValueError):  # it has just ended
            continue
    return nothing


def time_out(folder: Path, chance: random.Random, pid: int) -> Repair:
    """A job at work meets the alarm of its time limit now."""
    for worker in (chance.choice(found) for found in (workers(folder),) if found):
        try:
            os.kill(worker, signal.SIGALRM)
        except ProcessLookupError:
            continue
    return nothing


def run_again(folder: Path, chance: random.Random, pid: int) -> Repair:
    """The same command once more, beside the first: it has to be turned away, unless the first has ended by then."""
    words = [sys.executable, "-m", "rsmvs.cli", "run", str(folder / "my.yaml")]
    said = subprocess.run(words, capture_output=True, text=True, check=False)
    turned_away = said.returncode == 1 and "is at work there" in said.stderr
    assert turned_away or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z", said
    return nothing


def spoil_the_weights(folder: Path, chance: random.Random, pid: int) -> Repair:
    """The weights that the configuration names change on the disk; put back afterwards."""
    weights = folder / "weights.safetensors"
    times, right = weights.stat(), weights.read_bytes()
    middle = chance.randrange(len(right))
    weights.write_bytes(right[:middle] + bytes([right[middle] ^ 0x5A]) + right[middle + 1 :])

    def back() -> None:
        weights.write_bytes(right)
        os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))

    return back


FAULTS: tuple[Fault, ...] = (
    kill_all, kill_launcher, kill_some_process, truncate_a_file, spoil_a_file, remove_a_file, exchange_an_image,
    fill_the_disk, write_protect, starve_a_job, time_out, run_again, spoil_the_weights,
)  # fmt: skip
