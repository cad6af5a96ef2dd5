"""norm=bcn: group normalization of what a batch normalization puts out."""

import torch
from torch import Tensor, nn

from normbench.kernels.rows import pool, row_affine, row_moments
from normbench.kernels.snapshot import snapshot
from normbench.norms.base import Site
from normbench.norms.group import number_of_groups
from normbench.norms.running import RunningNorm


class BatchChannelNorm(RunningNorm):
    """Batch, then group normalization, in one pass over the values (Qiao et al. 2019b, BCN).

        u = gamma'_c (x - mu) / sqrt(var + eps) + beta'_c
        y = gamma_c (u - m) / sqrt(v + eps) + beta_c

    mu, var, large batches: over a worker's images, one channel, all positions, with BN's gradient;
        running_mean and running_var, as BatchNorm's, take their place in evaluation.
    mu, var, micro-batches (micro): each worker's running estimates, constants to the gradient, in
        training too. First mu <- (1 - rate) mu + rate mean(x), then var <- (1 - rate) var + rate
        mean((x - mu)^2), then both are used.
    m, v: mean and biased variance over a group's channels and all positions of one image of u.

    Shapes: y (N, C, ...) in and out
        batch_weight, batch_bias (gamma', beta'): (C,)
        weight, bias (gamma, beta): (C,); group_weight, group_bias (G,) with per_group_affine
        running_mean, running_var: (C,)
        estimated_mean, estimated_var: (workers, C), of micro

    Paper and code
        rate: the authors' code feeds it the learning rate.
        per_group_affine=true: as in the authors' code. A network that starts the last gamma of its
            residual branches at 0 starts gamma so, not gamma'; per group there is none to start so.
        The paper's networks have standardized weights as well, which is another layer's business.

    Raises ConfigError where G does not divide C, and without micro for a single value per channel.
    """

    name = "bcn"
    over = "as bn, then as gn"
    paper = "Qiao et al. 2019b"
    histories = {"estimated_mean": 0, "estimated_var": 0}  # of micro

    estimated_mean: Tensor
    estimated_var: Tensor

    def __init__(
        self, site: Site, *, eps: float = 1e-5, momentum: float = 0.1, groups: int | str = "auto",
        channels_per_group: int | None = None, min_channels_per_group: int = 4, micro: bool = False,
        rate: float = 0.1, per_group_affine: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(site, eps=eps, momentum=momentum)
        self.groups = number_of_groups(self.channels, groups, channels_per_group, min_channels_per_group)
        self.micro, self.rate = micro, rate
        self.exact_gradient = not micro  # of the estimates it has none
        self.batch_weight, self.batch_bias = nn.Parameter(site.full(1.0)), nn.Parameter(site.full(0.0))
        if per_group_affine:
            self.weight = self.bias = None
            self.group_weight = nn.Parameter(site.full(1.0, self.groups))
            self.group_bias = nn.Parameter(site.full(0.0, self.groups))
        if micro:
            self.register_buffer("estimated_mean", site.full(0.0, self.workers, self.channels))
            self.register_buffer("estimated_var", site.full(1.0, self.workers, self.channels))

    def evaluate(self, y: Tensor) -> Tensor:
        return self._channel_norm(y, *row_moments(y, self.channels), self.running_mean, self.running_var)

    def normalize(self, y: Tensor, groups: int, update: bool) -> Tensor:
        estimating = self.micro and self.training
        if not estimating:
            self.require_values(y, groups)
        mean, var = row_moments(y, self.channels)
        by_worker = (-1, groups, self.channels)
        mu, total = pool(mean.view(by_worker), var.view(by_worker), 0)
        if estimating:
            mu, total = self._estimates(mu[0].detach(), total[0].detach(), update)
        elif update:
            values = y.numel() // (groups * self.channels)
            self.follow(mu[0], total[0] * (values / (values - 1)))
        images = len(y) // groups
        mu, total = (v.view(-1, self.channels).repeat(images, 1) for v in (mu, total))
        return self._channel_norm(y, mean, var, mu, total)

    def _channel_norm(self, y: Tensor, mean: Tensor, var: Tensor, mu: Tensor, total: Tensor) -> Tensor:
        """Both as one scale and shift per row; mu, total: the batch normalization's mean, var."""
        scale = self.batch_weight * (total + self.eps).rsqrt()
        inner = (mean - mu) * scale + self.batch_bias  # the rows' new means
        in_groups = (len(y), self.groups, -1)
        m, v = pool(inner.view(in_groups), (var * scale.square()).view(in_groups), 2)
        weight, bias = self._outer()
        outer = (v + self.eps).rsqrt() * weight
        shift = (inner.view(in_groups) - m) * outer + bias
        return row_affine(y, mean, scale * outer.expand_as(shift).reshape_as(mean), shift.view_as(mean))

    def _outer(self) -> tuple[Tensor, Tensor]:
        """gamma and beta of the group normalization, to broadcast over (N, G, C/G)."""
        if self.weight is None or self.bias is None:
            return self.group_weight[:, None], self.group_bias[:, None]
        return self.weight.view(self.groups, -1), self.bias.view(self.groups, -1)

    @torch.no_grad()
    def _estimates(self, mean: Tensor, var: Tensor, update: bool) -> tuple[Tensor, Tensor]:
        """The running estimates, (workers, C) each, with this batch in them."""
        mu = self.estimated_mean.lerp(mean.to(self.estimated_mean.dtype), self.rate)
        deviation = (var + (mean - mu).square()).to(mu.dtype)
        total = self.estimated_var.lerp(deviation, self.rate)
        kept = snapshot(mu), snapshot(total)
        if update:
            self.estimated_mean.copy_(mu)
            self.estimated_var.copy_(total)
            self.follow(mu, total, rate=1)
        return kept
