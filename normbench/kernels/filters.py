"""Filters computed from free ones: parametrizations of a conv's weight, for torch's parametrize.

What is learned, and what the state_dict and the optimizer know, is the free weight, as the conv's
parametrizations.weight.original.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normbench.kernels.values import statistics_dtype


class Centred(nn.Module):
    """The filters less their mean: w - mean(w) over (in, kernel) of each (the paper's W_hat)."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight - weight.mean(tuple(range(1, weight.dim())), keepdim=True)


class Direction(nn.Module):
    """v / ||v|| for each filter; a filter of zeros stays one."""

    def forward(self, weight: Tensor) -> Tensor:
        v = weight.flatten(1).to(statistics_dtype(weight))
        norm = torch.linalg.vector_norm(v, dim=1, keepdim=True)
        direction: Tensor = v / norm.clamp_min(torch.finfo(v.dtype).tiny)
        return direction.view_as(weight).to(weight.dtype)


class UnitGain(nn.Module):
    """(W - mean) / sqrt(max(I var, eps)) for each filter of I weights."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, weight: Tensor) -> Tensor:
        w = weight.flatten(1).to(statistics_dtype(weight))
        var, mean = torch.var_mean(w, 1, correction=0, keepdim=True)
        unit: Tensor = (w - mean) * (var * w.shape[1]).clamp_min(self.eps).rsqrt()
        return unit.view_as(weight).to(weight.dtype)


class WeightStandardization(nn.Module):
    """Filters of mean 0 and variance 1 (Qiao et al. 2019, section 3.2).

        w = (W - mean W) / sd W        over the I weights of each filter

    The gradient flows through mean and sd; what is learned is W, which the state_dict knows as the
    conv's parametrizations.weight.original. A filter of equal weights, or of a single one, becomes
    0, and its gradient is finite.

    correction: the sum of squares is divided by I - correction; 1 in the authors' code.
    eps_inside: sd = sqrt(var + eps), as in the authors' later code (Batch-Channel Normalization,
        after NaNs); else sd = sqrt(var) + eps, as in their first.
    """

    def __init__(self, correction: int, eps: float, eps_inside: bool) -> None:
        super().__init__()
        self.correction, self.eps, self.eps_inside = correction, eps, eps_inside

    def forward(self, weight: Tensor) -> Tensor:
        w = weight.flatten(1).to(statistics_dtype(weight))
        filters, size = w.shape
        ratio = max(size - self.correction, 1) / size  # var_biased / var_corrected
        if size == 1:
            w = w - w
        elif self.eps_inside:
            gain = w.new_full((filters,), ratio**0.5)
            w = F.batch_norm(w.unsqueeze(0), None, None, gain, None, True, 0.0, self.eps * ratio).squeeze(0)
        else:
            w = w - w.mean(1, keepdim=True)
            # A norm rather than a root: its gradient at 0 is 0, not infinite.
            sd = torch.linalg.vector_norm(w, dim=1, keepdim=True) / (size * ratio) ** 0.5
            w = w / (sd + self.eps)
        return w.view_as(weight).to(weight.dtype)
