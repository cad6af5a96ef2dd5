"""EvoNorm: normalization and activation found together by search, one layer."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from normbench.norms.base import Norm, per_channel, statistics_dtype
from normbench.norms.batch import BatchNorm
from normbench.norms.group import number_of_groups
from normbench.norms.maps import affine, column, dot, over_images, rows
from normbench.norms.moments import pool, row_moments
from normbench.parallel.workers import merge


class EvoNormS0(Norm):
    """EvoNorm-S0, the batch-free one (Liu et al. 2020, Table 2).

    y = gamma_c x sigmoid(v_c x) / sqrt(var + eps) + beta_c, var the biased variance over the C/G channels of a group and
    all positions of one image. The activation is inside. The same in training and evaluation.

    Shapes: (N, C, ...) in and out; weight (gamma), bias (beta), v (C,), v starting at 1.
    Where no ReLU follows, as behind the last conv of a residual block, it is y = gamma_c x + beta_c, without v or
    statistics, as in the authors' code (nonlinearity=False): nothing is normalized without its activation.
    Options: eps 1e-5. groups, channels_per_group, min_channels_per_group: as GroupNorm's; the authors have 32 groups, or
    the most that divide C.
    """

    name = "evonorm_s0"
    over = "one image, C/G channels, all positions"
    paper = "Liu et al. 2020"
    batch_free = True
    owns_activation = True

    v: nn.Parameter | None

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
        self.register_parameter("v", _slope(conv, self.channels) if relu else None)

    def forward(self, y: Tensor) -> Tensor:
        if self.v is None:
            return affine(y, self.weight, self.bias)
        out: Tensor = _EvoNormS0.apply(y, self.weight, self.bias, self.v, self.groups, self.eps)
        return out

    def extra_repr(self) -> str:
        return f"{self.channels}, groups={self.groups}, activation={self.v is not None}"


def evonorm_s0_formula(y: Tensor, gamma: Tensor, beta: Tensor, v: Tensor, groups: int, eps: float) -> Tensor:
    """The plain formula: the reference of the hand-derived one, and three times as slow."""
    x = y.to(statistics_dtype(y))
    var = x.reshape(len(x), groups, -1).var(2, correction=0).repeat_interleave(x.shape[1] // groups, 1)
    inverse = (var + eps).rsqrt().view(*x.shape[:2], *[1] * (x.dim() - 2))
    return (per_channel(gamma, x) * x * (per_channel(v, x) * x).sigmoid() * inverse + per_channel(beta, x)).to(y.dtype)


class _EvoNormS0(torch.autograd.Function):
    """evonorm_s0_formula with its backward by hand. Keeps y and the sigmoid.

    With s = sigmoid(v x), r = 1 / sqrt(var + eps), g = dL/dy, M values in a group:
    dx = gamma r g (s + v x s (1 - s)) - (x - mu) r^3 sum(gamma g x s) / M, the sum over the group.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, gamma: Tensor, beta: Tensor, v: Tensor, groups: int, eps: float) -> Tensor:
        x, (images, channels) = rows(y), y.shape[:2]
        positions = x.shape[1]
        # torch's fastest moments on CPU, and as exact as two passes; the normalized map that comes with them is not used
        _, mean, inverse = torch.native_group_norm(
            x.view(images, channels, positions), None, None, images, channels, positions, groups, eps
        )
        mean, inverse = (moment.view(-1, 1).repeat_interleave(channels // groups, 0) for moment in (mean, inverse))
        sigmoid = (x * column(v, images)).sigmoid_()
        out = (x * sigmoid).mul_(column(gamma, images) * inverse).add_(column(beta, images))
        ctx.save_for_backward(y, sigmoid.to(y.dtype), mean, inverse, gamma, v)
        ctx.groups = groups
        return merge(out.to(y.dtype), y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        y, sigmoid, mean, inverse, gamma, v = ctx.saved_tensors
        x, g, (images, channels) = rows(y), rows(grads[0]), y.shape[:2]
        sigmoid = sigmoid.to(x.dtype)
        scale = column(gamma, images) * inverse
        passed = g * sigmoid
        bent = torch.ops.aten.sigmoid_backward(g, sigmoid).mul_(x)  # g x s (1 - s)
        along = dot(passed, x)
        dgamma, dbeta = over_images(along * inverse, channels), over_images(g.sum(1), channels)
        dv = over_images(dot(bent, x) * scale, channels)
        in_group = (along * scale).view(images * ctx.groups, -1).sum(1, keepdim=True)
        pull = in_group.repeat_interleave(channels // ctx.groups, 0) * inverse.square()
        pull = pull / -(x.shape[1] * channels // ctx.groups)
        dx = passed.mul_(scale).addcmul_(bent, scale * column(v, images)).addcmul_(x, pull).sub_(pull * mean)
        return merge(dx.to(y.dtype), y), dgamma, dbeta, dv, None, None


class EvoNormB0(BatchNorm):
    """EvoNorm-B0, the one with batch statistics (Liu et al. 2020, Table 2).

    y = gamma_c x / max(sqrt(var_B + eps), v_c x + sqrt(var_I + eps)) + beta_c, with var_B over the n images of a worker and
    all positions of channel c, var_I over the positions of one image and channel, both biased. The activation is inside.
    Training: var_B of the batch; running_var is its moving average, of the unbiased variance and with the workers as in
    BatchNorm. Evaluation: running_var in place of var_B. running_mean is kept beside it and enters nothing.

    Shapes: (N, C, ...) in and out; weight (gamma), bias (beta), v, running_mean, running_var (C,), v starting at 1.
    Where no ReLU follows it is y = gamma_c x + beta_c, as EvoNormS0 is, and the running statistics stay as they are.
    Options: eps 1e-5, the authors' (timm has 1e-3); momentum 0.1, the weight of the new value.
    Raises ConfigError in the forward pass where a worker has a single value per channel, as BatchNorm does.
    """

    name = "evonorm_b0"
    over = "a worker's images, one channel, all positions; and one image"
    paper = "Liu et al. 2020"
    owns_activation = True

    v: nn.Parameter | None

    def __init__(
        self, conv: nn.Module, *, relu: bool = False, workers: int = 1, eps: float = 1e-5, momentum: float = 0.1
    ) -> None:
        super().__init__(conv, relu=relu, workers=workers, eps=eps, momentum=momentum)
        self.register_parameter("v", _slope(conv, self.channels) if relu else None)

    def forward(self, y: Tensor) -> Tensor:
        if self.v is None:
            return affine(y, self.weight, self.bias)
        if self.training or self.minibatch is not None:
            return super().forward(y)
        return self._evolved(y, row_moments(y, self.channels)[1], self.running_var)

    def _batch_norm(self, y: Tensor, groups: int, update: bool) -> Tensor:
        self._require_values(y, groups)
        if self._measured is not None:
            self._measure(y)
            update = False
        own_mean, own_var = row_moments(y, self.channels)
        images = (-1, groups, self.channels)  # those of a worker, worker, channel
        own = own_mean.view(images), own_var.view(images)
        mean, var = pool(*own, 0)
        if update:
            self._move(mean[0], var[0], y.numel() // (groups * self.channels))
        return self._evolved(y, own_var, var.expand_as(own[1]).reshape(own_var.shape))

    def _evolved(self, y: Tensor, own_var: Tensor, batch_var: Tensor) -> Tensor:
        """The formula, given var_I and var_B of each image and channel, or var_B of each channel."""
        own, batch = (own_var + self.eps).sqrt(), (batch_var + self.eps).sqrt().expand_as(own_var)
        out: Tensor = _EvoNormB0.apply(y, self.weight, self.bias, self.v, own, batch)
        return out

    @torch.no_grad()
    def _move(self, mean: Tensor, var: Tensor, values: int) -> None:
        for running, new in ((self.running_mean, mean), (self.running_var, var * (values / (values - 1)))):
            running.lerp_((new.mean(0) if self.average_workers else new[0]).to(running.dtype), self.momentum)

    def finish_measuring(self) -> None:
        if self.v is None:
            self._measured = None  # nothing was measured, since nothing is normalized
        else:
            super().finish_measuring()


def evonorm_b0_formula(y: Tensor, gamma: Tensor, beta: Tensor, v: Tensor, own: Tensor, batch: Tensor) -> Tensor:
    """The plain formula, given both standard deviations (N, C): the reference of the hand-derived one."""
    x = y.to(statistics_dtype(y))
    own, batch = (sd.view(*sd.shape, *[1] * (x.dim() - 2)) for sd in (own, batch))
    out = x / torch.maximum(batch, per_channel(v, x) * x + own)
    return (out * per_channel(gamma, x) + per_channel(beta, x)).to(y.dtype)


class _EvoNormB0(torch.autograd.Function):
    """evonorm_b0_formula with its backward by hand. Keeps y and the denominator.

    With e = v x + own, d = max(batch, e), g = dL/dy: dL/dd = -gamma g x / d^2, which goes to e where e > batch and to batch
    elsewhere, and dx = gamma g / d + v dL/de.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, gamma: Tensor, beta: Tensor, v: Tensor, own: Tensor, batch: Tensor) -> Tensor:
        x, images = rows(y), y.shape[0]
        # max(batch, e) = batch + relu(e - batch): what is kept says where e > batch, and no pass compares two maps
        above = (x * column(v, images)).add_((own - batch).reshape(-1, 1)).relu_()
        out = (x / (above + batch.reshape(-1, 1))).mul_(column(gamma, images)).add_(column(beta, images))
        ctx.save_for_backward(y, above.to(y.dtype), gamma, v, batch)
        return merge(out.to(y.dtype), y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        y, above, gamma, v, batch = ctx.saved_tensors
        x, g, (images, channels) = rows(y), rows(grads[0]), y.shape[:2]
        above = above.to(x.dtype)
        inverse = (above + batch.reshape(-1, 1)).reciprocal_()
        dbeta = over_images(g.sum(1), channels)
        dx = g * inverse
        along = dx * x
        dgamma = over_images(along.sum(1), channels)
        dx.mul_(column(gamma, images))
        dd = along.mul_(inverse).mul_(column(-gamma, images))
        de = torch.ops.aten.threshold_backward(dd, above, 0)
        down = de.sum(1)
        dx.addcmul_(de, column(v, images))
        dv = over_images(dot(de, x), channels)
        dbatch = dd.sum(1) - down
        return merge(dx.to(y.dtype), y), dgamma, dbeta, dv, down.view(images, channels), dbatch.view(images, channels)


def _slope(conv: nn.Module, channels: int) -> nn.Parameter:
    like = next(conv.parameters())
    return nn.Parameter(torch.ones(channels, device=like.device, dtype=like.dtype))
