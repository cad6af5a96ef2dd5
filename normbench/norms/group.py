"""Batch-free norms: statistics of one image over groups of channels."""

import torch
from torch import Tensor, nn

from normbench.config import ConfigError
from normbench.norms.base import Norm, statistics_dtype

MOST_GROUPS = 32  # the paper's G


class GroupNorm(Norm):
    """Group normalization (Wu & He 2018, section 3).

    y = gamma_c (x - mu) / sqrt(var + eps) + beta_c, with mu and the biased var over the C/G contiguous channels of a group
    and all positions of one image. The same in training and evaluation; no running statistics.

    Shapes: (N, C, ...) in and out; weight (gamma) and bias (beta) (C,).
    Options: eps 1e-5 (authors' code). groups: G, the same in every layer, or "auto": the most groups, up to the paper's 32,
    that divide C and leave min_channels_per_group channels in each. The paper's networks start at 64 channels; a CIFAR
    network's 16 in 32 groups would be no GN at all, and in 16 groups instance normalization. channels_per_group: given
    instead of groups, G = C / channels_per_group (the second half of the paper's Table 3).
    Raises ConfigError where G does not divide C.
    """

    name = "gn"
    over = "one image, C/G channels, all positions"
    paper = "Wu & He 2018"
    batch_free = True

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
    ) -> None:
        super().__init__(conv, relu=relu, workers=workers)
        self.eps = eps
        self.groups = number_of_groups(self.channels, groups, channels_per_group, min_channels_per_group)

    def forward(self, y: Tensor) -> Tensor:
        # F.group_norm would refuse one image with one value a group, whose output is beta
        out = torch.group_norm(y.to(statistics_dtype(y)), self.groups, self.weight, self.bias, self.eps)
        return out.to(y.dtype)

    def extra_repr(self) -> str:
        return f"{self.channels}, groups={self.groups}"


class LayerNorm(GroupNorm):
    """Layer normalization over (C, H, W) of one image: GN with one group, gamma and beta per channel.

    Ba et al. 2016, in the form of Wu & He 2018, section 3.1. Not the per-position LayerNorm of ConvNeXt.
    Option: eps 1e-5.
    """

    name = "ln"
    over = "one image, all channels and positions"
    paper = "Ba et al. 2016"

    def __init__(self, conv: nn.Module, *, relu: bool = False, workers: int = 1, eps: float = 1e-5) -> None:
        super().__init__(conv, relu=relu, workers=workers, eps=eps, groups=1)


class InstanceNorm(GroupNorm):
    """Instance normalization over (H, W) of one image and channel: GN with one channel a group.

    Ulyanov et al. 2016, in the form of Wu & He 2018, section 3.1. On a 1x1 map every value is its own mean: y = beta.
    Option: eps 1e-5.
    """

    name = "in"
    over = "one image, one channel, all positions"
    paper = "Ulyanov et al. 2016"

    def __init__(self, conv: nn.Module, *, relu: bool = False, workers: int = 1, eps: float = 1e-5) -> None:
        super().__init__(conv, relu=relu, workers=workers, eps=eps, channels_per_group=1)


class NoNorm(Norm):
    """No normalization: y = x, plus a learned bias per channel where the conv in front has none of its own."""

    name = "none"
    over = "nothing"
    batch_free = True

    def __init__(self, conv: nn.Module, *, relu: bool = False, workers: int = 1) -> None:
        super().__init__(conv, relu=relu, workers=workers)
        self.register_parameter("weight", None)
        if conv.bias is not None:
            self.register_parameter("bias", None)

    def forward(self, y: Tensor) -> Tensor:
        return y if self.bias is None else y + self.bias.to(y.dtype).view(-1, *[1] * (y.dim() - 2))


def number_of_groups(channels: int, groups: int | str, per_group: int | None, least: int) -> int:
    """G for a layer of so many channels, by the options of GroupNorm. Raises ConfigError where they do not divide them."""
    if per_group is not None:
        if groups != "auto":
            raise ConfigError(f"norm.groups={groups} and norm.channels_per_group={per_group}: give one of the two")
        if per_group < 1 or channels % per_group:
            raise ConfigError(
                f"norm.channels_per_group={per_group} does not divide a layer's {channels} channels; "
                f"choose one of {_divisors(channels)}"
            )
        return channels // per_group
    if groups == "auto":
        fitting = [g for g in _divisors(channels) if g <= MOST_GROUPS and channels // g >= min(least, channels)]
        return fitting[-1]
    if not isinstance(groups, int) or groups < 1 or channels % groups:
        raise ConfigError(
            f"norm.groups={groups} does not divide a layer's {channels} channels; choose one of "
            f"{_divisors(channels)}, or norm.groups=auto"
        )
    return groups


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]
