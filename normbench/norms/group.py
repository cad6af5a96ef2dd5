"""norm=gn, ln, in: statistics of one image over groups of channels."""

import torch
from torch import Tensor

from normbench.config import ConfigError
from normbench.kernels.values import statistics_dtype
from normbench.norms.base import Norm, Site

MOST_GROUPS = 32  # the paper's G


class GroupNorm(Norm):
    """Group normalization (Wu & He 2018, section 3).

        y = gamma_c (x - mu) / sqrt(var + eps) + beta_c

    mu, var: the mean and biased variance over the C/G contiguous channels of a group and all
        positions of one image.
    Training and evaluation: the same; there are no running statistics.

    Shapes: y (N, C, ...) in and out
        weight, bias: (C,)

    Paper and code
        groups: the paper's networks start at 64 channels; a CIFAR network's 16 in 32 groups would
            be no GN at all, and in 16 groups instance normalization. Hence "auto".
        channels_per_group: the second half of the paper's Table 3.
        eps: that of the authors' code.

    Raises ConfigError where G does not divide C.
    """

    name = "gn"
    over = "one image, C/G channels, all positions"
    paper = "Wu & He 2018"
    batch_free = True

    def __init__(
        self, site: Site, *, eps: float = 1e-5, groups: int | str = "auto",
        channels_per_group: int | None = None, min_channels_per_group: int = 4,
    ) -> None:  # fmt: skip
        super().__init__(site)
        self.eps = eps
        self.groups = number_of_groups(self.channels, groups, channels_per_group, min_channels_per_group)

    def forward(self, y: Tensor) -> Tensor:
        # F.group_norm would refuse one image with one value per group, whose output is beta.
        out = torch.group_norm(y.to(statistics_dtype(y)), self.groups, self.weight, self.bias, self.eps)
        return out.to(y.dtype)

    def extra_repr(self) -> str:
        return f"{self.channels}, groups={self.groups}"


class LayerNorm(GroupNorm):
    """Layer normalization over (C, H, W) of one image: GN with one group.

    Ba et al. 2016, in the form of Wu & He 2018, section 3.1. Not ConvNeXt's, which is per position.
    """

    name = "ln"
    over = "one image, all channels and positions"
    paper = "Ba et al. 2016"

    def __init__(self, site: Site, *, eps: float = 1e-5) -> None:
        super().__init__(site, eps=eps, groups=1)


class InstanceNorm(GroupNorm):
    """Instance normalization over (H, W) of one image and channel: GN with one channel per group.

    Ulyanov et al. 2016, in the form of Wu & He 2018, section 3.1. On a 1x1 map y = beta.
    """

    name = "in"
    over = "one image, one channel, all positions"
    paper = "Ulyanov et al. 2016"

    def __init__(self, site: Site, *, eps: float = 1e-5) -> None:
        super().__init__(site, eps=eps, channels_per_group=1)


def number_of_groups(channels: int, groups: int | str, per_group: int | None, least: int) -> int:
    """G for a layer of so many channels, by GroupNorm's options; ConfigError where it cannot be."""
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
