"""norm=ebn: batch normalization's means under one standard deviation for all channels."""

from torch import Tensor

from normbench.kernels.rows import pool, row_affine, row_moments
from normbench.norms.base import Site, one_of
from normbench.norms.running import RunningNorm

ABOUT = ("all", "channel")


class ExtendedBatchNorm(RunningNorm):
    """Batch normalization with one standard deviation for all channels (Luo et al. 2020, abstract).

        y = gamma_c (x - mu_c) / sqrt(var + eps) + beta_c

    mu_c: over a worker's images and all positions of channel c.
    var: over its images, positions and all C channels, biased.
    Training: the batch's; running_mean and running_var (var repeated C times) are moving averages.
    Evaluation: the running statistics.

    Shapes: y (N, C, ...) in and out
        weight, bias, running_mean, running_var: (C,)

    Paper
        std_about: "standard deviation along the (N, C, H, W) dimensions" says literally that the
            deviations are from the mean of all values. We know the abstract only, hence both.

    Raises ConfigError where a worker has a single value per channel.
    """

    name = "ebn"
    over = "mean: as bn; variance: a worker's images, all channels and positions"
    paper = "Luo et al. 2020"

    def __init__(self, site: Site, *, eps: float = 1e-5, momentum: float = 0.1, std_about: str = "all") -> None:
        super().__init__(site, eps=eps, momentum=momentum)
        one_of("std_about", std_about, ABOUT)
        self.std_about = std_about

    def normalize(self, y: Tensor, groups: int, update: bool) -> Tensor:
        self.require_values(y, groups)
        rows = row_moments(y, self.channels)
        row_mean, row_var = (v.view(-1, groups, self.channels) for v in rows)
        mean, var = pool(row_mean, row_var, 0)
        var = self._over_channels(mean, var)
        if update:
            self.follow(mean[0], var[0])
        weight, bias = self.affine()
        scale = ((var + self.eps).rsqrt() * weight).expand_as(row_mean)
        shift = (row_mean - mean) * scale + bias
        return row_affine(y, rows[0], scale.reshape(rows[0].shape), shift.view_as(rows[0]))

    def _over_channels(self, mean: Tensor, var: Tensor) -> Tensor:
        return pool(mean, var, -1)[1] if self.std_about == "all" else var.mean(-1, keepdim=True)

    def finish_measuring(self) -> None:
        super().finish_measuring()
        self.running_var.copy_(self._over_channels(self.running_mean, self.running_var).expand_as(self.running_var))
