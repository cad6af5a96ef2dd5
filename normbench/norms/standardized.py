"""Weight standardization under the norms of the activations: gn_ws, bn_ws, ln_ws, in_ws."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from normbench.config import ConfigError
from normbench.norms.base import statistics_dtype
from normbench.norms.batch import BatchNorm
from normbench.norms.group import GroupNorm, InstanceNorm, LayerNorm


class WeightStandardization(nn.Module):
    """Filters of mean 0 and variance 1 (Qiao et al. 2019, section 3.2): w = (W - mean W) / sd W over the I weights of each.

    The gradient flows through mean and sd; what is learned is W, the conv's parametrizations.weight.original.
    Options: correction 0: the sum of squares is divided by I - correction; 1 in the authors' code. eps 1e-5. eps_inside:
    true, sd = sqrt(var + eps), as in the authors' later code (Batch-Channel Normalization, after NaNs); false, sd =
    sqrt(var) + eps, as in their first.
    A filter of equal weights, or of a single one, becomes 0, and its gradient is finite.
    """

    def __init__(self, correction: int, eps: float, eps_inside: bool) -> None:
        super().__init__()
        self.correction, self.eps, self.eps_inside = correction, eps, eps_inside

    def forward(self, weight: Tensor) -> Tensor:
        w = weight.flatten(1).to(statistics_dtype(weight))
        filters, size = w.shape
        share = max(size - self.correction, 1) / size  # var_corrected = var_biased / share
        if size == 1:
            w = w - w
        elif self.eps_inside:
            gain = w.new_full((filters,), share**0.5)
            w = F.batch_norm(w.unsqueeze(0), None, None, gain, None, True, 0.0, self.eps * share).squeeze(0)
        else:
            w = w - w.mean(1, keepdim=True)
            # a norm rather than a root: its gradient at 0 is 0, not infinite
            sd = torch.linalg.vector_norm(w, dim=1, keepdim=True) / (size * share) ** 0.5
            w = w / (sd + self.eps)
        return w.view_as(weight).to(weight.dtype)


def standardize(conv: nn.Module, correction: int, eps: float, eps_inside: bool) -> None:
    """Has the conv's weight computed by WeightStandardization at each forward."""
    if correction not in (0, 1):
        raise ConfigError(f"norm.correction={correction}: 0 for the biased variance, 1 for the unbiased one")
    parametrize.register_parametrization(conv, "weight", WeightStandardization(correction, eps, eps_inside))


class GroupNormWS(GroupNorm):
    """GroupNorm behind a conv with standardized weights (Qiao et al. 2019): see GroupNorm and WeightStandardization.

    Options: GroupNorm's; correction, ws_eps and eps_inside are WeightStandardization's, ws_eps being its eps.
    """

    name = "gn_ws"
    over = "as gn; and the weights of a filter"
    paper = "Qiao et al. 2019"
    alters_conv = True

    def __init__(
        self,
        conv: nn.Module,
        *,
        relu: bool = False,
        workers: int = 1,
        eps: float = 1e-5,
        groups: int | str = "auto",
        channels_per_group: int | None = None,
        min_channels_per_group: int = 4,
        correction: int = 0,
        ws_eps: float = 1e-5,
        eps_inside: bool = True,
    ) -> None:
        super().__init__(
            conv,
            relu=relu,
            workers=workers,
            eps=eps,
            groups=groups,
            channels_per_group=channels_per_group,
            min_channels_per_group=min_channels_per_group,
        )
        standardize(conv, correction, ws_eps, eps_inside)


class BatchNormWS(BatchNorm):
    """BatchNorm behind a conv with standardized weights (Qiao et al. 2019): see BatchNorm and WeightStandardization.

    Options: BatchNorm's; correction, ws_eps and eps_inside are WeightStandardization's, ws_eps being its eps.
    """

    name = "bn_ws"
    over = "as bn; and the weights of a filter"
    paper = "Qiao et al. 2019"
    alters_conv = True

    def __init__(
        self,
        conv: nn.Module,
        *,
        relu: bool = False,
        workers: int = 1,
        eps: float = 1e-5,
        momentum: float = 0.1,
        correction: int = 0,
        ws_eps: float = 1e-5,
        eps_inside: bool = True,
    ) -> None:
        super().__init__(conv, relu=relu, workers=workers, eps=eps, momentum=momentum)
        standardize(conv, correction, ws_eps, eps_inside)


class LayerNormWS(LayerNorm):
    """LayerNorm behind a conv with standardized weights (Qiao et al. 2019): see LayerNorm and WeightStandardization.

    Options: LayerNorm's; correction, ws_eps and eps_inside are WeightStandardization's, ws_eps being its eps.
    """

    name = "ln_ws"
    over = "as ln; and the weights of a filter"
    paper = "Qiao et al. 2019"
    alters_conv = True

    def __init__(
        self,
        conv: nn.Module,
        *,
        relu: bool = False,
        workers: int = 1,
        eps: float = 1e-5,
        correction: int = 0,
        ws_eps: float = 1e-5,
        eps_inside: bool = True,
    ) -> None:
        super().__init__(conv, relu=relu, workers=workers, eps=eps)
        standardize(conv, correction, ws_eps, eps_inside)


class InstanceNormWS(InstanceNorm):
    """InstanceNorm behind a conv with standardized weights (Qiao et al. 2019): see InstanceNorm and WeightStandardization.

    Options: InstanceNorm's; correction, ws_eps and eps_inside are WeightStandardization's, ws_eps being its eps.
    """

    name = "in_ws"
    over = "as in; and the weights of a filter"
    paper = "Qiao et al. 2019"
    alters_conv = True

    def __init__(
        self,
        conv: nn.Module,
        *,
        relu: bool = False,
        workers: int = 1,
        eps: float = 1e-5,
        correction: int = 0,
        ws_eps: float = 1e-5,
        eps_inside: bool = True,
    ) -> None:
        super().__init__(conv, relu=relu, workers=workers, eps=eps)
        standardize(conv, correction, ws_eps, eps_inside)
