"""What a training leaves behind: tables of the loss and of the scores, and weights with their card."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rsmvs.config import as_dict
from rsmvs.errors import ConfigError
from rsmvs.io.manifests import atomic
from rsmvs.io.weights import write_weights
from rsmvs.network_options import TrainOptions
from rsmvs.networks.lora import trainable
from rsmvs.training.tasks import Task


class TrainLog:
    """log.csv and evaluation.csv, one row a call; rows past the step that a run resumes from are dropped."""

    def __init__(self, folder: Path, step: int, tensorboard: bool) -> None:
        self.folder = folder
        for name in ("log.csv", "evaluation.csv"):
            _cut(folder / name, step)
        self.events = _event_writer(folder) if tensorboard else None

    def row(self, step: int, values: Mapping[str, float]) -> None:
        self._append("log.csv", step, values)

    def scores(self, step: int, values: Mapping[str, float]) -> None:
        self._append("evaluation.csv", step, values)

    def _append(self, name: str, step: int, values: Mapping[str, float]) -> None:
        path = self.folder / name
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow(["step", *values])
            writer.writerow([step, *(f"{v:.7g}" for v in values.values())])
        if self.events is not None:
            for key, value in values.items():
                self.events.add_scalar(f"{path.stem}/{key}", value, step)
            self.events.flush()


def _cut(path: Path, step: int) -> None:
    if not path.exists():
        return
    header, *rows = path.read_text().splitlines()
    kept = [r for r in rows if r.split(",")[0].isdigit() and int(r.split(",")[0]) <= step]
    with atomic(path) as part:
        part.write_text("\n".join([header, *kept]) + "\n")


def _event_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigError("tensorboard", "the package is not installed", "pip install tensorboard, or leave it off") from None
    return SummaryWriter(folder / "events")


def finish(
    path: Path, tensors: dict[str, Any], task: Task, options: TrainOptions, step: int, card: Mapping[str, Any],
    scores: Mapping[str, float],
) -> None:
    """Weights and their card. card: keys `data` and `domain` as the caller knows them."""
    trained, whole = trainable(task.network)
    about = {
        "trained": step > 0, "architecture": task.architecture(), "metrics": dict(scores),
        "training": {"data": card.get("data", "not stated"), "steps": step, "options": as_dict(options),
                     "parameters": {"trained": trained, "all": whole}},
        "domain": card.get("domain", {}),
    }
    write_weights(path, tensors, about)
