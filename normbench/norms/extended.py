"""Extended batch normalization: BN's means under one standard deviation for all channels."""

from torch import Tensor, nn

from normbench.config import ConfigError
from normbench.norms.batch import BatchNorm
from normbench.norms.moments import pool, row_affine, row_moments
from normbench.norms.running import follow

ABOUT = ("all", "channel")


class ExtendedBatchNorm(BatchNorm):
    """Batch normalization with the standard deviation over all channels together (Luo et al. 2020, abstract).

    y = gamma_c (x - mu_c) / sqrt(var + eps) + beta_c, mu_c over a worker's images and all positions of channel c, var
    over its images, positions and all C channels, biased. Training: statistics of the batch, whose moving averages are
    running_mean and running_var (var repeated C times, biased), worker 0's or the mean over the workers. Evaluation:
    those.

    Shapes: (N, C, ...) in and out; weight (gamma), bias (beta), running_mean, running_var (C,).
    Options: eps 1e-5. momentum 0.1, the weight of the new value. std_about: what the deviations of var are taken from:
    "all", the mean of all values, as "standard deviation along the (N, C, H, W) dimensions" says literally; "channel",
    each value's own mu_c. Of the paper we know the abstract only, hence both.
    Raises ConfigError where a worker has a single value per channel, as BatchNorm does: its output would be beta.
    """

    name = "ebn"
    over = "mean: as bn; variance: a worker's images, all channels and positions"
    paper = "Luo et al. 2020"

    def __init__(
        self,
        conv: nn.Module,
        *,
        relu: bool = False,
        workers: int = 1,
        eps: float = 1e-5,
        momentum: float = 0.1,
        std_about: str = "all",
    ) -> None:
        super().__init__(conv, relu=relu, workers=workers, eps=eps, momentum=momentum)
        if std_about not in ABOUT:
            raise ConfigError(f"norm.std_about={std_about}: one of {', '.join(ABOUT)}")
        self.std_about = std_about

    def _batch_norm(self, y: Tensor, groups: int, update: bool) -> Tensor:
        self._require_values(y, groups)
        if self._measured is not None:
            self._measure(y)
            update = False
        rows = row_moments(y, self.channels)
        row_mean, row_var = (v.view(-1, groups, self.channels) for v in rows)
        mean, var = pool(row_mean, row_var, 0)
        var = self._over_channels(mean, var)
        if update:
            follow(self.running_mean, mean[0], self.momentum, self.average_workers)
            follow(self.running_var, var[0], self.momentum, self.average_workers)
        assert self.weight is not None and self.bias is not None
        scale = ((var + self.eps).rsqrt() * self.weight).expand_as(row_mean)
        shift = (row_mean - mean) * scale + self.bias
        return row_affine(y, rows[0], scale.reshape(rows[0].shape), shift.view_as(rows[0]))

    def _over_channels(self, mean: Tensor, var: Tensor) -> Tensor:
        return pool(mean, var, -1)[1] if self.std_about == "all" else var.mean(-1, keepdim=True)

    def finish_measuring(self) -> None:
        super().finish_measuring()
        self.running_var.copy_(self._over_channels(self.running_mean, self.running_var).expand_as(self.running_var))
