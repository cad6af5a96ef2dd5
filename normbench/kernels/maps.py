"""Feature maps as rows, for norms with statistics of one image.

(N, C, ...) becomes (N*C, positions): a row is one channel of one image. Products and sums of whole
rows are then native passes with one number per row beside them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from normbench.kernels.values import statistics_dtype


def rows(x: Tensor) -> Tensor:
    """(N, C, ...) as (N*C, positions) in the dtype of statistics; free for one of that dtype."""
    return x.reshape(x.shape[0] * x.shape[1], -1).to(statistics_dtype(x))


def column(v: Tensor, images: int) -> Tensor:
    """A (C,) vector as the (N*C, 1) column that stands beside the rows."""
    return v.repeat(images).unsqueeze(1)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """(N*C, 1): the dot product of each row of a with that of b.

    A pass for the product and one for the sum: as fast on CPU as a batched matrix product for rows
    of 196, 4 times as fast for rows of 3136, and autocast leaves them in full precision.
    """
    return (a * b).sum(1, keepdim=True)


def over_images(column: Tensor, channels: int) -> Tensor:
    """(C,): the sum over the images of a column."""
    return column.view(-1, channels).sum(0)


def affine(y: Tensor, gamma: Tensor | None, beta: Tensor | None) -> Tensor:
    """gamma_c y + beta_c in one native pass: an inference batch norm of mean 0 and variance 1."""
    zero = torch.zeros(y.shape[1], device=y.device, dtype=statistics_dtype(y))
    return F.batch_norm(y, zero, torch.ones_like(zero), gamma, beta, False, 0.0, 0.0)
