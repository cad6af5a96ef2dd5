"""The dtype and the shape of what stands beside an activation map."""

import torch
from torch import Tensor


def statistics_dtype(x: Tensor) -> torch.dtype:
    """fp64 for fp64 input, else fp32, whatever the precision of the activations."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def per_channel(v: Tensor, like: Tensor) -> Tensor:
    """A (C,) vector in the shape that broadcasts over (N, C, ...)."""
    return v.view(1, -1, *[1] * (like.dim() - 2))
