"""norm=powernorm: a running quadratic mean forward, its running correction backward."""

import math
from typing import Any

import torch
from torch import Tensor

from normbench.config import ConfigError
from normbench.kernels.rows import mean_square, per_image, restored, scaled, scaled_gradient
from normbench.kernels.snapshot import snapshot
from normbench.kernels.values import statistics_dtype
from normbench.norms.base import Site, one_of
from normbench.norms.running import RunningNorm

WARMUP_GRADIENTS = ("exact", "moving")
BACKWARD_SCALES = ("moving", "batch")


class PowerNorm(RunningNorm):
    """Normalization by running statistics in both passes (Shen et al. 2020, Algorithm 2).

        forward    X = x / sqrt(psi^2 + eps),  y = gamma_c X + beta_c
                   psi^2 <- alpha psi^2 + (1 - alpha) psi_B^2
        backward   h = gamma_c dL/dy,  dL/dx = (h - nu X) / sqrt(psi^2 + eps)
                   nu <- nu (1 - (1 - alpha) mean(X^2)) + (1 - alpha) mean(h X)

    x is first divided by its root mean square over the channels of a position (group_scaling).
    psi^2: the moving average over the batches before this one of psi_B^2.
    psi_B^2: mean(x^2) over a worker's images and all positions of channel c.
    Training: in the warm-up X = x / sqrt(psi_B^2 + eps), the paper's PN-V.
    Evaluation: as the forward pass, psi^2 being running_var; running_mean stays 0. There is no mean
        to subtract.

    Shapes: y (N, C, ...) in and out, of the paper's tokens a position each
        weight, bias, running_mean, running_var: (C,)
        psi2, nu: (workers, C), each worker's own past

    Paper and code
        group_scaling: 1 in the authors' code; Algorithm 2 has none.
        warmup_epochs: 10 000 steps of 256 images are two epochs of ImageNet; a layer that is not
            told the length of an epoch takes 10 000 steps.
        warmup_gradient=moving, backward_scale=batch, warmup_average=true: the authors' code. Its
            ema_gz is nu / (1 - alpha): its update, which seems to lack a factor, is the paper's.

    Raises ConfigError where group_scaling does not divide C.
    """

    name = "powernorm"
    over = "mean square; the batches before, one channel, all positions"
    paper = "Shen et al. 2020"
    about_zero = True
    histories = {"psi2": 0, "nu": 0}
    exact_gradient = False

    psi2: Tensor
    nu: Tensor
    steps: Tensor

    def __init__(
        self, site: Site, *, eps: float = 1e-5, alpha: float = 0.9, group_scaling: int = 1,
        warmup_epochs: float = 2.0, warmup_gradient: str = "exact", backward_scale: str = "moving",
        warmup_average: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(site, eps=eps, momentum=1 - alpha)
        if group_scaling < 0 or (group_scaling and self.channels % group_scaling):
            raise ConfigError(f"norm.group_scaling={group_scaling} does not divide a layer's {self.channels} channels")
        one_of("warmup_gradient", warmup_gradient, WARMUP_GRADIENTS)
        one_of("backward_scale", backward_scale, BACKWARD_SCALES)
        self.group_scaling = group_scaling
        self.warmup_epochs, self.warmup_steps = warmup_epochs, 10_000
        self.warmup_gradient, self.backward_scale = warmup_gradient, backward_scale
        self.warmup_average = warmup_average
        self.register_buffer("psi2", site.full(1.0, self.workers, self.channels))
        self.register_buffer("nu", site.full(0.0, self.workers, self.channels))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64, device=self.nu.device))

    def plan(self, *, sgd_batch: int, steps_per_epoch: int, epochs: int) -> None:
        self.warmup_steps = math.ceil(self.warmup_epochs * steps_per_epoch)

    def forward(self, y: Tensor) -> Tensor:
        return super().forward(_GroupScaling.apply(y, self.group_scaling, self.eps) if self.group_scaling else y)

    def normalize(self, y: Tensor, groups: int, update: bool) -> Tensor:
        with torch.no_grad():
            batch = mean_square(y, groups, self.channels)
            if self.training:
                cold = self.steps < self.warmup_steps
                psi2 = torch.where(cold, batch, self.psi2)
            else:  # eval_stats=batch: each mini-batch's own
                cold, psi2 = torch.ones_like(self.steps, dtype=torch.bool), batch
            psi2, exact = snapshot(psi2), snapshot(cold & (self.warmup_gradient == "exact"))
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
        self.follow(None, self.psi2, rate=1)


class _Power(torch.autograd.Function):
    """The forward formula, and the paper's backward pass, which moves nu."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, psi2: Tensor, batch: Tensor, exact: Tensor,
        nu: Tensor, rate: float, eps: float, divide_by_batch: bool,
    ) -> Tensor:  # fmt: skip
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
        dweight = inverse * products.view(-1, workers, channels).sum(0)  # sum of dL/dy X
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
