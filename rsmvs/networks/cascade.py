"""The cascade: heights from coarse to fine over any number of views (Gu et al., CVPR 2020; Gao et al., ICCV 2021).

Three stages at strides 4, 2 and 1. The first searches the whole height range; the next ones search around the heights
before them: a fixed distance of planes (red, casmvs) or +- lambda standard deviations (ucs; Cheng et al., CVPR 2020).
With a prior height map the coarse stages are skipped, and the range is what the prior holds nearby. The network knows
no camera: rays are fields, heights are metres above the middle of the range (z).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from rsmvs.geometry.warp_torch import lookup_field
from rsmvs.network_options import CascadeOptions
from rsmvs.networks.cost_volume import PlaneSweep, SourceMaps, Visibility
from rsmvs.networks.features import FeatureNet, upsampled
from rsmvs.networks.polish import Polish
from rsmvs.networks.rdm_fusion import RDMFusion, RDMGuide, normalised_rdm
from rsmvs.networks.regularizers import HeightPlanes, ReadOut, RecurrentED, UNet3D

STRIDES = (4, 2, 1)
MULTIPLE = 32  # of height and width of the reference: stride 4 times three halvings
_PRIOR_MARGIN = 2.0  # intervals searched beyond the prior heights nearby


@dataclass(frozen=True, eq=False)
class StackTensors:
    """A batch of view stacks.

    images: (b, 1, h, w) each, reference first, normalised, 0 where there is no data; masks: likewise, 1 = data.
    fields: (b, k, 2, h, w) for each source, see `normalised_field`. z_range: (b, 2) metres above the mid height.
    interval: (b,) metres, the unit of the plane distances. prior: (b, 1, h, w) z, NaN = none. rdm: (b, 3, h, w).
    """

    images: list[torch.Tensor]
    masks: list[torch.Tensor]
    fields: list[torch.Tensor]
    z_range: torch.Tensor
    interval: torch.Tensor
    prior: torch.Tensor | None = None
    rdm: torch.Tensor | None = None

    def to(self, device: torch.device) -> StackTensors:
        def there(x: torch.Tensor | None) -> torch.Tensor | None:
            return None if x is None else x.to(device)

        images, masks, fields = ([x.to(device) for x in xs] for xs in (self.images, self.masks, self.fields))
        z_range, interval = self.z_range.to(device), self.interval.to(device)
        return StackTensors(images, masks, fields, z_range, interval, there(self.prior), there(self.rdm))


@dataclass(frozen=True, eq=False)
class StageHeights:
    """Of one stage, (b, 1, h, w) at its stride: z (m above the mid height), its deviation (m), confidence, plane distance.

    confidence: the stage's own times that of the stages before it, on which its range rests: four planes alone are always
    sure of themselves. span: lowest and highest plane.
    """

    z: torch.Tensor
    sigma: torch.Tensor
    confidence: torch.Tensor
    step: torch.Tensor
    stride: int
    span: tuple[torch.Tensor, torch.Tensor] | None = None


class Cascade(nn.Module):
    def __init__(self, options: CascadeOptions) -> None:
        super().__init__()
        self.options = options
        channels = options.feature_channels
        extra = 3 if options.zncc_window else 1
        regularizer = RecurrentED if options.regularizer == "red" else UNet3D
        self.features = FeatureNet(channels)
        self.regularizers = nn.ModuleList(
            regularizer(c + extra, width, options.levels)
            for c, width in zip(reversed(channels), options.regularizer_widths, strict=True)
        )
        self.visibility = Visibility() if options.visibility else None
        self.rdm_fusion = RDMFusion(channels) if options.rdm else None
        self.rdm_guides = nn.ModuleList(RDMGuide() for _ in STRIDES) if options.rdm_guide else None
        self.polish = Polish(channels[0], options.prior != "none") if options.polish else None

    def forward(self, stack: StackTensors) -> list[StageHeights]:
        """The stages that ran, coarse to fine; the last one is the result."""
        return self.from_features(stack, [self.features(image) for image in stack.images])

    def read(self, i: int, sweep: PlaneSweep, planes: HeightPlanes, cells: int) -> ReadOut:
        """Heights of the i-th stage, as an index of its planes."""
        return self.regularizers[i](sweep.cost, planes, cells)

    def from_features(self, stack: StackTensors, feats: list[list[torch.Tensor]]) -> list[StageHeights]:
        """The same with features made elsewhere: per view those of `FeatureNet`, reference first."""
        rdm = None if stack.rdm is None else normalised_rdm(stack.rdm)
        if self.rdm_fusion is not None and rdm is not None:
            feats = [self.rdm_fusion(feats[0], rdm), *feats[1:]]
        weights: list[torch.Tensor] = []
        stages: list[StageHeights] = []
        for i in range(0 if stack.prior is None else self.options.prior_stage, len(STRIDES)):
            sweep = self._sweep(stack, [f[i] for f in feats], STRIDES[i])
            planes = self._planes(stack, stages, i)
            cells = sweep.image[0].numel()
            if self.visibility is not None:
                weights = [upsampled(w) for w in weights] or self.visibility(sweep, planes.n, partial(planes.groups, cells))
                sweep = sweep.weighted(weights)
            read = self.read(i, sweep, planes, cells)
            step = planes.step.expand_as(read.index)
            span = (planes.low, planes.low + planes.step * (planes.n - 1))
            z, sigma = planes.at(read.index), read.deviation * step
            sure = read.confidence * upsampled(stages[-1].confidence) if stages else read.confidence
            if self.rdm_guides is not None and rdm is not None:
                guide = F.avg_pool2d(rdm[:, :1], STRIDES[i]) if STRIDES[i] > 1 else rdm[:, :1]
                z = self.rdm_guides[i](z, sure.detach(), guide, stack.interval.view(-1, 1, 1, 1))
            stages.append(StageHeights(z, sigma, sure, step, STRIDES[i], span))
        if self.polish is not None:
            last, interval = stages[-1], stack.interval.view(-1, 1, 1, 1)
            z = self.polish(last.z, last.sigma, last.confidence, feats[0][-1], interval, stack.prior)
            stages.append(replace(last, z=z))
        return stages

    def _sweep(self, stack: StackTensors, feats: list[torch.Tensor], stride: int) -> PlaneSweep:
        images = [F.avg_pool2d(x, stride) if stride > 1 else x for x in stack.images]
        masks = [F.avg_pool2d(x, stride) if stride > 1 else x for x in stack.masks]
        sources = []
        for v, field in enumerate(stack.fields, 1):
            maps = torch.cat([feats[v].float(), images[v], masks[v]], 1)
            sources.append(SourceMaps(maps, lookup_field(field, stride)))
        return PlaneSweep(feats[0], images[0], sources, self.options.zncc_window)

    def _planes(self, stack: StackTensors, stages: list[StageHeights], i: int) -> HeightPlanes:
        """The hypotheses of stage i, per pixel after the first stage."""
        options, n = self.options, self.options.hypotheses[i]
        low, high = (stack.z_range[:, k].view(-1, 1, 1, 1) for k in (0, 1))
        if i == 0:
            return HeightPlanes(low, (high - low) / (n - 1), n)
        distance = options.interval_ratio[i] * stack.interval.view(-1, 1, 1, 1)
        if not stages:
            return _planes_around_prior(stack, distance, STRIDES[i], n, options.prior_cells)
        last = stages[-1]
        z, half = upsampled(last.z.detach()), distance * (n - 1) / 2
        if options.regularizer == "ucs":  # never narrower than half a GSD a side, so that the search stays alive
            half = torch.maximum(options.lamb * upsampled(last.sigma.detach()), 0.5 * stack.interval.view(-1, 1, 1, 1))
        z = torch.minimum(torch.maximum(z, low), high)
        bottom, top = _within_reach(last.z.detach(), options.reach_cells)
        bottom, top = torch.minimum(z - half, bottom), torch.maximum(z + half, top)
        return HeightPlanes(bottom, (top - bottom) / (n - 1), n)


def _within_reach(z_b1hw: torch.Tensor, cells: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Lowest and highest of the stage's heights in cells x cells cells, twice as fine.

    Beside an edge the interpolated height is far from both sides of it: a range of a few planes around it holds neither.
    """
    lowest, highest = (s * F.max_pool2d(s * z_b1hw, cells, 1, cells // 2) for s in (-1.0, 1.0))
    return upsampled(lowest), upsampled(highest)


def _planes_around_prior(
    stack: StackTensors, distance_b111: torch.Tensor, stride: int, n: int, cells: int
) -> HeightPlanes:
    """Planes from the lowest to the highest prior height in cells x cells cells and a margin; the whole range without any."""
    assert stack.prior is not None
    known = torch.isfinite(stack.prior)
    low, high = (stack.z_range[:, k].view(-1, 1, 1, 1) for k in (0, 1))

    def largest(x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(x, stride) if stride > 1 else x
        return F.max_pool2d(x, cells, 1, cells // 2)

    far = 1e9  # stands for "no prior": finite, so that pooling and export know no special values
    top = largest(torch.where(known, stack.prior, torch.full_like(stack.prior, -far)))
    bottom = -largest(torch.where(known, -stack.prior, torch.full_like(stack.prior, -far)))
    some = top > -far / 2
    top, bottom = torch.where(some, top, high.expand_as(top)), torch.where(some, bottom, low.expand_as(bottom))
    middle = (top + bottom) / 2
    half = torch.maximum((top - bottom) / 2 + _PRIOR_MARGIN * stack.interval.view(-1, 1, 1, 1), distance_b111 * (n - 1) / 2)
    return HeightPlanes(middle - half, 2 * half / (n - 1), n)
