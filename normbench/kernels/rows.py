"""Moments of rows, and one scale and shift per row: all that such a norm does to the values.

A row is what one image puts into one piece: the pieces are its channels, or an even division of (C,
H, W). Whatever set of images, channels and positions a statistic is taken over, as long as it is
made of whole rows, it follows from the rows' means and variances, and the output is the input with
one scale and one shift per row. So a layer reads and writes the values here only, by native calls
with the backward pass derived by hand, and writes its own formula in tensors of (images, pieces)
that cost next to nothing and that autograd may follow.
"""

from typing import Any

import torch
from torch import Tensor

from normbench.kernels.values import statistics_dtype
from normbench.parallel.workers import memory_format

aten = torch.ops.aten


def row_moments(x: Tensor, pieces: int) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each row of x (N, ...), as (N, pieces), differentiable."""
    mean, var = _Moments.apply(x, pieces)
    return mean, var


def row_affine(x: Tensor, centre: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """(x - centre) scale + shift, each (N, pieces), in x's dtype and memory format; differentiable.

    The centre is there for the digits: with the row's mean as centre the gradient of the scale is a
    sum of small numbers.
    """
    out: Tensor = _Affine.apply(x, centre, scale, shift)
    return out


def pool(mean: Tensor, var: Tensor, *dims: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of the union of equally long rows along dims, which stay as dims of size 1.

    Variance within rows plus variance between them: no difference of large numbers.
    """
    centre = mean.mean(dims, keepdim=True)
    return centre, (var + (mean - centre).square()).mean(dims, keepdim=True)


# ------------------------------------------------------------------ without a gradient of their own


def raw_row_moments(x: Tensor, pieces: int) -> tuple[Tensor, Tensor]:
    """row_moments. The group-norm kernel is torch's fastest for short rows, and exact."""
    rows = _rows(x, pieces)
    _, mean, rstd = aten.native_group_norm(rows, None, None, 1, rows.shape[1], rows.shape[2], rows.shape[1], 0.0)
    # A constant row: rstd = inf, variance 0.
    return mean.view(len(x), pieces), rstd.view(len(x), pieces).pow(-2)


def mean_square(y: Tensor, workers: int, channels: int) -> Tensor:
    """Mean of y^2 over each worker's images, (workers, C)."""
    mean, var = raw_row_moments(y, channels)
    return (var + mean.square()).view(-1, workers, channels).mean(0)


def per_image(values: Tensor, x: Tensor) -> Tensor:
    """(workers, C) as (N, C): image i belongs to worker i mod workers."""
    return values.repeat(len(x) // len(values), 1)


def scaled(x: Tensor, centre: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """row_affine."""
    ones = torch.ones_like(centre).flatten()
    affine = scale.flatten(), shift.flatten(), centre.flatten()
    out = aten.native_batch_norm(_rows(x, centre.shape[1]), *affine, ones, False, 0.0, 0.0)[0]
    return restored(out, x)


def scaled_gradient(g: Tensor, x: Tensor, centre: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """g scale, as rows, and the sums of g (x - centre) and of g over each row."""
    pieces = centre.shape[1]
    ones = torch.ones_like(centre).flatten()
    given = _rows(g, pieces), _rows(x, pieces), scale.flatten(), centre.flatten(), ones
    dx, products, sums = aten.native_batch_norm_backward(*given, None, None, False, 0.0, [True, True, True])
    return dx, products.view_as(centre), sums.view_as(centre)


def restored(rows: Tensor, x: Tensor) -> Tensor:
    """Rows in x's shape, dtype and memory format; no view, which no in-place ReLU could follow."""
    out: Tensor = aten._unsafe_view(rows, x.shape)
    return out.to(x.dtype).contiguous(memory_format=memory_format(x))


def _rows(x: Tensor, pieces: int) -> Tensor:
    """(1, N x pieces, length): rows as one image's channels. A free view of a contiguous tensor."""
    return x.to(statistics_dtype(x)).reshape(1, len(x) * pieces, -1)


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, pieces: int) -> tuple[Tensor, Tensor]:
        mean, var = raw_row_moments(x, pieces)
        ctx.save_for_backward(x, mean)
        return mean, var

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        x, mean = ctx.saved_tensors
        each = mean.numel() / x.numel()  # the weight of one value in its row's mean
        return scaled(x, mean, grads[1] * (2 * each), grads[0] * each), None


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, centre: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        ctx.save_for_backward(x, centre, scale)
        return scaled(x, centre, scale, shift)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x, centre, scale = ctx.saved_tensors
        dx, products, sums = scaled_gradient(grads[0], x, centre, scale)
        return restored(dx, x), -scale * sums, products, sums
