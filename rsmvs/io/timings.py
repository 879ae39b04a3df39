"""How long the jobs of a run took, from the last lines of their logs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

# The stages in the order of the chain; others follow by name.
_ORDER = (
    "index_views", "match_views", "adjust_views", "select_views", "predict_rdm", "predict_heights", "filter_heights",
    "fuse_tile", "mosaic_scene", "pack_points", "derive_surfaces", "evaluate", "picture_scene", "catalogue_scene",
)  # fmt: skip
_LAST = re.compile(r"^done in ([\d.]+) s, ([\d.]+) CPU s, peak ([\d.]+) MB$", re.MULTILINE)


def read_timings(logs: str | Path) -> list[dict[str, Any]]:
    """Per stage its jobs, their seconds and CPU seconds together, and the largest peak in MB, in the order of the chain.

    logs: the folder of a run, with STAGE.log or STAGE/JOB.log. A job counts with its last end, whenever that was; one
    that has not ended does not count.
    """
    found: dict[str, list[tuple[float, ...]]] = {}
    for path in sorted(Path(logs).rglob("*.log")):
        ends = _LAST.findall(path.read_text(errors="replace"))
        if ends:
            stage = path.relative_to(logs).parts[0].removesuffix(".log")
            found.setdefault(stage, []).append(tuple(float(v) for v in ends[-1]))
    place = {name: k for k, name in enumerate(_ORDER)}
    rows = []
    for stage, jobs in sorted(found.items(), key=lambda item: (place.get(item[0], len(place)), item[0])):
        seconds, cpu, peak = zip(*jobs, strict=True)
        sums = {"seconds": round(sum(seconds), 1), "cpu_seconds": round(sum(cpu), 1), "peak_mb": max(peak)}
        rows.append({"stage": stage, "jobs": len(jobs), **sums})
    return rows
