"""The embedded weights: complete, small, and made by the commands in their cards, which are run here cut short."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from rsmvs.cli import main
from rsmvs.io.weights import EMBEDDED, read_weights

CARDS = sorted(EMBEDDED.glob("*.json"))
SAMPLES = ("data.count=2", "data.evaluation=1", "data.size=96")
TRAINING = ("training.steps=2", "training.warmup=1", "training.threads=1", "training.batch_size=1", "data.crop=64",
            "data.evaluation=1")  # fmt: skip


def test_all_together_they_are_small():
    files = [p for p in EMBEDDED.iterdir() if p.suffix == ".safetensors"]
    assert [p.with_suffix(".json") for p in sorted(files)] == CARDS and len(CARDS) >= 1
    assert sum(p.stat().st_size for p in files) <= 40e6


@pytest.mark.parametrize("card", CARDS, ids=lambda p: p.stem)
def test_the_card_tells_all_and_its_recipe_runs(card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    weights = read_weights(card.stem)
    found = weights.card
    assert found["trained"] and found["limits"] and found["metrics"]
    searches = found["architecture"]["kind"] in ("cascade", "mvsr3d")
    assert set(found["domain"]) == ({"gsd", "height_span"} if searches else {"gsd"})
    assert all(0 < low < high for low, high in found["domain"].values())
    assert found["training"]["steps"] > 100 and found["training"]["time"]
    monkeypatch.chdir(tmp_path)
    made = None
    for command in found["training"]["recipe"]:
        program, *words = shlex.split(command)
        assert program == "rsmvs"
        samples = "--mode" in words
        short = [part for setting in (SAMPLES if samples else TRAINING) for part in ("--set", setting)]
        assert main([*words, *short]) == 0, command
        made = made if samples else Path(words[words.index("-o") + 1])
    assert made is not None
    again = read_weights(str(made / "last.safetensors"))
    assert again.card["architecture"] == found["architecture"]
    assert {k: v.shape for k, v in again.tensors.items()} == {k: v.shape for k, v in weights.tensors.items()}
