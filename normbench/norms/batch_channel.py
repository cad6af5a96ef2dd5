"""Batch-channel normalization: group normalization of what a batch normalization puts out."""

import torch
from torch import Tensor, nn

from normbench.norms.batch import BatchNorm
from normbench.norms.group import number_of_groups
from normbench.norms.moments import pool, row_affine, row_moments
from normbench.norms.running import follow
from normbench.norms.snapshot import snapshot


class BatchChannelNorm(BatchNorm):
    """Batch normalization, then group normalization, in one pass over the values (Qiao et al. 2019, BCN).

    u = gamma'_c (x - mu) / sqrt(var + eps) + beta'_c, the batch normalization, then y = gamma_c (u - m) / sqrt(v + eps)
    + beta_c, m and the biased v over the channels of a group and all positions of one image of u.
    Large batches: mu, var over a worker's images, one channel, all positions, with BN's gradient; running_mean and
    running_var, as BatchNorm's, take their place in evaluation.
    Micro-batches (micro): mu, var are each worker's running estimates, constants for the gradient, in training too: mu
    <- (1 - rate) mu + rate mean(x), then var <- (1 - rate) var + rate mean((x - mu)^2), then both are used.
    running_mean and running_var are worker 0's, or the mean over the workers.

    Shapes: (N, C, ...) in and out; batch_weight, batch_bias (gamma', beta'), weight, bias (gamma, beta), running_mean,
    running_var (C,); with per_group_affine group_weight, group_bias (G,) instead of weight and bias; estimated_mean,
    estimated_var (workers, C) of micro.
    Options: eps 1e-5, in both. momentum 0.1, of the large-batch form. groups "auto", channels_per_group,
    min_channels_per_group: as GroupNorm's. micro false. rate 0.1, the weight of the new value; the authors' code feeds
    it the learning rate. per_group_affine false; true: gamma and beta one per group (authors' code). A network that
    starts the last gamma of its residual branches at 0 starts gamma so, not gamma'; per group there is none to start
    so.
    The paper's networks have standardized weights as well, which is another layer's business.
    Raises ConfigError where G does not divide C, and without micro where a worker has a single value per channel.
    """

    name = "bcn"
    over = "as bn, then as gn"
    paper = "Qiao et al. 2019b"
    histories = {"estimated_mean": 0, "estimated_var": 0}  # of micro

    estimated_mean: Tensor
    estimated_var: Tensor

    def __init__(
        self,
        conv: nn.Module,
        *,
        relu: bool = False,
        workers: int = 1,
        eps: float = 1e-5,
        momentum: float = 0.1,
        groups: int | str = "auto",
        channels_per_group: int | None = None,
        min_channels_per_group: int = 4,
        micro: bool = False,
        rate: float = 0.1,
        per_group_affine: bool = False,
    ) -> None:
        super().__init__(conv, relu=relu, workers=workers, eps=eps, momentum=momentum)
        self.groups = number_of_groups(self.channels, groups, channels_per_group, min_channels_per_group)
        self.micro, self.rate = micro, rate
        self.exact_gradient = not micro  # type: ignore[misc]  # the estimates move with the input, the gradient stops there
        ones = torch.ones_like(self.running_var)
        self.batch_weight, self.batch_bias = nn.Parameter(ones), nn.Parameter(torch.zeros_like(ones))
        if per_group_affine:
            self.register_parameter("weight", None)
            self.register_parameter("bias", None)
            self.group_weight = nn.Parameter(ones[: self.groups].clone())
            self.group_bias = nn.Parameter(torch.zeros_like(ones[: self.groups]))
        if micro:
            self.register_buffer("estimated_mean", torch.zeros_like(ones).repeat(workers, 1))
            self.register_buffer("estimated_var", ones.repeat(workers, 1))

    def forward(self, y: Tensor) -> Tensor:
        if self.training or self.minibatch is not None:
            return super().forward(y)
        mean, var = row_moments(y, self.channels)
        return self._channel_norm(y, mean, var, self.running_mean, self.running_var)

    def _batch_norm(self, y: Tensor, groups: int, update: bool) -> Tensor:
        estimating = self.micro and self.training
        if not estimating:
            self._require_values(y, groups)
        if self._measured is not None:
            self._measure(y)
            update = False
        mean, var = row_moments(y, self.channels)
        by_worker = (-1, groups, self.channels)
        mu, total = pool(mean.view(by_worker), var.view(by_worker), 0)
        if estimating:
            mu, total = self._estimates(mu[0].detach(), total[0].detach(), update)
        elif update:
            values = y.numel() // (groups * self.channels)
            self._follow(mu[0], total[0] * (values / (values - 1)), self.momentum)
        repeats = len(y) // groups
        return self._channel_norm(
            y,
            mean,
            var,
            mu.view(-1, self.channels).repeat(repeats, 1),
            total.view(-1, self.channels).repeat(repeats, 1),
        )

    def _channel_norm(self, y: Tensor, mean: Tensor, var: Tensor, mu: Tensor, total: Tensor) -> Tensor:
        """Both as one scale and shift a row: mean, var are the rows', mu, total the batch normalization's."""
        scale = self.batch_weight * (total + self.eps).rsqrt()
        inner = (mean - mu) * scale + self.batch_bias  # the rows' means behind the batch normalization
        in_groups = (len(y), self.groups, -1)
        m, v = pool(inner.view(in_groups), (var * scale.square()).view(in_groups), 2)
        weight, bias = self._outer()
        outer = (v + self.eps).rsqrt() * weight
        shift = (inner.view(in_groups) - m) * outer + bias
        return row_affine(y, mean, scale * outer.expand_as(shift).reshape_as(mean), shift.view_as(mean))

    def _outer(self) -> tuple[Tensor, Tensor]:
        """gamma and beta of the channel normalization, in the shape that broadcasts over (N, G, C/G)."""
        if self.weight is None or self.bias is None:
            return self.group_weight[:, None], self.group_bias[:, None]
        return self.weight.view(self.groups, -1), self.bias.view(self.groups, -1)

    def _follow(self, mean: Tensor, var: Tensor, rate: float) -> None:
        follow(self.running_mean, mean, rate, self.average_workers)
        follow(self.running_var, var, rate, self.average_workers)

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
            self._follow(mu, total, 1.0)
        return kept
