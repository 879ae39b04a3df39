"""Figures of an evaluation as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_FIGURES = ("completeness", "pag_1.0", "pag_2.5", "pag_7.5", "rmse", "mae", "nmad", "median", "le90")
_BRIEF = {"completeness": "compl", "pag_1.0": "PAG1", "pag_2.5": "PAG2.5", "rmse": "RMSE", "nmad": "NMAD", "median": "median",
          "le90": "LE90"}  # fmt: skip
_DATUM = 10.0  # m: a vertical shift from there on looks like a geoid
_STANDING = ("completeness", "correctness", "iou")


def unit(name: str) -> str:
    return "%" if name.startswith(("pag", "completeness")) else "m"


def figures(columns: Mapping[str, Mapping[str, Any]], note: str | None = None) -> Any:
    """The main figures, a column for each of `columns`; a note under them."""
    rows = [(name, *(_two(c.get(name)) for c in columns.values()), unit(name)) for name in _FIGURES]
    return _table(("figure", *columns, "unit"), rows, texts=("unit",), note=note)


def raw_and_aligned(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The columns of one result: as the surface lies, and after the shift that aligns it best."""
    return {name: result[name] for name in ("raw", "aligned") if name in result}


def scores(result: Mapping[str, Any]) -> Iterator[Any]:
    """All that a result holds, each kind as a table or a line."""
    if "raw" in result:
        yield figures(raw_and_aligned(result), result.get("note"))
    if "shift" in result:
        yield f"aligned: the surface moved by {moved(result['shift'])}"
    for key, title in (("by_class", "by class"), ("by_slope", "by slope °")):
        if key in result:
            yield parts(title, result[key])
    if "standing" in result:
        rows = [(name, *(_one(found[k]) for k in _STANDING)) for name, found in result["standing"].items()]
        yield _table(("standing objects", "completeness %", "correctness %", "IoU %"), rows)
    if "classes" in result:
        yield from class_tables({"": result["classes"]})
    if result.get("uncertainty", {}).get("cells"):
        told = result["uncertainty"]
        yield f"uncertainty: {told['within_1']:.1f} % of the errors within one sigma, {told['within_2']:.1f} % within two"


def parts(title: str, found: Mapping[str, Mapping[str, Any]]) -> Any:
    """Figures of the parts of a scene, a row each: by class, by slope."""
    ordered = sorted(found.items(), key=lambda item: float(item[0].split("-")[0]) if item[0][0].isdigit() else 0.0)
    rows = [(name, f"{f['truth_cells']:,}", *(_two(f[k]) for k in _BRIEF)) for name, f in ordered]
    return _table((title, "cells", *_BRIEF.values()), rows, note="compl, PAG in percent, the others in metres")


def moved(shift: Mapping[str, float]) -> str:
    """A shift in words."""
    dx, dy, dz = (_two(shift[k]) for k in ("dx", "dy", "dz"))
    doubt = "; do both count heights from one datum?" if abs(shift["dz"]) > _DATUM else ""
    return f"{dx} m east, {dy} m north, {dz} m up{doubt}"


def class_tables(found: Mapping[str, Mapping[str, Any]]) -> Iterator[Any]:
    """Figures of class maps, by a name for each (empty for a single one): their means, and IoU and F1 of each class."""
    first = next(iter(found.values()))
    near = [key for key in first if key.startswith("miou3_")]
    rows = [(name, *(_one(c[key]) for c in found.values()))
            for name, key in (("mIoU", "miou"), ("mean F1", "mean_f1"), ("accuracy", "accuracy"))]  # fmt: skip
    rows += [(f"mIoU3 within {float(key[6:]):g} m, {kind}", *(_one(c[key][kind]) for c in found.values()))
             for key in near for kind in ("lenient", "strict")]  # fmt: skip
    yield _table(("classes", *(f"{name} %".strip() for name in found)), rows)
    present = [i for i, row in enumerate(first["confusion"]) if sum(row)]
    heads = [f"{kind} {name} %".replace("  ", " ") for name in found for kind in ("IoU", "F1")]
    each = [(first["names"][i], *(_one(c[k][i]) for c in found.values() for k in ("iou", "f1"))) for i in present]
    yield _table(("class", *heads), each)  # of the classes of the reference


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], texts: Sequence[str] = (), note: str | None = None) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, caption=note, caption_justify="left")
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i == 0 or head in texts else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _two(value: float | None) -> str:
    return "-" if value is None else f"{round(value, 2) + 0.0:.2f}"  # no minus zero


def _one(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
