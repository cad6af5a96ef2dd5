"""norm=mabn: moving statistics in the forward and in the backward pass."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from normbench.config import ConfigError
from normbench.kernels.filters import Centred
from normbench.kernels.ring import store, with_newest
from normbench.kernels.rows import mean_square, per_image, restored, scaled, scaled_gradient
from normbench.kernels.snapshot import snapshot
from normbench.norms.base import Site, one_of
from normbench.norms.running import RunningNorm

MOVING_OF = ("batch", "window")
STARTS = ("first", "one")


class MovingAverageBatchNorm(RunningNorm):
    """Batch normalization by moving averages in both passes (Yan et al. 2020, Algorithm 1).

        forward    Y = x / sqrt(chi_bar^2 + eps),  y = gamma_c r Y + beta_c
        backward   h = gamma_c r dL/dy,  dL/dx = (h - Y Psi_bar) / sqrt(chi_bar^2 + eps)

    chi^2: mean(x^2) over a worker's images and all positions of channel c. The conv's filters are
        centred (a parametrization, so its weight is found as parametrizations.weight.original),
        which spares the mean.
    chi_bar^2: the mean of the last m batches' chi^2.
    chi_hat^2: an exponential moving average of chi^2.
    r = clip(chi_bar / chi_hat, 1/limit, limit), a constant to the gradient.
    Psi_bar: the mean over the last m batches of Psi = mean(h Y). So the gradient is not that of the
        output: it is, where both windows hold one batch (m = 1, or before the warm-up is over).
    Training: until warmup_epochs, and until m batches have been seen, chi_bar and Psi_bar are the
        batch's own; until correction_epochs r = 1.
    Evaluation: y = gamma_c x / sqrt(running_var + eps) + beta_c, running_var being chi_hat^2;
        running_mean stays 0.

    Shapes: y (N, C, ...) in and out
        weight, bias, running_mean, running_var: (C,)
        chi_squares, psis: (m, workers, C), and chi_hat: (workers, C), each worker's own past

    Paper and code
        limit: the paper's lambda.
        warmup_epochs, correction_epochs: the 100 and 1000 steps of the authors' code in their
            epochs of 5000 steps; a layer that is not told the length of an epoch uses those steps.
        start=first: a short run is over before 0.98^steps is small.
        The authors' ImageNet code lets the groups of one step follow one another in the window, as
            if they were steps; here they are workers, as in their MABN.py.
        With a loss scaler (fp16) Psi is in units of the scaled loss.

    Raises ConfigError for a conv whose filters have a single weight: centred, it is 0.
    """

    name = "mabn"
    over = "mean square; the last m batches of a worker, one channel, all positions"
    paper = "Yan et al. 2020"
    alters_conv = True
    about_zero = True
    histories = {"chi_squares": 1, "psis": 1, "chi_hat": 0}
    exact_gradient = False

    chi_squares: Tensor
    chi_hat: Tensor
    psis: Tensor
    steps: Tensor
    backward_steps: Tensor

    def __init__(
        self, site: Site, *, eps: float = 1e-5, momentum: float = 0.02, imitate: int = 32,
        window: int | None = None, limit: float = 5.0, warmup_epochs: float = 0.02,
        correction_epochs: float = 0.2, moving_of: str = "batch", start: str = "first",
    ) -> None:  # fmt: skip
        super().__init__(site, eps=eps, momentum=momentum)
        if imitate < 1 or (window is not None and window < 1):
            raise ConfigError(f"norm.imitate={imitate} and norm.window={window}: images and batches, at least 1")
        one_of("moving_of", moving_of, MOVING_OF)
        one_of("start", start, STARTS)
        if site.conv.get_parameter("weight")[0].numel() == 1:
            raise ConfigError("norm=mabn centres each filter, and the filters of this conv have a single weight")
        parametrize.register_parametrization(site.conv, "weight", Centred())
        self.imitate, self.window = imitate, window
        self.limit = limit
        self.moving_of, self.start = moving_of, start
        self.warmup_epochs, self.warmup_steps = warmup_epochs, 100
        self.correction_epochs, self.correction_steps = correction_epochs, 1000
        each = (self.workers, self.channels)
        self.register_buffer("chi_squares", site.full(0.0, window or imitate, *each))
        self.register_buffer("psis", site.full(0.0, window or imitate, *each))
        self.register_buffer("chi_hat", site.full(1.0, *each))  # of the square
        for name in ("steps", "backward_steps"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64, device=self.chi_hat.device))

    def plan(self, *, sgd_batch: int, steps_per_epoch: int, epochs: int) -> None:
        self.warmup_steps = math.ceil(self.warmup_epochs * steps_per_epoch)
        self.correction_steps = math.ceil(self.correction_epochs * steps_per_epoch)

    def normalize(self, y: Tensor, groups: int, update: bool) -> Tensor:
        with torch.no_grad():
            chi2 = mean_square(y, groups, self.channels)
            if self.training:
                m = self.window or max(1, self.imitate * groups // len(y))
                chi_bar2, r, settled = self._moving(chi2, m, update)
            else:  # eval_stats=batch: each mini-batch's own
                m, chi_bar2, r, settled = 1, chi2, torch.ones_like(chi2), torch.zeros_like(self.steps, dtype=torch.bool)
        given = (y, self.weight, self.bias, chi_bar2, r, settled, self.psis, self.backward_steps, m, self.eps)
        return _Moving.apply(*given)

    def _moving(self, chi2: Tensor, m: int, update: bool) -> tuple[Tensor, Tensor, Tensor]:
        """chi_bar^2 and r of this batch, (workers, C) each, and whether the window counts yet."""
        step = self.steps + 1
        settled = step > max(self.warmup_steps, m - 1)
        chi_bar2 = torch.where(settled, with_newest(self.chi_squares[:m], chi2, self.steps), chi2)
        # before the first step there is no average to compare with
        moving = torch.where(self.steps > 0, self.chi_hat, chi_bar2) if self.start == "first" else self.chi_hat
        ratio = ((chi_bar2 + self.eps) / (moving + self.eps)).sqrt().clamp(1 / self.limit, self.limit)
        r = torch.where(step > self.correction_steps, ratio, 1.0)
        kept = snapshot(chi_bar2), snapshot(r), snapshot(settled)
        if update:
            store(self.chi_squares, chi2, self.steps, m)
            new = (chi2 if self.moving_of == "batch" else chi_bar2).to(self.chi_hat.dtype)
            moved = self.chi_hat.lerp(new, self.momentum)
            self.chi_hat.copy_(torch.where(self.steps > 0, moved, new) if self.start == "first" else moved)
            self.steps += 1
            self.follow(None, self.chi_hat, rate=1)
        return kept


class _Moving(torch.autograd.Function):
    """The forward formula, and the paper's backward pass, which keeps Psi in psis."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, chi_bar2: Tensor, r: Tensor, settled: Tensor,
        psis: Tensor, backward_steps: Tensor, m: int, eps: float,
    ) -> Tensor:  # fmt: skip
        inverse = (chi_bar2 + eps).rsqrt()
        scale = per_image(inverse * r * weight, x)
        ctx.save_for_backward(x, weight, inverse, r, settled)
        # Two buffers that the backward pass writes to. Whole: torch.compile would lose what is
        # written to a view.
        ctx.psis, ctx.backward_steps, ctx.m = psis, backward_steps, m
        return scaled(x, torch.zeros_like(scale), scale, bias.expand_as(scale))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, inverse, r, settled = ctx.saved_tensors
        psis, step, m = ctx.psis, ctx.backward_steps, ctx.m
        workers, channels = inverse.shape
        scale = per_image(inverse * r * weight, x)
        dx, products, sums = scaled_gradient(grads[0], x, torch.zeros_like(scale), scale)
        dweight = r * inverse * products.view(-1, workers, channels).sum(0)  # sum of dL/dy r Y
        psi = weight * dweight * (inverse.numel() / x.numel())
        psi_bar = torch.where(settled & (step >= m - 1), with_newest(psis[:m], psi, step), psi)
        store(psis, psi, step, m)
        step += 1
        rows = x.to(dx.dtype).reshape(dx.shape)
        dx = dx.addcmul(rows, per_image(-psi_bar * inverse.square(), x).view(1, -1, 1))
        return restored(dx, x), dweight.sum(0), sums.sum(0), None, None, None, None, None, None, None
