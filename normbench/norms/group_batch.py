"""norm=group_batch: statistics over some of a worker's images and some channels."""

import math

import torch
from torch import Tensor

from normbench.config import ConfigError
from normbench.kernels.rows import pool, row_affine, row_moments
from normbench.norms.base import Site
from normbench.norms.group import number_of_groups
from normbench.norms.running import RunningNorm


class GroupBatchNorm(RunningNorm):
    """Normalization over groups of examples and of channels (Summers & Dinneen 2020, section 3.4).

        y = gamma_c (x - mu) / sqrt(var + eps) + beta_c

    mu, var: the mean and biased variance over the channels of a group and all positions of e images
        of a worker, which are grouped in their order. e = 1 is group normalization; all of a
        worker's images and one channel per group are batch normalization; e of them and one
        channel, ghost batch normalization.
    Training: statistics of the groups.
    Evaluation: E[x] and E[x^2], averaged over a group's channels, are (1 - example_weight) x the
        running ones + example_weight x the image's own. Running are, per channel, the moving
        averages of E[x] and E[x^2] over all of a worker's images, kept as running_mean = E[x] and
        running_var = E[x^2] - E[x]^2, which holds the variance between batches as well.

    Shapes: y (N, C, ...) in and out
        weight, bias, running_mean, running_var: (C,)
        worker_mean, worker_var: (workers, C), what each worker keeps of its own

    Paper and code
        momentum: 0.01 in the authors' code, for longer runs than ours.
        examples: more than a worker has are all of them, as in the authors' code.
        example_weight=null: 1 for e = 1, whose training has no batch in it, else 0, their default.

    Raises ConfigError where G does not divide C, where e does not divide a worker's images, and
    where a group has a single value.
    """

    name = "group_batch"
    over = "some of a worker's images, C/G channels, all positions"
    paper = "Summers & Dinneen 2020"
    histories = {"worker_mean": 0, "worker_var": 0}

    worker_mean: Tensor
    worker_var: Tensor

    def __init__(
        self, site: Site, *, eps: float = 1e-5, momentum: float = 0.1, examples: int | None = 2,
        groups: int | str = "auto", channels_per_group: int | None = None,
        min_channels_per_group: int = 4, example_weight: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(site, eps=eps, momentum=momentum)
        if examples is not None and examples < 1:
            raise ConfigError(f"norm.examples={examples}: at least 1, or null for all of a worker's images")
        self.examples = examples
        self.groups = number_of_groups(self.channels, groups, channels_per_group, min_channels_per_group)
        self.example_weight = float(examples == 1) if example_weight is None else example_weight
        self.register_buffer("worker_mean", site.full(0.0, self.workers, self.channels))
        self.register_buffer("worker_var", site.full(1.0, self.workers, self.channels))

    def evaluate(self, y: Tensor) -> Tensor:
        mean, var = pool(self.running_mean.view(self.groups, -1), self.running_var.view(self.groups, -1), 1)
        rows = row_moments(y, self.channels)
        if self.example_weight:
            in_groups = (len(y), self.groups, -1)
            own_mean, own_var = pool(rows[0].view(in_groups), rows[1].view(in_groups), 2)
            a = self.example_weight  # E[x^2] - E[x]^2 of the mixture
            var = torch.lerp(var, own_var, a) + a * (1 - a) * (own_mean - mean).square()
            mean = torch.lerp(mean, own_mean, a)
        return self._scaled(y, rows[0], self._channelwise(mean), self._channelwise(var))

    def normalize(self, y: Tensor, groups: int, update: bool) -> Tensor:
        n = len(y) // groups
        e = min(self.examples or n, n)
        if n % e and not self.training:
            e = math.gcd(n, e)  # eval_stats=batch: the last mini-batch may be smaller
        if n % e:
            raise ConfigError(f"norm.examples={e} does not divide batch={n}; choose a divisor of the batch")
        if e * y[0].numel() // self.groups < 2:
            raise ConfigError(
                "norm=group_batch needs two values in a group, got one; use more norm.examples or fewer norm.groups"
            )
        mean, var = row_moments(y, self.channels)
        if update:
            self._move(*(v.detach().view(n, groups, self.channels) for v in (mean, var)))
        grouped = (n // e, e, groups, self.groups, self.channels // self.groups)
        pooled = pool(mean.view(grouped), var.view(grouped), 1, 4)
        mu, total = (v.expand(grouped).reshape_as(mean) for v in pooled)
        return self._scaled(y, mean, mu, total)

    def _scaled(self, y: Tensor, centre: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        weight, bias = self.affine()
        scale = ((var + self.eps).rsqrt() * weight).expand_as(centre)
        return row_affine(y, centre, scale, (centre - mean) * scale + bias)

    def _channelwise(self, v: Tensor) -> Tensor:
        """(..., G, 1) as (..., C)."""
        return v.expand(*v.shape[:-1], self.channels // self.groups).flatten(-2)

    @torch.no_grad()
    def _move(self, mean: Tensor, var: Tensor) -> None:
        """Moves E[x] and E[x^2], of which the variance is kept: no difference of large numbers."""
        mean, var = (v[0].to(self.worker_mean.dtype) for v in pool(mean, var, 0))
        a = self.momentum
        self.worker_var.lerp_(var, a).add_((mean - self.worker_mean).square(), alpha=a * (1 - a))
        self.worker_mean.lerp_(mean, a)
        self.follow(self.worker_mean, self.worker_var, rate=1)
