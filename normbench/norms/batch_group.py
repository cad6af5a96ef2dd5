"""Between batch and group normalization: statistics over some images and some channels, or parts of channels."""

import math

import torch
from torch import Tensor, nn

from normbench.config import ConfigError
from normbench.norms.batch import BatchNorm
from normbench.norms.group import number_of_groups
from normbench.norms.moments import pool, row_affine, row_moments
from normbench.norms.running import follow

MOST_GROUPS = 16  # of batch group normalization's groups=auto: the paper's choice for 8 images a worker


class GroupBatchNorm(BatchNorm):
    """Normalization over groups of examples and of channels (Summers & Dinneen 2020, section 3.4).

    y = gamma_c (x - mu) / sqrt(var + eps) + beta_c, mu and the biased var over the channels of a group and all
    positions of e images of a worker. e = 1 is group normalization; all of a worker's images and one channel a group
    are batch normalization; e of them and one channel, ghost batch normalization. A worker's images are grouped in
    their order. Training: statistics of the groups. Evaluation: E[x] and E[x^2], averaged over a group's channels, are
    (1 - example_weight) x the running ones + example_weight x the image's own. Running are, per channel, the moving
    averages of E[x] and E[x^2] over all of a worker's images, kept as running_mean = E[x] and running_var = E[x^2] -
    E[x]^2, which holds the variance between batches as well; worker 0's, or the mean over the workers.

    Shapes: (N, C, ...) in and out; weight (gamma), bias (beta), running_mean, running_var (C,); each worker's in
    worker_mean, worker_var (workers, C).
    Options: eps 1e-5. momentum 0.1, the weight of the new value; the authors' code has 0.01, for longer runs than ours.
    examples: e, 2; null: all of a worker's images; more than a worker has are all, as in the authors' code. groups
    "auto", channels_per_group, min_channels_per_group: as GroupNorm's. example_weight: null: 1 for e = 1, whose
    training has no batch in it, else 0, the authors' default.
    Raises ConfigError where G does not divide C, where e does not divide a worker's images, and where a group has a
    single value.
    """

    name = "group_batch"
    over = "some of a worker's images, C/G channels, all positions"
    paper = "Summers & Dinneen 2020"
    histories = {"worker_mean": 0, "worker_var": 0}

    worker_mean: Tensor
    worker_var: Tensor

    def __init__(
        self,
        conv: nn.Module,
        *,
        relu: bool = False,
        workers: int = 1,
        eps: float = 1e-5,
        momentum: float = 0.1,
        examples: int | None = 2,
        groups: int | str = "auto",
        channels_per_group: int | None = None,
        min_channels_per_group: int = 4,
        example_weight: float | None = None,
    ) -> None:
        super().__init__(conv, relu=relu, workers=workers, eps=eps, momentum=momentum)
        if examples is not None and examples < 1:
            raise ConfigError(f"norm.examples={examples}: at least 1, or null for all of a worker's images")
        self.examples = examples
        self.groups = number_of_groups(self.channels, groups, channels_per_group, min_channels_per_group)
        self.example_weight = float(examples == 1) if example_weight is None else example_weight
        self.register_buffer("worker_mean", self.running_mean.repeat(workers, 1))
        self.register_buffer("worker_var", self.running_var.repeat(workers, 1))

    def forward(self, y: Tensor) -> Tensor:
        if self.training or self.minibatch is not None:
            return super().forward(y)
        running = self.running_mean.view(self.groups, -1), self.running_var.view(self.groups, -1)
        mean, var = pool(*running, 1)
        rows = row_moments(y, self.channels)
        if self.example_weight:
            own_mean, own_var = pool(rows[0].view(len(y), self.groups, -1), rows[1].view(len(y), self.groups, -1), 2)
            a = self.example_weight  # E[x^2] - E[x]^2 of the mixture
            var = torch.lerp(var, own_var, a) + a * (1 - a) * (own_mean - mean).square()
            mean = torch.lerp(mean, own_mean, a)
        return self._scaled(y, rows[0], self._channelwise(mean), self._channelwise(var))

    def _batch_norm(self, y: Tensor, groups: int, update: bool) -> Tensor:
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
        if self._measured is not None:
            self._measure(y)
            update = False
        mean, var = row_moments(y, self.channels)
        if update:
            self._move(*(v.detach().view(n, groups, self.channels) for v in (mean, var)))
        grouped = (n // e, e, groups, self.groups, self.channels // self.groups)
        pooled = pool(mean.view(grouped), var.view(grouped), 1, 4)
        mu, total = (v.expand(grouped).reshape_as(mean) for v in pooled)
        return self._scaled(y, mean, mu, total)

    def _scaled(self, y: Tensor, centre: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        assert self.weight is not None and self.bias is not None
        scale = ((var + self.eps).rsqrt() * self.weight).expand_as(centre)
        return row_affine(y, centre, scale, (centre - mean) * scale + self.bias)

    def _channelwise(self, v: Tensor) -> Tensor:
        """(..., G, 1) as (..., C)."""
        return v.expand(*v.shape[:-1], self.channels // self.groups).flatten(-2)

    @torch.no_grad()
    def _move(self, mean: Tensor, var: Tensor) -> None:
        """The moving averages of E[x] and E[x^2], of which the variance is kept: no difference of large numbers."""
        mean, var = (v[0].to(self.worker_mean.dtype) for v in pool(mean, var, 0))
        a = self.momentum
        self.worker_var.lerp_(var, a).add_((mean - self.worker_mean).square(), alpha=a * (1 - a))
        self.worker_mean.lerp_(mean, a)
        follow(self.running_mean, self.worker_mean, 1.0, self.average_workers)
        follow(self.running_var, self.worker_var, 1.0, self.average_workers)


class BatchGroupNorm(BatchNorm):
    """Batch normalization over groups of the merged axes (C, H, W) (Zhou et al. 2020).

    Channels, height and width become one axis, in this order, cut evenly into G groups; y = gamma_c (x - mu) / sqrt(var
    + eps) + beta_c, mu and the biased var over a worker's images and a group. G <= C: a group is C/G channels; G > C: a
    part of a channel's map. Training: statistics of the batch, whose moving averages are running_mean and running_var
    (biased), worker 0's or the mean over the workers. Evaluation: those.

    Shapes: (N, C, ...) in and out; weight (gamma), bias (beta) (C,); running_mean, running_var: a value a piece, the
    largest parts that lie in one group and one channel each: (C,) where G divides C, else (lcm(C, G),).
    Options: eps 1e-5. momentum 0.1, the weight of the new value. groups: G, the same in every layer, or "auto": the
    most groups, up to 16, that divide C. The paper tunes G to the batch per worker: 512, 256, 128, 64, 16, 2, 1 for
    128, 64, 32, 16, 8, 4, 2 images (from memory).
    Raises ConfigError where a layer's (C, H, W) cannot be cut so, and where a group has a single value.
    """

    name = "bgn"
    over = "a worker's images, 1/G of (C, H, W)"
    paper = "Zhou et al. 2020"

    def __init__(
        self,
        conv: nn.Module,
        *,
        relu: bool = False,
        workers: int = 1,
        eps: float = 1e-5,
        momentum: float = 0.1,
        groups: int | str = "auto",
    ) -> None:
        super().__init__(conv, relu=relu, workers=workers, eps=eps, momentum=momentum)
        if groups != "auto" and (not isinstance(groups, int) or groups < 1):
            raise ConfigError(f"norm.groups={groups}: a number of groups, at least 1, or auto")
        most = max(g for g in range(1, MOST_GROUPS + 1) if self.channels % g == 0)
        self.groups = groups if isinstance(groups, int) else most
        self.pieces = math.lcm(self.channels, self.groups)
        self.running_mean = self.running_mean.new_zeros(self.pieces)
        self.running_var = self.running_var.new_ones(self.pieces)

    def forward(self, y: Tensor) -> Tensor:
        if self.training or self.minibatch is not None:
            return super().forward(y)
        self._require_pieces(y)
        rows, _ = row_moments(y, self.pieces)
        return self._scaled(y, rows, rows.view(1, *rows.shape), self.running_mean, self.running_var)

    def _batch_norm(self, y: Tensor, groups: int, update: bool) -> Tensor:
        self._require_pieces(y)
        if y.numel() // (groups * self.groups) < 2:
            raise ConfigError(f"norm.groups={self.groups} leaves a single value a group; choose fewer groups")
        if self._measured is not None:
            self._measure(y.reshape(len(y), self.pieces, -1))
            update = False
        rows, variances = row_moments(y, self.pieces)
        shape = (-1, groups, self.groups, self.pieces // self.groups)
        row_mean = rows.view(shape)
        mean, var = pool(row_mean, variances.view(shape), 0, 3)
        if update:
            for running, new in ((self.running_mean, mean), (self.running_var, var)):  # (1, workers, G, 1)
                follow(running.view(self.groups, -1), new[0], self.momentum, self.average_workers)
        by_piece = (-1, groups, self.pieces)
        mean, var = (v.expand(1, *row_mean.shape[1:]).reshape(by_piece) for v in (mean, var))
        return self._scaled(y, rows, rows.view(by_piece), mean, var)

    def _scaled(self, y: Tensor, rows: Tensor, row_mean: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        assert self.weight is not None and self.bias is not None
        each = self.pieces // self.channels
        scale = ((var + self.eps).rsqrt() * self.weight.repeat_interleave(each)).expand_as(row_mean)
        shift = (row_mean - mean) * scale + self.bias.repeat_interleave(each)
        return row_affine(y, rows, scale.reshape(rows.shape), shift.view_as(rows))

    def _require_pieces(self, y: Tensor) -> None:
        if y[0].numel() % self.pieces:
            raise ConfigError(
                f"norm.groups={self.groups} cannot cut a layer's {tuple(y.shape[1:])} values into parts of a channel each; "
                f"choose a divisor of {self.channels}, or norm.groups=auto"
            )

    def start_measuring(self) -> None:
        zero = torch.zeros(self.pieces, device=self.running_mean.device, dtype=torch.float64)
        self._measured = (0.0, zero, zero.clone())

    def finish_measuring(self) -> None:
        super().finish_measuring()  # of each piece
        for running, group in zip(
            (self.running_mean, self.running_var),
            pool(self.running_mean.view(self.groups, -1), self.running_var.view(self.groups, -1), 1),
            strict=True,
        ):
            running.copy_(group.expand(-1, self.pieces // self.groups).flatten())
