"""Power normalization: a running quadratic mean in the forward pass, its running correction in the backward pass."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from normbench.config import ConfigError
from normbench.norms.base import statistics_dtype
from normbench.norms.batch import BatchNorm
from normbench.norms.moments import restored, scaled, scaled_gradient
from normbench.norms.moving_average import mean_square, per_image
from normbench.norms.running import follow
from normbench.norms.snapshot import snapshot

WARMUP_GRADIENTS = ("exact", "moving")
BACKWARD_SCALES = ("moving", "batch")


class PowerNorm(BatchNorm):
    """Normalization by a running quadratic mean, with running statistics in both passes (Shen et al. 2020, Algorithm 2).

    x is first divided by its root mean square over the channels of a position (group_scaling). Then, with psi^2 the
    moving average of the batches before this one of psi_B^2 = mean(x^2) over a worker's images and all positions of
    channel c:
        forward    X = x / sqrt(psi^2 + eps),  y = gamma_c X + beta_c,  psi^2 <- alpha psi^2 + (1 - alpha) psi_B^2
        backward   h = gamma_c dL/dy,  dL/dx = (h - nu X) / sqrt(psi^2 + eps),
                   nu <- nu (1 - (1 - alpha) mean(X^2)) + (1 - alpha) mean(h X)
    Warm-up: X = x / sqrt(psi_B^2 + eps), the paper's PN-V. Evaluation: as in the forward pass, psi^2 being running_var,
    worker 0's or the mean over the workers; running_mean stays 0. There is no mean to subtract.

    Shapes: (N, C, ...) in and out, of the paper's tokens a position each; weight (gamma), bias (beta), running_mean,
    running_var (C,). Each worker has its own psi2 and nu (workers, C).
    Options: eps 1e-5, inside the roots. alpha 0.9, the weight of the old value, in both passes. group_scaling 1, as the
    authors' code: the number of groups of channels with a root mean square of their own; 0: none, as Algorithm 2 has
    it. warmup_epochs 2: 10 000 steps of 256 images are two epochs of ImageNet; a layer that is not told the length of
    an epoch takes 10 000 steps. warmup_gradient: "exact", that of PN-V, or "moving", with nu from the first step on
    (authors' code). backward_scale: what dL/dx is divided by: "moving", what x was divided by, or "batch", psi_B
    (authors' code). warmup_average: false; true: psi^2 is first made the plain average of the batches of the warm-up
    (authors' code). The authors' ema_gz is nu / (1 - alpha): their update, which seems to lack a factor, is the
    paper's.
    Raises ConfigError where group_scaling does not divide C.
    """

    name = "powernorm"
    over = "mean square; the batches before, one channel, all positions"
    paper = "Shen et al. 2020"
    exact_gradient = False
    histories = {"psi2": 0, "nu": 0}

    psi2: Tensor
    nu: Tensor
    steps: Tensor

    def __init__(
        self,
        conv: nn.Module,
        *,
        relu: bool = False,
        workers: int = 1,
        eps: float = 1e-5,
        alpha: float = 0.9,
        group_scaling: int = 1,
        warmup_epochs: float = 2.0,
        warmup_gradient: str = "exact",
        backward_scale: str = "moving",
        warmup_average: bool = False,
    ) -> None:
        super().__init__(conv, relu=relu, workers=workers, eps=eps, momentum=1 - alpha)
        if group_scaling < 0 or (group_scaling and self.channels % group_scaling):
            raise ConfigError(f"norm.group_scaling={group_scaling} does not divide a layer's {self.channels} channels")
        for key, value, choices in (
            ("warmup_gradient", warmup_gradient, WARMUP_GRADIENTS),
            ("backward_scale", backward_scale, BACKWARD_SCALES),
        ):
            if value not in choices:
                raise ConfigError(f"norm.{key}={value}: one of {', '.join(choices)}")
        self.group_scaling = group_scaling
        self.warmup_epochs, self.warmup_steps = warmup_epochs, 10_000
        self.warmup_gradient, self.backward_scale = warmup_gradient, backward_scale
        self.warmup_average = warmup_average
        each = self.running_mean.new_zeros(workers, self.channels)
        self.register_buffer("psi2", torch.ones_like(each))
        self.register_buffer("nu", each)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64, device=each.device))

    def plan(self, *, sgd_batch: int, steps_per_epoch: int, epochs: int) -> None:
        self.warmup_steps = math.ceil(self.warmup_epochs * steps_per_epoch)

    def forward(self, y: Tensor) -> Tensor:
        if self.group_scaling:
            y = _GroupScaling.apply(y, self.group_scaling, self.eps)
        return super().forward(y)

    def _batch_norm(self, y: Tensor, groups: int, update: bool) -> Tensor:
        if self._measured is not None:
            self._measure(y)
            update = False
        with torch.no_grad():
            batch = mean_square(y, groups, self.channels)
            cold = self.steps < (self.warmup_steps if self.training else math.inf)  # eval_stats=batch: each batch's own
            psi2, exact = (
                snapshot(torch.where(cold, batch, self.psi2 if self.training else batch)),
                snapshot(cold & (self.warmup_gradient == "exact")),
            )
            if update:
                self._move(batch)
        own = (psi2, batch, exact, self.nu, self.momentum, self.eps, self.backward_scale == "batch")
        return _Power.apply(y, self.weight, self.bias, *own)

    def _move(self, batch: Tensor) -> None:
        batch = batch.to(self.psi2.dtype)
        self.steps += 1
        if self.warmup_average:
            plain = self.psi2 + (batch - self.psi2) / self.steps
            self.psi2.copy_(torch.where(self.steps < self.warmup_steps, plain, self.psi2))
        self.psi2.lerp_(batch, self.momentum)
        follow(self.running_var, self.psi2, 1.0, self.average_workers)

    def finish_measuring(self) -> None:
        """The mean square of all images seen, about 0."""
        super().finish_measuring()
        self.running_var += self.running_mean.square()
        self.running_mean.zero_()


class _Power(torch.autograd.Function):
    """y = gamma x / sqrt(psi2 + eps) + beta, and the paper's backward pass, which moves nu."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        psi2: Tensor,
        batch: Tensor,
        exact: Tensor,
        nu: Tensor,
        rate: float,
        eps: float,
        divide_by_batch: bool,
    ) -> Tensor:
        inverse = (psi2 + eps).rsqrt()
        scale = per_image(inverse * weight, x)
        divide = (batch + eps).rsqrt() if divide_by_batch else inverse.clone()
        ctx.save_for_backward(x, weight, inverse, divide, batch * inverse.square(), exact)
        ctx.nu, ctx.rate = nu, rate  # nu: a buffer that the backward pass writes to
        return scaled(x, torch.zeros_like(scale), scale, bias.expand_as(scale))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, inverse, divide, power, exact = ctx.saved_tensors
        nu, rate = ctx.nu, ctx.rate
        workers, channels = inverse.shape
        scale = per_image(divide * weight, x)
        dx, products, sums = scaled_gradient(grads[0], x, torch.zeros_like(scale), scale)
        dweight = inverse * products.view(-1, workers, channels).sum(0)  # of each worker: sum of dL/dy X
        mean_hx = weight * dweight * (inverse.numel() / x.numel())  # power is mean(X^2)
        pull = torch.where(exact, mean_hx, nu)
        rows = x.to(dx.dtype).reshape(dx.shape)
        dx = dx.addcmul(rows, per_image(-pull * inverse * divide, x).view(1, -1, 1))
        nu.copy_(nu * (1 - rate * power) + rate * mean_hx)
        return restored(dx, x), dweight.sum(0), sums.sum(0), None, None, None, None, None, None, None


class _GroupScaling(torch.autograd.Function):
    """x / sqrt(mean(x^2) + eps) over the channels of a group at one position of one image."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, groups: int, eps: float) -> Tensor:
        grouped = _grouped(x, groups)
        inverse = (torch.linalg.vector_norm(grouped, dim=2, keepdim=True).square() / grouped.shape[2] + eps).rsqrt()
        ctx.save_for_backward(x, inverse)
        out: Tensor = (grouped * inverse).view(x.shape).to(x.dtype)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        x, inverse = ctx.saved_tensors
        grouped = _grouped(x, inverse.shape[1])
        g = _grouped(grads[0], inverse.shape[1])
        along = (g * grouped).sum(2, keepdim=True) * (inverse.pow(3) / -grouped.shape[2])
        return (g * inverse).addcmul_(grouped, along).view(x.shape).to(x.dtype), None, None


def _grouped(x: Tensor, groups: int) -> Tensor:
    return x.to(statistics_dtype(x)).view(len(x), groups, -1, *x.shape[2:])
