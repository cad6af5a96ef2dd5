"""norm=gn_ws, bn_ws, ln_ws, in_ws: weight standardization under the norms of the activations."""

from typing import Any

from torch.nn.utils import parametrize

from normbench.config import ConfigError
from normbench.kernels.filters import WeightStandardization
from normbench.norms.base import Norm, Site
from normbench.norms.group import GroupNorm, InstanceNorm, LayerNorm
from normbench.norms.running import RunningNorm


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
