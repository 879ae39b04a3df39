"""The training loop: any task, any dataset, one process or several, resumable to the step.

Everything a step does follows from the options and the step's number (sample order, learning rate), and everything it
changes stands in the checkpoint, which is written whole or not at all: a run that was killed goes on bit by bit as if it
had not been. Started under torchrun, every process takes its share of each step's samples.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import distributed, nn
from torch.utils.data import DataLoader, Dataset

from rsmvs.config import as_dict
from rsmvs.errors import ConfigError, ManifestError
from rsmvs.io.manifests import atomic
from rsmvs.network_options import TrainOptions
from rsmvs.training.records import TrainLog, finish
from rsmvs.training.tasks import Task

log = logging.getLogger(__name__)
_FREE = {"steps", "workers", "threads", "log_every", "save_every", "eval_every", "tensorboard"}  # may differ on resuming


def train(
    make_task: Any, dataset: Dataset[Any], options: TrainOptions, folder: str | Path,
    evaluation: Sequence[Any] = (), card: Mapping[str, Any] | None = None,
) -> Path:
    """Train to `options.steps`, going on from `folder` where it holds a checkpoint; returns the weights' path.

    make_task: () -> Task, called after the seed is set. evaluation: samples of the fixed set. card: what the weights'
    card says of data and domain. Writes last.pt, log.csv, evaluation.csv, best.safetensors and last.safetensors.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if options.threads:
        torch.set_num_threads(options.threads)
    rank, world = _join_processes()
    torch.manual_seed(options.seed)
    run = Run(make_task(), options, rank, world)
    run.resume(folder / "last.pt")
    batches = _loader(dataset, run.task, options, run.step, rank, world)
    logs = TrainLog(folder, run.step, options.tensorboard) if rank == 0 else None
    for group in _grouped(batches, options.accumulate):
        loss = run.advance(group)
        if not math.isfinite(loss):
            raise ConfigError("lr", f"the loss is {loss} at step {run.step}", "lower the learning rate, or clip_norm")
        if rank == 0:
            assert logs is not None
            _record(run, logs, loss, folder, evaluation, card or {})
    if rank == 0:
        run.save(folder / "last.pt")
        finish(folder / "last.safetensors", run.shipped(), run.task, options, run.step, card or {}, run.best)
    if world > 1:
        distributed.barrier()
    return folder / "last.safetensors"


class Run:
    """A task under way: network, optimiser, average, step."""

    def __init__(self, task: Task, options: TrainOptions, rank: int = 0, world: int = 1) -> None:
        self.task, self.options, self.step = task, options, 0
        self.device = torch.device(f"cuda:{rank % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu")
        self.network = task.network.to(self.device)
        self.network.train()
        self.forward: nn.Module = self.network
        if world > 1:
            self.forward = nn.parallel.DistributedDataParallel(self.network, find_unused_parameters=True)
        self.optimiser = torch.optim.RMSprop(self.network.parameters(), lr=options.lr, alpha=options.alpha)
        self.average = {k: v.clone() for k, v in self.network.state_dict().items()} if options.ema else {}
        self.best: dict[str, float] = {}

    def rate(self) -> float:
        """Learning rate of the next step: a linear rise, then half a cosine from lr to lr_end."""
        o = self.options
        share = min(self.step / max(o.steps - 1, 1), 1.0)
        value = o.lr_end + (o.lr - o.lr_end) * (1 + math.cos(math.pi * share)) / 2
        return value * min((self.step + 1) / o.warmup, 1.0) if o.warmup else value

    def advance(self, batches: Sequence[Any]) -> float:
        """One optimiser step over `batches`; returns the mean loss."""
        total = 0.0
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.optimiser.zero_grad(set_to_none=True)
        for i, batch in enumerate(batches):
            wait = self.forward.no_sync() if self.forward is not self.network and i + 1 < len(batches) else nullcontext()
            with wait:
                with self.autocast():
                    loss = self.task.loss(self.forward, moved(batch, self.device)) / len(batches)
                loss.backward()
            total += float(loss.detach())
        if self.options.clip_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.options.clip_norm)
        self.optimiser.step()
        self.step += 1
        for name, value in self.network.state_dict().items() if self.average else ():
            if value.is_floating_point():
                decay = min(self.options.ema, (1 + self.step) / (10 + self.step))  # short memory at first
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)
        return total

    def autocast(self) -> Any:
        half = self.options.precision == "bf16" or (self.options.precision == "auto" and self.device.type == "cuda")
        return torch.autocast(self.device.type, torch.bfloat16) if half else nullcontext()

    def shipped(self) -> dict[str, torch.Tensor]:
        """The weights that count: the average where one is kept."""
        return dict(self.average or self.network.state_dict())

    def evaluate(self, samples: Sequence[Any]) -> dict[str, float]:
        """Scores of the shipped weights over the fixed set."""
        trained = {k: v.clone() for k, v in self.network.state_dict().items()}
        self.network.load_state_dict(self.shipped())
        self.network.eval()
        sums: dict[str, list[float]] = {}
        with torch.inference_mode():
            for sample in samples:
                for name, (value, count) in self.task.scores(moved(self.task.collate([sample]), self.device)).items():
                    entry = sums.setdefault(name, [0.0, 0.0])
                    entry[0], entry[1] = entry[0] + value, entry[1] + count
        self.network.train()
        self.network.load_state_dict(trained)
        return {name: value / max(count, 1e-9) for name, (value, count) in sums.items()}

    def save(self, path: Path) -> None:
        state = {
            "step": self.step, "options": as_dict(self.options), "architecture": self.task.architecture(),
            "network": self.network.state_dict(), "optimiser": self.optimiser.state_dict(), "average": self.average,
            "best": self.best,
        }
        with atomic(path) as part:
            torch.save(state, part)

    def resume(self, path: Path) -> None:
        if not path.exists():
            return
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
        except (RuntimeError, EOFError, OSError, UnpicklingError):
            raise ManifestError(path, "is no checkpoint", "delete it to start anew") from None
        now = {**as_dict(self.options), **self.task.architecture()}
        before = {**state["options"], **state["architecture"]}
        changed = [k for k in now if k not in _FREE and now[k] != before.get(k)]
        if changed:
            what = ", ".join(f"{k} was {before.get(k)!r} and is {now[k]!r}" for k in changed)
            raise ConfigError(path, what, "set it back, or start in another folder")
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.average, self.best = state["step"], state["average"], state["best"]


