"""Tells when a Python process and its stage function began and ended: first on the path of the runs of benchmarks.overhead.

Rule, script and stage function have one name: the function is found among the stage modules as soon as an import is over.
What it imports itself counts as outside of it. A job that the warm process runs begins with the fork.
"""

from __future__ import annotations

import atexit
import builtins
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

_real = builtins.__import__
_leave = os._exit
_words = [Path(word).name for word in sys.orig_argv]
_kind = "snakemake" if "snakemake" in _words else "rsmvs" if "run" in _words else "warm" if "rsmvs.warm" in _words else "other"
_seen: dict[str, Any] = {}
_depth = 0
_imports = [0.0, 0.0]  # s by the clock, of the processor


def _begin(kind: str) -> None:
    _seen.update(kind=kind, rule="", began=time.time(), imports=0.0, stage=0.0, stage_cpu=0.0)
    _imports[:] = 0.0, 0.0


def _script(words: list[str]) -> str:
    """The rule of a job's script, as .snakemake/scripts/tmpab12.fuse_tile.py; '' for anything else."""
    name = next((word for word in words if ".snakemake/scripts/" in word), "")
    return name.rsplit(".", 2)[-2] if name else ""


def _clocks() -> tuple[float, float]:
    return time.time(), time.process_time()


def _watched(function: Any) -> Any:
    def stage(*args: Any, **named: Any) -> Any:
        start, before = _clocks(), tuple(_imports)
        try:
            return function(*args, **named)
        finally:
            end = _clocks()
            wall, cpu = (e - s - (now - b) for e, s, now, b in zip(end, start, _imports, before, strict=True))
            _seen.update(start=start[0], end=end[0], stage=wall, stage_cpu=cpu)

    stage.watched = True  # type: ignore[attr-defined]
    return stage


def _import(*args: Any, **named: Any) -> Any:
    global _depth
    start = _clocks()
    _depth += 1
    try:
        return _real(*args, **named)
    finally:
        _depth -= 1
        if not _depth:
            for k, now in enumerate(_clocks()):
                _imports[k] += now - start[k]
            if str(args[0]).startswith("rsmvs.stages"):
                _watch()


def _watch() -> None:
    """Once the job's stage module is there. A fork knows its rule as soon as it has the words of its job."""
    _seen["rule"] = _script(sys.argv)
    for name in [n for n in sys.modules if n.startswith("rsmvs.stages.")]:
        found = getattr(sys.modules[name], _seen["rule"], None)
        if getattr(found, "__module__", None) == name and not hasattr(found, "watched"):
            setattr(sys.modules[name], _seen["rule"], _watched(found))


def _tell() -> None:
    _seen.update(ended=time.time(), cpu=time.process_time(), imports=_imports[1])
    Path(os.environ["RSMVS_PROBED"], f"{os.getpid()}-{_seen['began']}.json").write_text(json.dumps(_seen))


def _tell_and_leave(status: int) -> None:
    if _script(sys.argv) and _seen["stage"]:  # not the process that waits for its copy
        _tell()
    _leave(status)


_begin("job" if _script(sys.orig_argv) else _kind)
atexit.register(_tell)
os._exit = _tell_and_leave  # type: ignore[assignment]
if _kind == "warm":
    os.register_at_fork(after_in_child=lambda: _begin("job"))
if _seen["kind"] in ("job", "warm"):
    builtins.__import__ = _import  # type: ignore[assignment]
