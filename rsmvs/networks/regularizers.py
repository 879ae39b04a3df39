"""From the costs of the height planes to a height: two regularisers and the read-out they share.

`UNet3D` (casmvs, ucs) sees all planes at once. `RecurrentED` (red) sees one plane at a time and keeps running sums, so
that its memory does not grow with the number of planes. A regulariser takes a sweep's cost function and the planes, and
returns a ReadOut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

Cost = Callable[[torch.Tensor], torch.Tensor]  # heights (b, d, h, w) to costs (b, c, d, h, w)
_GROUP_CELLS = 2**21  # of planes warped at once: large tensors need memory, many small ones time


@dataclass(frozen=True, eq=False)
class HeightPlanes:
    """`n` height hypotheses per pixel: z = low + step * k, (b, 1, h, w) or (b, 1, 1, 1), metres above the mid height."""

    low: torch.Tensor
    step: torch.Tensor
    n: int

    def some(self, first: int, end: int) -> torch.Tensor:
        """(b, d, h, w) or (b, d, 1, 1): planes first to end - 1."""
        k = torch.arange(first, end, dtype=self.step.dtype, device=self.step.device).view(1, -1, 1, 1)
        return self.low + self.step * k

    def groups(self, cells: int) -> Iterator[torch.Tensor]:
        """All planes, as many at a time as bound the memory; cells: rows times columns of a plane."""
        size = max(_GROUP_CELLS // cells, 1)
        return (self.some(k, min(k + size, self.n)) for k in range(0, self.n, size))

    def at(self, index_b1hw: torch.Tensor) -> torch.Tensor:
        return self.low + self.step * index_b1hw


@dataclass(frozen=True, eq=False)
class ReadOut:
    """Soft-argmin index of the planes, its standard deviation (in planes), and a confidence 0..1; all (b, 1, h, w)."""

    index: torch.Tensor
    deviation: torch.Tensor
    confidence: torch.Tensor


def read_volume(logits_bdhw: torch.Tensor) -> ReadOut:
    """Soft-argmin over d: index = sum_k p_k k with p = softmax (Kendall et al., ICCV 2017, eq. (1)).

    The confidence is the probability of the four planes nearest to the index (Yao et al., MVSNet, section 3.3).
    """
    p = torch.softmax(logits_bdhw.float(), dim=1)
    d = p.shape[1]
    k = torch.arange(d, dtype=p.dtype, device=p.device).view(1, d, 1, 1)
    index = (p * k).sum(1, keepdim=True)
    deviation = (p * (k - index) ** 2).sum(1, keepdim=True).clamp(min=1e-12).sqrt()
    first = index.detach().floor() - 1
    near = (k >= first) & (k <= first + 3)
    return ReadOut(index, deviation, (p * near).sum(1, keepdim=True))


class StreamedReadOut:
    """`read_volume` for planes that come one by one: running sums of exp(logit - largest so far).

    The confidence is the largest probability (Liu and Ji, RED-Net, CVPR 2020): neighbouring planes are gone by then.
    """

    def __init__(self, n: int) -> None:
        self.n, self.k = n, 0
        self.sums: tuple[torch.Tensor, ...] = ()  # largest, sum of e, of e * k, of e * k^2, with k from the middle

    def feed(self, logit_b1hw: torch.Tensor) -> None:
        logit, k = logit_b1hw.float(), self.k - (self.n - 1) / 2
        if not self.sums:
            one = torch.ones_like(logit)
            self.sums = (logit, one, one * k, one * (k * k))
        else:
            largest, s0, s1, s2 = self.sums
            new = torch.maximum(largest, logit)
            old_scale, e = torch.exp(largest - new), torch.exp(logit - new)
            self.sums = (new, s0 * old_scale + e, s1 * old_scale + e * k, s2 * old_scale + e * (k * k))
        self.k = self.k + 1

    def result(self) -> ReadOut:
        _, s0, s1, s2 = self.sums
        mean = s1 / s0
        deviation = (s2 / s0 - mean * mean).clamp(min=1e-12).sqrt()
        return ReadOut(mean + (self.n - 1) / 2, deviation, 1 / s0)


class Conv3d(nn.Conv3d):
    """nn.Conv3d that takes the oneDNN kernel for a batch of one too: PyTorch's own choice there is four times slower.

    On a CPU in bf16 volumes of two planes stay in fp32: oneDNN's gradient of the weights reads memory there that nothing
    was written to (torch 2.13, avx512_bf16), and a training ends in NaN sooner or later.
    """

    def _conv_forward(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if x.device.type == "cpu" and x.shape[2] == 2 and torch.is_autocast_enabled("cpu") and torch.is_grad_enabled():
            with torch.autocast("cpu", enabled=False):
                return super()._conv_forward(x.float(), weight, bias)
        direct = x.shape[0] == 1 and x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32
        plain = not torch.jit.is_tracing() and not torch.is_autocast_enabled("cpu")
        if direct and plain and torch.backends.mkldnn.is_available():
            args = (self.padding, self.stride, self.dilation, self.groups)
            return torch.mkldnn_convolution(x.contiguous(), weight, bias, *args)
        return super()._conv_forward(x, weight, bias)


def _block3d(c_in: int, c_out: int, stride: int = 1) -> nn.Sequential:
    kernel = 2 if stride == 2 else 3
    return nn.Sequential(
        Conv3d(c_in, c_out, kernel, stride, 0 if stride == 2 else 1, bias=False),
        nn.BatchNorm3d(c_out),
        nn.ReLU(inplace=True),
    )


class UNet3D(nn.Module):
    """A 3-D U-Net over (height plane, row, column), `levels` halvings deep (Gu et al., CasMVSNet, CVPR 2020).

    The number of planes, rows and columns must be multiples of 2 ** levels.
    """

    def __init__(self, c_in: int, width: int, levels: int) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(levels + 1)]
        self.first = _block3d(c_in, width)
        self.downs = nn.ModuleList(
            nn.Sequential(_block3d(a, b, stride=2), _block3d(b, b)) for a, b in pairwise(widths)
        )
        self.ups = nn.ModuleList(
            nn.ConvTranspose3d(b, a, 2, 2, bias=False) for a, b in pairwise(widths)
        )
        self.last = Conv3d(width, 1, 3, padding=1)

    def volume(self, volume_bcdhw: torch.Tensor) -> torch.Tensor:
        """Logits (b, d, h, w) of a cost volume."""
        levels = [self.first(volume_bcdhw)]
        for down in self.downs:
            levels.append(down(levels[-1]))
        x = levels.pop()
        for up, skip in zip(reversed(self.ups), reversed(levels), strict=True):
            x = F.relu(up(x) + skip)
        return self.last(x).squeeze(1)

    def forward(self, cost: Cost, planes: HeightPlanes, cells: int) -> ReadOut:
        return read_volume(self.volume(torch.cat([cost(z) for z in planes.groups(cells)], dim=2)))


class ConvGRU(nn.Module):
    """h' = (1 - u) h + u tanh(W [x, r h]) with gates u, r = sigmoid(V [x, h]) (Ballas et al., ICLR 2016)."""

    def __init__(self, c_in: int, width: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(c_in + width, 2 * width, 3, padding=1)
        self.candidate = nn.Conv2d(c_in + width, width, 3, padding=1)

    def forward(self, x_bchw: torch.Tensor, state_bchw: torch.Tensor) -> torch.Tensor:
        update, reset = torch.sigmoid(self.gates(torch.cat([x_bchw, state_bchw], 1))).chunk(2, 1)
        new = torch.tanh(self.candidate(torch.cat([x_bchw, reset * state_bchw], 1)))
        return state_bchw + update * (new - state_bchw)


class RecurrentED(nn.Module):
    """Recurrent encoder-decoder: GRU states at strides 1, 2, 4, 8 of the volume, one plane a step (Liu and Ji, 2020).

    Rows and columns must be multiples of 2 ** levels.
    """

    def __init__(self, c_in: int, width: int, levels: int) -> None:
        super().__init__()
        self.widths = [width * 2**i for i in range(levels + 1)]
        pairs = list(pairwise(self.widths))
        self.first = nn.Conv2d(c_in, width, 3, padding=1)
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 2, 2) for a, b in pairs)
        self.grus = nn.ModuleList(ConvGRU(c, c) for c in self.widths)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairs)
        self.last = nn.Conv2d(width, 1, 3, padding=1)

    def step(self, cost_bchw: torch.Tensor, *states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """One plane: (logit (b, 1, h, w), new states)."""
        x, new = F.relu(self.first(cost_bchw)), []
        for i, gru in enumerate(self.grus):
            if i:
                x = F.relu(self.downs[i - 1](x))
            new.append(gru(x, states[i]))
        x = new[-1]
        for up, skip in zip(reversed(self.ups), reversed(new[:-1]), strict=True):
            x = F.relu(up(x) + skip)
        return self.last(x), *new

    def forward(self, cost: Cost, planes: HeightPlanes, cells: int) -> ReadOut:
        """One plane at a time, whatever `cells` allows; in training its activations are recomputed, not kept."""
        out, states = StreamedReadOut(planes.n), ()

        def one(z: torch.Tensor, *states: torch.Tensor) -> tuple[torch.Tensor, ...]:
            plane = cost(z).squeeze(2)
            b, _, h, w = plane.shape
            states = states or tuple(plane.new_zeros(b, c, h // 2**i, w // 2**i) for i, c in enumerate(self.widths))
            return self.step(plane, *states)

        for k in range(planes.n):
            z = planes.some(k, k + 1)
            keep = not (self.training and torch.is_grad_enabled())
            logit, *rest = one(z, *states) if keep else checkpoint(one, z, *states, use_reentrant=False)
            states = tuple(rest)
            out.feed(logit)
        return out.result()
