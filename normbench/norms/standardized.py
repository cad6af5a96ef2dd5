"""norm=gn_ws, bn_ws, ln_ws, in_ws: weight standardization under the norms of the activations."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from normbench.config import ConfigError
from normbench.kernels.values import statistics_dtype
from normbench.norms.base import Norm, Site
from normbench.norms.group import GroupNorm, InstanceNorm, LayerNorm
from normbench.norms.running import RunningNorm


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


class Standardized(Norm):
    """Mixed into a norm, it has the conv in front standardize its weights (Qiao et al. 2019).

    Its options stand beside those of the norm, ws_eps being WeightStandardization's eps.
    """

    paper = "Qiao et al. 2019"
    alters_conv = True

    def __init__(
        self, site: Site, *, correction: int = 0, ws_eps: float = 1e-5, eps_inside: bool = True, **options: Any
    ) -> None:
        super().__init__(site, **options)
        if correction not in (0, 1):
            raise ConfigError(f"norm.correction={correction}: 0 for the biased variance, 1 for the unbiased one")
        parametrize.register_parametrization(site.conv, "weight", WeightStandardization(correction, ws_eps, eps_inside))


class GroupNormWS(Standardized, GroupNorm):
    """Group normalization behind standardized weights: see GroupNorm and WeightStandardization."""

    name = "gn_ws"
    over = "as gn; and the weights of a filter"


class LayerNormWS(Standardized, LayerNorm):
    """Layer normalization behind standardized weights: see LayerNorm and WeightStandardization."""

    name = "ln_ws"
    over = "as ln; and the weights of a filter"


class InstanceNormWS(Standardized, InstanceNorm):
    """Instance normalization behind standardized weights: InstanceNorm, WeightStandardization."""

    name = "in_ws"
    over = "as in; and the weights of a filter"


class BatchNormWS(Standardized, RunningNorm):
    """Batch normalization behind standardized weights: see BatchNorm and WeightStandardization."""

    name = "bn_ws"
    over = "as bn; and the weights of a filter"
