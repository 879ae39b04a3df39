"""View stacks as tensors: normalisation, padding, unrolled warp fields. The same for training and inference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from rsmvs.geometry.warp import WarpField
from rsmvs.geometry.warp_torch import dense_field, normalised_field
from rsmvs.networks.cascade import MULTIPLE, StackTensors
from rsmvs.networks.matcher import Source, ViewStack
from rsmvs.types import F32, Sample

_CLIP = 5.0  # deviations: glints and hot pixels must not rule the features
_SOURCE_MULTIPLE = 32  # of the coarsest features 4; larger, so that sizes recur and a compiled network serves again


def stack_of(sample: Sample) -> ViewStack:
    """What a matcher sees of a training sample."""
    sources = []
    for image, warp in zip(sample.images[1:], sample.warps, strict=True):
        assert isinstance(warp, WarpField)
        sources.append(Source(image, warp))
    return ViewStack(sample.images[0], tuple(sources), sample.height_range, sample.gsd, sample.prior, sample.rdm)


def mid_height(stack: ViewStack) -> float:
    """The height (m) from which a network counts z."""
    return (stack.height_range[0] + stack.height_range[1]) / 2


def normalised(image: F32) -> tuple[F32, F32]:
    """(image with mean 0 and deviation 1 over its data, 0 elsewhere; mask 1 = data)."""
    mask = np.isfinite(image)
    values = image[mask].astype(np.float64)
    mean, deviation = (values.mean(), max(float(values.std()), 1e-6)) if values.size else (0.0, 1.0)
    scaled = np.clip((image - np.float32(mean)) / np.float32(deviation), -_CLIP, _CLIP)
    return np.where(mask, scaled, 0).astype(np.float32), mask.astype(np.float32)


def stack_tensors(stacks: Sequence[ViewStack], min_interval: float = 0.0) -> StackTensors:
    """A batch of stacks with equally many sources; references padded to one size of multiples of 32.

    min_interval: metres; 0: each stack's GSD.
    """
    shape = _common([s.image.shape for s in stacks], MULTIPLE)
    columns = [[s.image for s in stacks]]
    columns += [[s.sources[v].image for s in stacks] for v in range(min(len(s.sources) for s in stacks))]
    images, masks, fields = [], [], []
    for v, column in enumerate(columns):
        size = _common([i.shape for i in column], _SOURCE_MULTIPLE) if v else shape
        pairs = [normalised(i) for i in column]
        images.append(torch.cat([_padded(i, size, 0.0) for i, _ in pairs]))
        masks.append(torch.cat([_padded(m, size, 0.0) for _, m in pairs]))
        if v:
            unrolled = (dense_field(s.sources[v - 1].field, shape, mid_height(s)) for s in stacks)
            fields.append(_batch_of_fields([normalised_field(d, size) for d in unrolled]))
    half = torch.tensor([(s.height_range[1] - s.height_range[0]) / 2 for s in stacks], dtype=torch.float32)
    interval = torch.tensor([min_interval or s.gsd for s in stacks], dtype=torch.float32)
    prior = rdm = None
    priors = [(s.prior, mid_height(s)) for s in stacks if s.prior is not None]
    if len(priors) == len(stacks):
        prior = torch.cat([_padded((p - z0).astype(np.float32), shape, np.nan) for p, z0 in priors])
    if all(s.rdm is not None for s in stacks):
        rdm = torch.cat([_padded_edge(s.rdm, shape) for s in stacks])  # type: ignore[arg-type]
    return StackTensors(images, masks, fields, torch.stack([-half, half], 1), interval, prior, rdm)


def _common(shapes: Sequence[tuple[int, ...]], multiple: int) -> tuple[int, int]:
    h, w = (-(-max(s[i] for s in shapes) // multiple) * multiple for i in (0, 1))
    return h, w


def _padded(values: F32, shape: tuple[int, int], fill: float) -> torch.Tensor:
    out = np.full((1, 1, *shape), fill, np.float32)
    out[0, 0, : values.shape[0], : values.shape[1]] = values
    return torch.from_numpy(out)


def _padded_edge(maps: F32, shape: tuple[int, int]) -> torch.Tensor:
    pad = [(0, 0), (0, shape[0] - maps.shape[1]), (0, shape[1] - maps.shape[2])]
    return torch.from_numpy(np.pad(maps.astype(np.float32), pad, mode="edge")[None])


def _batch_of_fields(fields: list[torch.Tensor]) -> torch.Tensor:
    """Polynomials of different orders side by side: the missing coefficients are zero."""
    k = max(f.shape[0] for f in fields)
    out = fields[0].new_zeros(len(fields), k, *fields[0].shape[1:])
    for i, f in enumerate(fields):
        out[i, : f.shape[0]] = f
    return out


def truth_of(samples: Sequence[Sample], shape: tuple[int, int]) -> torch.Tensor:
    """(b, 1, h, w) true z, padded like the stacks; NaN = unknown."""
    maps = [_padded((s.heights - sum(s.height_range) / 2).astype(np.float32), shape, np.nan) for s in samples]
    return torch.cat(maps)
