"""The training loop: any task, any dataset, one process or several, resumable to the step.

Everything a step does follows from the options and the step's number (sample order, learning rate), and everything it
changes stands in the checkpoint, which is written whole or not at all: a run that was killed goes on bit by bit as if it
had not been. Started under torchrun, every process takes its share of each step's samples.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import distributed, nn
from torch.utils.data import Dataset

from rsmvs.config import as_dict
from rsmvs.errors import ConfigError, ManifestError
from rsmvs.io.manifests import atomic, write_json
from rsmvs.network_options import TrainOptions
from rsmvs.networks.device import cpu_has_bf16
from rsmvs.networks.lora import trainable
from rsmvs.networks.memory import keep_freed_memory
from rsmvs.training.batches import batches_of_steps
from rsmvs.training.records import TrainLog, finish
from rsmvs.training.tasks import Task

_FREE = {"steps", "workers", "threads", "log_every", "save_every", "eval_every", "tensorboard"}  # may differ on resuming


def train(
    make_task: Any, dataset: Dataset[Any], options: TrainOptions, folder: str | Path,
    evaluation: Sequence[Any] = (), card: Mapping[str, Any] | None = None, config: Mapping[str, Any] | None = None,
) -> Path:
    """Train to `options.steps`, going on from `folder` where it holds a checkpoint; returns the weights' path.

    make_task: () -> Task, called after the seed is set. evaluation: samples of the fixed set. card: what the weights'
    card says of data and domain beyond what is known here. config: the whole configuration as plain values, which must be
    the same on going on. Writes config.json, last.pt, log.csv, evaluation.csv, best.safetensors and last.safetensors.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    if options.threads:
        torch.set_num_threads(options.threads)
    rank, world = _join_processes()
    torch.manual_seed(options.seed)
    run = Run(make_task(), options, rank, world, config)
    run.resume(folder / "last.pt")
    if rank == 0:
        print("{:,} of {:,} parameters are trained".format(*trainable(run.network)), flush=True)
    if config and rank == 0:  # only now: a training that is refused leaves the one that stands there as it is
        write_json(folder / "config.json", config)
    card = {"data": (config or {}).get("data", "not stated"), **(card or {})}
    steps = batches_of_steps(dataset, run.task, options, run.step, rank, world)
    logs = TrainLog(folder, run.step, options.tensorboard) if rank == 0 else None
    for group in steps:
        for _, domain in group:
            run.saw(domain)
        loss = run.advance([batch for batch, _ in group])
        if not math.isfinite(loss):
            raise ConfigError("lr", f"the loss is {loss} at step {run.step}", "lower the learning rate, or clip_norm")
        if rank == 0:
            assert logs is not None
            _record(run, logs, loss, folder, evaluation, card)
    if rank == 0:
        run.save(folder / "last.pt")
        finish(folder / "last.safetensors", run.shipped(), run.task, options, run.step, run.about(card), run.best)
    if world > 1:
        distributed.barrier()
    return folder / "last.safetensors"


class Run:
    """A task under way: network, optimiser, average, step."""

    def __init__(
        self, task: Task, options: TrainOptions, rank: int = 0, world: int = 1, config: Mapping[str, Any] | None = None
    ) -> None:
        self.task, self.options, self.step = task, options, 0
        self.config = dict(config or {})
        self.domain: dict[str, list[float]] = {}  # name: lowest and highest of the scenes learned from by this process
        self.device = torch.device(f"cuda:{rank % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu")
        self.network = task.network.to(self.device)
        self.network.train()
        self.forward: nn.Module = self.network
        if world > 1:
            self.forward = nn.parallel.DistributedDataParallel(self.network, find_unused_parameters=True)
        self.optimiser = _optimiser(self.network, options)
        self.average = {k: v.clone() for k, v in self.network.state_dict().items()} if options.ema else {}
        self.best: dict[str, float] = {}

    def rate(self) -> float:
        """Learning rate of the next step: a linear rise, then half a cosine from lr to lr_end."""
        o = self.options
        share = min(self.step / max(o.steps - 1, 1), 1.0)
        value = o.lr_end + (o.lr - o.lr_end) * (1 + math.cos(math.pi * share)) / 2
        return value * min((self.step + 1) / o.warmup, 1.0) if o.warmup else value

    def saw(self, domain: Mapping[str, tuple[float, float]]) -> None:
        """Remember what a batch is like, as the card tells it."""
        for name, (low, high) in domain.items():
            known = self.domain.setdefault(name, [low, high])
            known[:] = [min(known[0], low), max(known[1], high)]

    def about(self, card: Mapping[str, Any]) -> dict[str, Any]:
        """The card with the domain that was learned; what the caller says of it counts more."""
        return {**card, "domain": {**self.domain, **card.get("domain", {})}}

    def advance(self, batches: Sequence[Any]) -> float:
        """One optimiser step over `batches`; returns the mean loss."""
        total = 0.0
        self._set_mode()
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

    def _set_mode(self) -> None:
        """Training, with batch statistics; near the end with the running ones, by which the network will be used.

        The views of a batch go through the features one after another, each with statistics of its own.
        """
        self.network.train()
        if self.step >= self.options.freeze_norm * self.options.steps:
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def autocast(self) -> Any:
        known = self.device.type == "cuda" or (self.task.half_on_cpu and cpu_has_bf16())
        half = self.options.precision == "bf16" or (self.options.precision == "auto" and known)
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
            "best": self.best, "domain": self.domain, "config": self.config,
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
        changed = self._differences(state)
        if changed:
            raise ConfigError(path, ", ".join(changed), "set it back, or start in another folder")
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.average, self.best = state["step"], state["average"], state["best"]
        self.domain = state.get("domain", {})

    def _differences(self, state: Mapping[str, Any]) -> list[str]:
        """What a checkpoint was made with and is another now, in words; what may change on going on is left out."""
        rest = {k: v for k, v in self.config.items() if k not in ("training", "network")}
        pairs = [
            ("training", {**as_dict(TrainOptions()), **state["options"]}, as_dict(self.options)),
            ("network", state["architecture"], self.task.architecture()),
            ("", state.get("config", {}), rest),
        ]
        return [line for name, before, now in pairs for line in _unlike(name, before, now)]


def _unlike(name: str, before: Any, now: Any) -> list[str]:
    """Values of nested mappings that stand in both and differ, each in words."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        free = _FREE if name == "training" else set()
        keys = [k for k in now if k in before and k not in free]
        return [line for k in keys for line in _unlike(f"{name}.{k}" if name else k, before[k], now[k])]
    return [] if before == now else [f"{name} was {before!r} and is {now!r}"]


def _optimiser(network: nn.Module, o: TrainOptions) -> torch.optim.Optimizer:
    if o.optimizer == "adamw":
        return torch.optim.AdamW(network.parameters(), lr=o.lr, weight_decay=o.weight_decay)
    return torch.optim.RMSprop(network.parameters(), lr=o.lr, alpha=o.alpha, weight_decay=o.weight_decay)


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
            finish(folder / "best.safetensors", run.shipped(), run.task, o, run.step, run.about(card), scores)
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


def _join_processes() -> tuple[int, int]:
    """(rank, number of processes) as torchrun set them."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return int(os.environ.get("RANK", "0")), world
