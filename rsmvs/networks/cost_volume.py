"""The matching cost of height planes, over any number of views.

A plane is a map of heights (one value, or one per pixel); planes are the channels of z_bdhw. Each source is warped onto
the reference at these heights; the cost is the variance of the features over the views that see the pixel (Yao et al.,
MVSNet, ECCV 2018, eq. (2)), optionally weighted by how well a view is seen, with the share of views that saw it, and
optionally the zero-mean normalised cross-correlation (ZNCC) of the image itself beside it: a cost that needs no training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional as F

from rsmvs.geometry.warp_torch import sample_planes

_SEEN = 0.999  # bilinear weight of valid source pixels from which a sample counts
_WORST = 2.0  # 1 - ZNCC of opposite images: stands for a source that does not see the pixel
_FLAT = 1e-3  # variance (of images normalised to 1) added in ZNCC: below it there is no texture to compare


@dataclass(frozen=True, eq=False)
class SourceMaps:
    """One source at one stride.

    maps: (b, c + 2, h, w): features, image, validity, sampled together. field: (b, k, h, w, 2) of `lookup_field` at the
    reference's stride. weight: (b, 1, h, w) visibility, or None for 1.
    """

    maps: torch.Tensor
    field: torch.Tensor
    weight: torch.Tensor | None = None


class PlaneSweep:
    """The costs of a reference at one stride, plane by plane."""

    def __init__(
        self, feats_bchw: torch.Tensor, image_b1hw: torch.Tensor, sources: list[SourceMaps], zncc_window: int = 0
    ) -> None:
        self.feats, self.image, self.sources, self.zncc_window = feats_bchw.float(), image_b1hw.float(), sources, zncc_window

    def weighted(self, weights: list[torch.Tensor]) -> PlaneSweep:
        """The same sweep with a visibility (b, 1, h, w) for each source."""
        sources = [replace(s, weight=w) for s, w in zip(self.sources, weights, strict=True)]
        return PlaneSweep(self.feats, self.image, sources, self.zncc_window)

    def warped(self, source: SourceMaps, z_bdhw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Features (b, c, d, h, w), image and seen (0 or 1; both (b, 1, d, h, w)) of a source at heights z."""
        maps = sample_planes(source.maps, source.field, z_bdhw)
        return maps[:, :-2], maps[:, -2:-1], (maps[:, -1:] > _SEEN).to(maps.dtype)

    def cost(self, z_bdhw: torch.Tensor) -> torch.Tensor:
        """(b, c + 1 [+ 2], d, h, w): variance per channel, share of sources that see the pixel[, 1 - ZNCC: mean, best].

        The best of the sources counts where the others are hidden.
        """
        feats, image = self.feats.unsqueeze(2), self.image.unsqueeze(2)
        total, mean, square = torch.ones_like(image), feats, feats * feats
        seen_sum, zncc_sum = torch.zeros_like(image), torch.zeros_like(image)
        zncc_best = torch.full_like(image, _WORST)
        for source in self.sources:
            other, other_image, seen = self.warped(source, z_bdhw)
            weight = seen if source.weight is None else seen * source.weight.unsqueeze(2)
            weighted = weight * other
            mean, square, total = mean + weighted, square + weighted * other, total + weight
            seen_sum = seen_sum + seen
            if self.zncc_window:
                apart = 1 - zncc(self.image, other_image.squeeze(1), self.zncc_window).unsqueeze(1)
                zncc_sum = zncc_sum + weight * apart
                zncc_best = torch.minimum(zncc_best, apart + _WORST * (1 - seen))
        mean = mean / total
        parts = [(square / total - mean * mean).clamp(min=0), seen_sum / len(self.sources)]
        if self.zncc_window:
            parts += [zncc_sum / (total - 1).clamp(min=1e-3), zncc_best]
        return torch.cat(parts, 1)


def zncc(a_b1hw: torch.Tensor, b_bdhw: torch.Tensor, window: int) -> torch.Tensor:
    """(b, d, h, w) zero-mean normalised cross-correlation over window x window cells, -1 to 1, of one image with d others.

    Towards 0 where there is no texture.
    """

    def mean(x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x, window, 1, window // 2, count_include_pad=False)

    mean_a, mean_b = mean(a_b1hw), mean(b_bdhw)
    var_a = (mean(a_b1hw * a_b1hw) - mean_a * mean_a).clamp(min=0)
    var_b = (mean(b_bdhw * b_bdhw) - mean_b * mean_b).clamp(min=0)
    covariance = mean(a_b1hw * b_bdhw) - mean_a * mean_b
    return covariance / torch.sqrt((var_a + _FLAT) * (var_b + _FLAT))


class Visibility(nn.Module):
    """How well each source sees each pixel, from the best and the mean agreement over the planes.

    Two statistics of the pair's squared feature distance over a sweep, min and mean, go through a small head
    (after Zhang et al., Vis-MVSNet, BMVC 2020). Streaming: memory does not grow with the number of planes.
    """

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.head = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(width, 1, 3, padding=1)
        )
        last = self.head[2]
        assert isinstance(last, nn.Conv2d)
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, 3.0)  # all views nearly fully trusted before training: plain variance

    def forward(self, sweep: PlaneSweep, n: int, groups: Callable[[], Iterable[torch.Tensor]]) -> list[torch.Tensor]:
        """(b, 1, h, w) weight in (0, 1) for each source of the sweep. groups: gives the n planes anew for each source, some at
        a time (b, d, h, w)."""
        weights = []
        for source in sweep.sources:
            best = torch.full_like(sweep.image, torch.inf)
            mean, seen_mean = torch.zeros_like(best), torch.zeros_like(best)
            for z in groups():
                feats, _, seen = sweep.warped(source, z)
                distance = ((feats - sweep.feats.unsqueeze(2)) ** 2).mean(1)
                best = torch.minimum(best, distance.amin(1, keepdim=True))
                mean = mean + distance.sum(1, keepdim=True) / n
                seen_mean = seen_mean + seen.sum(2) / n
            weights.append(torch.sigmoid(self.head(torch.cat([best, mean, seen_mean], 1))))
        return weights
