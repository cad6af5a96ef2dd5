"""norm=evonorm_s0, evonorm_b0: normalization and activation in one layer, found by search."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from normbench.kernels.maps import affine, column, dot, over_images, rows
from normbench.kernels.rows import pool, row_moments
from normbench.norms.base import Norm, Site
from normbench.norms.group import number_of_groups
from normbench.norms.running import RunningNorm
from normbench.parallel.workers import merge


class EvoNormS0(Norm):
    """EvoNorm-S0, the batch-free one (Liu et al. 2020, Table 2).

        y = gamma_c x sigmoid(v_c x) / sqrt(var + eps) + beta_c

    var: the biased variance over the C/G channels of a group and all positions of one image.
    Training and evaluation: the same. The activation is inside.

    Shapes: y (N, C, ...) in and out
        weight, bias: (C,)
        v: (C,), starting at 1, where a ReLU follows

    Paper and code
        Where no ReLU follows, as behind the last conv of a residual block, it is y = gamma_c x +
            beta_c, without v or statistics, as in the authors' code (nonlinearity=False): nothing
            is normalized without its activation.
        groups: the authors have 32, or the most that divide C.
    """

    name = "evonorm_s0"
    over = "one image, C/G channels, all positions"
    paper = "Liu et al. 2020"
    batch_free = True
    owns_activation = True

    v: nn.Parameter | None

    def __init__(
        self, site: Site, *, eps: float = 1e-5, groups: int | str = "auto",
        channels_per_group: int | None = None, min_channels_per_group: int = 4,
    ) -> None:  # fmt: skip
        super().__init__(site)
        self.eps = eps
        self.groups = number_of_groups(self.channels, groups, channels_per_group, min_channels_per_group)
        self.register_parameter("v", nn.Parameter(site.full(1.0)) if site.relu else None)

    def forward(self, y: Tensor) -> Tensor:
        if self.v is None:
            return affine(y, self.weight, self.bias)
        out: Tensor = _EvoNormS0.apply(y, self.weight, self.bias, self.v, self.groups, self.eps)
        return out

    def extra_repr(self) -> str:
        return f"{self.channels}, groups={self.groups}, activation={self.v is not None}"


class _EvoNormS0(torch.autograd.Function):
    """The formula with its backward by hand, three times as fast. Keeps y and the sigmoid.

    With s = sigmoid(v x), r = 1 / sqrt(var + eps), g = dL/dy, M values in a group:
    dx = gamma r g (s + v x s (1 - s)) - (x - mu) r^3 sum(gamma g x s) / M, the sum over the group.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, gamma: Tensor, beta: Tensor, v: Tensor, groups: int, eps: float) -> Tensor:
        x, (images, channels) = rows(y), y.shape[:2]
        positions = x.shape[1]
        # torch's fastest moments on CPU, as exact as two passes; the map that comes along goes.
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


class EvoNormB0(RunningNorm):
    """EvoNorm-B0, the one with batch statistics (Liu et al. 2020, Table 2).

        y = gamma_c x / max(sqrt(var_B + eps), v_c x + sqrt(var_I + eps)) + beta_c

    var_B: over the images of a worker and all positions of channel c, biased.
    var_I: over the positions of one image and channel, biased.
    Training: var_B of the batch; running_var is its moving average, of the unbiased variance.
    Evaluation: running_var in place of var_B. running_mean is kept beside it and enters nothing.
    The activation is inside.

    Shapes: y (N, C, ...) in and out
        weight, bias, running_mean, running_var: (C,)
        v: (C,), starting at 1, where a ReLU follows

    Paper and code
        Where no ReLU follows it is y = gamma_c x + beta_c, as EvoNormS0 is, and the running
            statistics stay as they are.
        eps: the authors'; timm has 1e-3.

    Raises ConfigError where a worker has a single value per channel.
    """

    name = "evonorm_b0"
    over = "a worker's images, one channel, all positions; and one image"
    paper = "Liu et al. 2020"
    owns_activation = True

    v: nn.Parameter | None

    def __init__(self, site: Site, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(site, eps=eps, momentum=momentum)
        self.register_parameter("v", nn.Parameter(site.full(1.0)) if site.relu else None)

    def forward(self, y: Tensor) -> Tensor:
        return super().forward(y) if self.v is not None else affine(y, self.weight, self.bias)

    def evaluate(self, y: Tensor) -> Tensor:
        return self._evolved(y, row_moments(y, self.channels)[1], self.running_var)

    def normalize(self, y: Tensor, groups: int, update: bool) -> Tensor:
        self.require_values(y, groups)
        own_mean, own_var = row_moments(y, self.channels)
        images = (-1, groups, self.channels)  # those of a worker, worker, channel
        mean, var = pool(own_mean.view(images), own_var.view(images), 0)
        if update:
            values = y.numel() // (groups * self.channels)
            self.follow(mean[0], var[0] * (values / (values - 1)))
        return self._evolved(y, own_var, var.expand(len(y) // groups, -1, -1).reshape(own_var.shape))

    def _evolved(self, y: Tensor, own_var: Tensor, batch_var: Tensor) -> Tensor:
        """The formula, given var_I and var_B, (N, C) each, or var_B (C,)."""
        own, batch = (own_var + self.eps).sqrt(), (batch_var + self.eps).sqrt().expand_as(own_var)
        out: Tensor = _EvoNormB0.apply(y, self.weight, self.bias, self.v, own, batch)
        return out


class _EvoNormB0(torch.autograd.Function):
    """The formula with its backward by hand. Keeps y and the denominator.

    With e = v x + own, d = max(batch, e), g = dL/dy: dL/dd = -gamma g x / d^2, which goes to e
    where e > batch and to batch elsewhere, and dx = gamma g / d + v dL/de.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, gamma: Tensor, beta: Tensor, v: Tensor, own: Tensor, batch: Tensor) -> Tensor:
        x, images = rows(y), y.shape[0]
        # max(batch, e) = batch + relu(e - batch): what is kept says where e > batch.
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
