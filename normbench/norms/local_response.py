"""norm=lrn: local response normalization, the norm before the norms."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from normbench.config import ConfigError
from normbench.kernels.values import per_channel, statistics_dtype
from normbench.norms.base import Norm, Site


class LocalResponseNorm(Norm):
    """Local response normalization across neighbouring channels (Krizhevsky et al. 2012, sec. 3.3).

        y_c = a_c / (k + alpha/size x sum of a^2 over the window of c)^beta

    The window is the `size` channels around c, size/2 (rounded down) of them before it, at one
    position of one image; beyond the first and the last channel stand zeros.
    a: max(x + b, 0) where a ReLU follows, for AlexNet normalizes behind the ReLU; else x + b.
    Training and evaluation: the same.

    Shapes: y (N, C, ...) in and out
        bias (b): (C,), where the conv has none of its own; there is no gamma, so the zero
            initialisation of a residual block's last gamma does not apply

    Paper
        alexnet=true: k=2, size=5, alpha=1e-4 without the division by size, beta=0.75.

    Raises ConfigError for a window without channels, and where k and alpha allow a division by 0.
    """

    name = "lrn"
    over = "one image, a window of channels, one position"
    paper = "Krizhevsky et al. 2012"
    batch_free = True
    owns_activation = True

    def __init__(
        self, site: Site, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0,
        alexnet: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(site)
        if size < 1 or alpha < 0 or k <= 0:
            raise ConfigError(f"norm.size={size}, norm.alpha={alpha}, norm.k={k}: size >= 1, alpha >= 0 and k > 0")
        self.weight = None
        if site.conv.bias is not None:
            self.bias = None
        # slope: the weight of one channel of the window in the sum
        self.size, self.slope, self.power, self.k = size, alpha / size, beta, k
        if alexnet:
            self.size, self.slope, self.power, self.k = 5, 1e-4, 0.75, 2.0

    def forward(self, y: Tensor) -> Tensor:
        out: Tensor = _LocalResponse.apply(y, self.bias, self.relu, self.size, self.slope, self.power, self.k)
        return out

    def extra_repr(self) -> str:
        return f"{self.channels}, size={self.size}, slope={self.slope:g}, power={self.power:g}, k={self.k:g}"


class _LocalResponse(torch.autograd.Function):
    """The formula with its backward by hand, twice as fast. Keeps a and d.

    With d = k + slope W[a^2], p = d^-power, g = dL/dy, W' the mirrored window:
    da = g p - 2 slope power a W'[g a p / d].
    """

    @staticmethod
    def forward(
        ctx: Any, y: Tensor, bias: Tensor | None, relu: bool, size: int, slope: float, power: float, k: float
    ) -> Tensor:
        a = _activated(y, bias, relu)
        squares = a * a
        d = _add_neighbours(torch.add(k, squares, alpha=slope), squares, size // 2, size, slope)
        ctx.save_for_backward(a.to(y.dtype), d.to(y.dtype))
        ctx.options = bias is not None, relu, size, slope, power
        return _power(d, power).mul_(a).to(y.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        biased, relu, size, slope, power = ctx.options
        kept, denominator = ctx.saved_tensors
        a, d = (v.to(statistics_dtype(v)) for v in (kept, denominator))
        da = _power(d, power).mul_(grads[0])
        pull = (da * a).div_(d)
        da.addcmul_(a, _add_neighbours(pull.clone(), pull, (size - 1) // 2, size, 1.0), value=-2 * slope * power)
        if relu:
            da = torch.ops.aten.threshold_backward(da, a, 0)
        dbias = da.sum([0, *range(2, a.dim())]) if biased else None
        return da.to(kept.dtype), dbias, None, None, None, None, None


def _activated(y: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    a = y.to(statistics_dtype(y))
    if bias is not None:
        a = a + per_channel(bias, a)
    return a.relu() if relu else a


def _power(d: Tensor, power: float) -> Tensor:
    """d^-power; for 3/4, everybody's choice, by two roots, which cost a fifth of a power."""
    if power != 0.75:
        return d.pow(-power)
    root = d.rsqrt()
    return root.sqrt().mul_(root)


def _add_neighbours(total: Tensor, x: Tensor, before: int, size: int, slope: float) -> Tensor:
    """Adds to each channel c, in place, slope x the others of its window, c - before the first."""
    channels = x.shape[1]
    for offset in range(-before, size - before):
        length = channels - abs(offset)
        if offset != 0 and length > 0:
            there, here = max(offset, 0), max(-offset, 0)
            total.narrow(1, here, length).add_(x.narrow(1, there, length), alpha=slope)
    return total
