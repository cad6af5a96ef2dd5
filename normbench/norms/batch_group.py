"""norm=bgn: batch normalization over groups of the merged axes (C, H, W)."""

import math

from torch import Tensor

from normbench.config import ConfigError
from normbench.kernels.rows import pool, row_affine, row_moments
from normbench.norms.base import Site
from normbench.norms.running import RunningNorm

MOST_GROUPS = 16  # of groups=auto: the paper's choice for 8 images per worker


class BatchGroupNorm(RunningNorm):
    """Batch normalization over groups of the merged axes (C, H, W) (Zhou et al. 2020).

        y = gamma_c (x - mu) / sqrt(var + eps) + beta_c

    Channels, height and width become one axis, in this order, cut evenly into G groups.
    mu, var: the mean and biased variance over a worker's images and a group. G <= C: a group is C/G
        channels; G > C: a part of a channel's map.
    Training: the batch's; running_mean and running_var (biased) are their moving averages.
    Evaluation: the running statistics.

    Shapes: y (N, C, ...) in and out
        weight, bias: (C,)
        running_mean, running_var: a value per piece, the largest parts that lie in one group and
            one channel each: (C,) where G divides C, else (lcm(C, G),)

    Paper
        groups: tuned to the batch per worker: 512, 256, 128, 64, 16, 2, 1 for 128, 64, 32, 16, 8,
            4, 2 images (from memory).

    Raises ConfigError where a layer's (C, H, W) cannot be cut so, and where a group has one value.
    """

    name = "bgn"
    over = "a worker's images, 1/G of (C, H, W)"
    paper = "Zhou et al. 2020"

    def __init__(self, site: Site, *, eps: float = 1e-5, momentum: float = 0.1, groups: int | str = "auto") -> None:
        super().__init__(site, eps=eps, momentum=momentum)
        if groups != "auto" and (not isinstance(groups, int) or groups < 1):
            raise ConfigError(f"norm.groups={groups}: a number of groups, at least 1, or auto")
        most = max(g for g in range(1, MOST_GROUPS + 1) if self.channels % g == 0)
        self.groups = groups if isinstance(groups, int) else most
        self.pieces = math.lcm(self.channels, self.groups)
        self.running_mean = site.full(0.0, self.pieces)
        self.running_var = site.full(1.0, self.pieces)

    def evaluate(self, y: Tensor) -> Tensor:
        self._require_pieces(y)
        rows, _ = row_moments(y, self.pieces)
        return self._scaled(y, rows, rows.view(1, *rows.shape), self.running_mean, self.running_var)

    def normalize(self, y: Tensor, groups: int, update: bool) -> Tensor:
        self._require_pieces(y)
        if y.numel() // (groups * self.groups) < 2:
            raise ConfigError(f"norm.groups={self.groups} leaves a single value a group; choose fewer groups")
        rows, variances = row_moments(y, self.pieces)
        shape = (-1, groups, self.groups, self.pieces // self.groups)
        row_mean = rows.view(shape)
        pooled = pool(row_mean, variances.view(shape), 0, 3)  # (1, groups of images, G, 1)
        by_piece = (-1, groups, self.pieces)
        mean, var = (v.expand(1, *row_mean.shape[1:]).reshape(by_piece) for v in pooled)
        if update:
            self.follow(mean[0], var[0])
        return self._scaled(y, rows, rows.view(by_piece), mean, var)

    def _scaled(self, y: Tensor, rows: Tensor, row_mean: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        weight, bias = (v.repeat_interleave(self.pieces // self.channels) for v in self.affine())
        scale = ((var + self.eps).rsqrt() * weight).expand_as(row_mean)
        shift = (row_mean - mean) * scale + bias
        return row_affine(y, rows, scale.reshape(rows.shape), shift.view_as(rows))

    def _require_pieces(self, y: Tensor) -> None:
        if y[0].numel() % self.pieces:
            raise ConfigError(
                f"norm.groups={self.groups} cannot cut a layer's {tuple(y.shape[1:])} values into parts of a channel each; "
                f"choose a divisor of {self.channels}, or norm.groups=auto"
            )

    def measure(self, y: Tensor) -> None:
        self._require_pieces(y)
        super().measure(y.reshape(len(y), self.pieces, -1))

    def finish_measuring(self) -> None:
        super().finish_measuring()  # of each piece
        groups = pool(self.running_mean.view(self.groups, -1), self.running_var.view(self.groups, -1), 1)
        for running, group in zip((self.running_mean, self.running_var), groups, strict=True):
            running.copy_(group.expand(-1, self.pieces // self.groups).flatten())
