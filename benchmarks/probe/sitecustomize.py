"""Tells when a Python process and its stage function began and ended: first on the path of the runs of benchmarks.overhead.

Rule, script and stage function have one name: the function is found among the stage modules as soon as an import is over.
What it imports itself counts as outside of it.
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

_began = time.time()
_real = builtins.__import__
_words = [Path(word).name for word in sys.orig_argv]
_script = next((w for w in sys.orig_argv if ".snakemake/scripts/" in w), None)
_rule = _script.rsplit(".", 2)[-2] if _script else ""  # tmpab12.fuse_tile.py
_kind = "job" if _script else "snakemake" if "snakemake" in _words else "rsmvs" if "run" in _words else "other"
_seen: dict[str, Any] = {"kind": _kind, "rule": _rule, "began": _began, "imports": 0.0, "stage": 0.0, "stage_cpu": 0.0}
_depth = 0
_imports = [0.0, 0.0]  # s by the clock, of the processor


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
            for name in [n for n in sys.modules if n.startswith("rsmvs.stages.")]:
                found = getattr(sys.modules[name], _rule, None)
                if getattr(found, "__module__", None) == name and not hasattr(found, "watched"):
                    setattr(sys.modules[name], _rule, _watched(found))


def _tell() -> None:
    _seen.update(ended=time.time(), cpu=time.process_time(), imports=_imports[1])
    Path(os.environ["RSMVS_PROBED"], f"{os.getpid()}-{_began}.json").write_text(json.dumps(_seen))


atexit.register(_tell)
if _rule:
    builtins.__import__ = _import  # type: ignore[assignment]