def _record(run: Run, logs: TrainLog, loss: float, folder: Path, evaluation: Sequence[Any], card: Mapping[str, Any]) -> None:
    o = run.options
    if run.step % o.log_every == 0 or run.step == o.steps:
        logs.row(run.step, {"lr": run.optimiser.param_groups[0]["lr"], "loss": loss})
    if evaluation and (run.step % o.eval_every == 0 or run.step == o.steps):
        scores = run.evaluate(evaluation)
        logs.scores(run.step, scores)
        first = next(iter(scores))  # a task names its deciding score first; smaller is better
        if not run.best or scores[first] < run.best[first]:
            run.best = {**scores, "step": run.step}
            finish(folder / "best.safetensors", run.shipped(), run.task, o, run.step, card, scores)
    if run.step % o.save_every == 0:
        run.save(folder / "last.pt")


def moved(value: Any, device: torch.device) -> Any:
    """Tensors inside lists, tuples and dataclasses, on the device."""
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, list | tuple):
        return type(value)(moved(v, device) for v in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(value, **{f.name: moved(getattr(value, f.name), device) for f in dataclasses.fields(value)})
    return value


class _Order:
    """Indices of the samples of each batch of one process, from a step on: a fresh permutation every epoch."""

    def __init__(self, n: int, options: TrainOptions, first_step: int, rank: int, world: int) -> None:
        self.n, self.options, self.first_step, self.rank, self.world = n, options, first_step, rank, world

    def __iter__(self) -> Iterator[list[int]]:
        o, epoch, order = self.options, -1, np.arange(0)
        share = o.batch_size * o.accumulate
        for step in range(self.first_step, o.steps):
            first = (step * self.world + self.rank) * share
            for batch in range(first, first + share, o.batch_size):
                indices = []
                for position in range(batch, batch + o.batch_size):
                    if position // self.n != epoch:
                        epoch = position // self.n
                        order = np.random.default_rng([o.seed, epoch]).permutation(self.n)
                    indices.append(int(order[position % self.n]))
                yield indices

    def __len__(self) -> int:
        return max(self.options.steps - self.first_step, 0) * self.options.accumulate


def _loader(dataset: Dataset[Any], task: Task, o: TrainOptions, step: int, rank: int, world: int) -> DataLoader[Any]:
    order = _Order(len(dataset), o, step, rank, world)  # type: ignore[arg-type]
    more = {"prefetch_factor": 4, "persistent_workers": True} if o.workers else {}
    return DataLoader(dataset, batch_sampler=order, num_workers=o.workers, collate_fn=task.collate, **more)  # type: ignore[arg-type]


def _grouped(batches: Any, n: int) -> Iterator[list[Any]]:
    group: list[Any] = []
    for batch in batches:
        group.append(batch)
        if len(group) == n:
            yield group
            group = []


def _join_processes() -> tuple[int, int]:
    """(rank, number of processes) as torchrun set them."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return int(os.environ.get("RANK", "0")), world
