"""Local response normalization, the norm before the norms."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from normbench.config import ConfigError
from normbench.norms.base import Norm, per_channel, statistics_dtype


class LocalResponseNorm(Norm):
    """Local response normalization across neighbouring channels (Krizhevsky et al. 2012, section 3.3).

    y_c = a_c / (k + alpha/size x sum of a^2 over the window of c)^beta, the window being the `size` channels around c,
    size/2 (rounded down) of them before it, at one position of one image; beyond the first and the last channel stand
    zeros. a = max(x + b, 0) where a ReLU follows the conv, for AlexNet normalizes behind the ReLU, and a = x + b elsewhere.
    The same in training and evaluation.

    Shapes: (N, C, ...) in and out; bias (b) (C,), where the conv has none of its own. There is no gamma, so the zero
    initialisation of a residual block's last gamma does not apply.
    Options: size 5, alpha 1e-4, beta 0.75, k 1.0, as torch has them. alexnet: true takes the paper's k=2, size=5,
    alpha=1e-4 without the division by size, beta=0.75 instead of what the others say.
    Raises ConfigError for a window without channels, and where k and alpha would allow a division by 0.
    """

    name = "lrn"
    over = "one image, a window of channels, one position"
    paper = "Krizhevsky et al. 2012"
    batch_free = True
    owns_activation = True

    def __init__(
        self,
        conv: nn.Module,
        *,
        relu: bool = False,
        workers: int = 1,
        size: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        k: float = 1.0,
        alexnet: bool = False,
    ) -> None:
        super().__init__(conv, relu=relu, workers=workers)
        if size < 1 or alpha < 0 or k <= 0:
            raise ConfigError(f"norm.size={size}, norm.alpha={alpha}, norm.k={k}: size >= 1, alpha >= 0 and k > 0")
        self.register_parameter("weight", None)
        if conv.bias is not None:
            self.register_parameter("bias", None)
        self.size, self.share, self.power, self.k = size, alpha / size, beta, k  # share: of one channel of the window
        if alexnet:
            self.size, self.share, self.power, self.k = 5, 1e-4, 0.75, 2.0

    def forward(self, y: Tensor) -> Tensor:
        out: Tensor = _LocalResponse.apply(y, self.bias, self.relu, self.size, self.share, self.power, self.k)
        return out

    def extra_repr(self) -> str:
        return f"{self.channels}, size={self.size}, share={self.share:g}, power={self.power:g}, k={self.k:g}"


def lrn_formula(y: Tensor, bias: Tensor | None, relu: bool, size: int, share: float, power: float, k: float) -> Tensor:
    """The plain formula: the reference of the hand-derived one, and twice as slow."""
    a = _activated(y, bias, relu)
    squares = F.pad(a * a, [0, 0] * (a.dim() - 2) + [size // 2, (size - 1) // 2])
    window = torch.stack([squares.narrow(1, start, a.shape[1]) for start in range(size)]).sum(0)
    return (a * (k + share * window).pow(-power)).to(y.dtype)


class _LocalResponse(torch.autograd.Function):
    """lrn_formula with its backward by hand. Keeps a and d.

    With d = k + share W[a^2], p = d^-power, g = dL/dy: da = g p - 2 share power a W'[g a p / d], W' the mirrored window.
    """

    @staticmethod
    def forward(
        ctx: Any, y: Tensor, bias: Tensor | None, relu: bool, size: int, share: float, power: float, k: float
    ) -> Tensor:
        a = _activated(y, bias, relu)
        squares = a * a
        d = _add_neighbours(torch.add(k, squares, alpha=share), squares, size // 2, size, share)
        ctx.save_for_backward(a.to(y.dtype), d.to(y.dtype))
        ctx.options = bias is not None, relu, size, share, power
        return _power(d, power).mul_(a).to(y.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        biased, relu, size, share, power = ctx.options
        kept, denominator = ctx.saved_tensors
        a, d = (v.to(statistics_dtype(v)) for v in (kept, denominator))
        da = _power(d, power).mul_(grads[0])
        pull = (da * a).div_(d)
        da.addcmul_(a, _add_neighbours(pull.clone(), pull, (size - 1) // 2, size, 1.0), value=-2 * share * power)
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


def _add_neighbours(total: Tensor, x: Tensor, before: int, size: int, share: float) -> Tensor:
    """Adds, in place, share times the channels c - before .. c - before + size - 1 of x but c itself, those that exist."""
    channels = x.shape[1]
    for offset in range(-before, size - before):
        length = channels - abs(offset)
        if offset != 0 and length > 0:
            there, here = max(offset, 0), max(-offset, 0)
            total.narrow(1, here, length).add_(x.narrow(1, there, length), alpha=share)
    return total
