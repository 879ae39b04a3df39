"""Atomic files and manifests."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from rsmvs.errors import ManifestError
from rsmvs.io.manifests import atomic, checksum, read_json, write_json


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    with atomic(tmp_path / "new" / "dsm.tif") as part:
        part.write_text("half")
        assert not (tmp_path / "new" / "dsm.tif").exists()
        part.write_text("whole")
    assert names(tmp_path / "new") == ["dsm.tif"]
    assert (tmp_path / "new" / "dsm.tif").read_text() == "whole"


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "dsm.tif").write_text("old")
    with pytest.raises(RuntimeError), atomic(tmp_path / "dsm.tif") as part:
        part.write_text("half")
        raise RuntimeError
    assert names(tmp_path) == ["dsm.tif"]
    assert (tmp_path / "dsm.tif").read_text() == "old"


def test_what_a_killed_writer_left_goes_and_nothing_else(tmp_path: Path) -> None:
    for name in (".123.dsm.tif", ".123.dsm.parts.tif", ".123.dsm_filled.tif", ".abc.dsm.tif", "123.dsm.tif"):
        (tmp_path / name).write_text("")
    with atomic(tmp_path / "dsm.tif") as part:
        part.write_text("whole")
    assert names(tmp_path) == [".123.dsm_filled.tif", ".abc.dsm.tif", "123.dsm.tif", "dsm.tif"]


def test_manifests_have_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 0.1, "a": [1, 2]})
    write_json(tmp_path / "b.json", {"a": [1, 2], "b": 0.1})
    assert checksum(tmp_path / "a.json") == checksum(tmp_path / "b.json")
    assert read_json(tmp_path / "a.json") == {"a": [1, 2], "b": 0.1}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "c.json", math.nan)
    assert names(tmp_path) == ["a.json", "b.json"]


def test_broken_manifests_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(ManifestError, match=r"a\.json: is not valid JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(ManifestError, match=r"b\.json: does not exist"):
        read_json(tmp_path / "b.json")
