"""Which samples make which batch of which step, and their loading, in processes of its own where that is wanted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from rsmvs.errors import RsmvsError
from rsmvs.network_options import TrainOptions
from rsmvs.training.tasks import Task


class Order:
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


class _Prepare:
    """Indices to (batch, its domain), in the workers. An error of the data comes back as a value: torch would wrap it in one of
    its own."""

    def __init__(self, dataset: Dataset[Any], task: Task) -> None:
        self.dataset, self.task = dataset, task

    def __call__(self, indices: Sequence[int]) -> Any:
        try:
            samples = [self.dataset[i] for i in indices]
            return self.task.collate(samples), self.task.domain(samples)
        except RsmvsError as error:
            return error


def batches_of_steps(
    dataset: Dataset[Any], task: Task, o: TrainOptions, first_step: int, rank: int, world: int
) -> Iterator[list[tuple[Any, dict[str, tuple[float, float]]]]]:
    """Of each step of a process its batches, each with the task's `domain` of it; raises the errors of the data."""
    n = len(dataset)  # type: ignore[arg-type]
    more: dict[str, Any] = {"prefetch_factor": 4, "persistent_workers": True} if o.workers else {}
    order: Any = Order(n, o, first_step, rank, world)
    indices: Any = range(n)
    loader = DataLoader(indices, batch_sampler=order, num_workers=o.workers, collate_fn=_Prepare(dataset, task), **more)
    group = []
    for found in loader:
        if isinstance(found, RsmvsError):
            raise found
        group.append(found)
        if len(group) == o.accumulate:
            yield group
            group = []
