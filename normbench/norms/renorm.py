"""Batch Renormalization: each batch corrected toward the moving statistics it will be evaluated with."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from normbench.config import ConfigError
from normbench.norms.batch import BatchNorm
from normbench.norms.native import moments, normalize, normalize_backward
from normbench.norms.snapshot import snapshot
from normbench.parallel.workers import merge, split

# The paper's schedule, in its steps of 50 x 32 images: plain BN, then both bounds open
PAPER_STEPS, PAPER_BN, PAPER_RMAX, PAPER_DMAX = 160_000, 5_000, 40_000, 25_000


class BatchRenorm(BatchNorm):
    """Batch normalization corrected toward each worker's moving statistics (Ioffe 2017, Algorithm 1).

    Training: y = gamma_c (r (x - mu_B) / sigma_B + d) + beta_c, with sigma_B = sqrt(var_B + eps), r = sigma_B / sigma
    within [1/rmax, rmax] and d = (mu_B - mu) / sigma within [-dmax, dmax]; r and d are constants to the gradient. mu_B
    and the biased var_B are over the n images of a worker and all positions of channel c. Afterwards mu += momentum
    (mu_B - mu) and sigma += momentum (sigma_B - sigma): the moving standard deviation, not the variance. rmax = 1, dmax
    = 0 is exactly BN.
    Evaluation: y = gamma_c (x - mu) / sigma + beta_c, kept as running_mean and running_var = sigma^2 - eps.

    Every worker renormalizes by a history of its own, moving_mean and moving_std (workers, C), as without a broadcast
    of buffers it would; running_mean and running_var are worker 0's, or the mean over the workers. Measuring precise
    statistics leaves the histories as they are.

    Shapes: (N, C, ...) in and out; weight (gamma), bias (beta), running_mean, running_var (C,).
    Options: eps 1e-5 (the paper names none; public code has 1e-3). momentum 0.01, the weight of the new value. rmax 3
    and dmax 5, reached from 1 and 0 by linear ramps: both start after bn_epochs epochs, rmax ends at epoch rmax_epochs,
    dmax at dmax_epochs. Left open (null) they are the paper's shares of the run: 5k, 40k and 25k of its 160k steps of
    1600 images, or 1/32, 1/4 and 5/32, which on ImageNet were epochs 6.2, 50 and 31 of 200. A layer that was never told
    the run's length takes the paper's steps. warm_average true: the moving averages begin as plain averages of the
    steps so far, so that they are of use when the ramps start; false (paper): they begin at 0 and 1 and take several
    1/momentum steps to forget that, which the paper's 5,000 steps of BN outlast and a short run's do not. After those
    5,000 the two agree.
    Raises ConfigError for rmax < 1, dmax < 0, a ramp that ends before it starts, and as BatchNorm for a single value.
    """

    name = "brn"
    over = "a worker's images, one channel, all positions, corrected toward moving statistics"
    paper = "Ioffe 2017"
    exact_gradient = False  # r and d are constants to it
    histories = {"moving_mean": 0, "moving_std": 0}

    moving_mean: Tensor
    moving_std: Tensor
    steps: Tensor

    def __init__(
        self,
        conv: nn.Module,
        *,
        relu: bool = False,
        workers: int = 1,
        eps: float = 1e-5,
        momentum: float = 0.01,
        rmax: float = 3.0,
        dmax: float = 5.0,
        bn_epochs: float | None = None,
        rmax_epochs: float | None = None,
        dmax_epochs: float | None = None,
        warm_average: bool = True,
    ) -> None:
        super().__init__(conv, relu=relu, workers=workers, eps=eps, momentum=momentum)
        if rmax < 1 or dmax < 0:
            raise ConfigError(f"norm=brn has rmax >= 1 and dmax >= 0, got rmax={rmax}, dmax={dmax}; 1 and 0 make it BN")
        self.rmax, self.dmax = rmax, dmax
        self.epochs = bn_epochs, rmax_epochs, dmax_epochs
        self.warm_average = warm_average
        self.ramps: tuple[float, float, float] = (PAPER_BN, PAPER_RMAX, PAPER_DMAX)  # in steps; plan() sets them
        like = self.running_mean
        self.register_buffer("moving_mean", like.new_zeros(workers, self.channels))
        self.register_buffer("moving_std", like.new_ones(workers, self.channels))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64, device=like.device))
        self.running_var.fill_(1 - eps)

    def plan(self, *, sgd_batch: int, steps_per_epoch: int, epochs: int) -> None:
        shares = [steps / PAPER_STEPS * epochs for steps in (PAPER_BN, PAPER_RMAX, PAPER_DMAX)]
        start, *ends = [share if given is None else given for given, share in zip(self.epochs, shares, strict=True)]
        if start < 0 or min(ends) < start:
            raise ConfigError(
                f"norm=brn opens its bounds from epoch bn_epochs={start:g} on, so rmax_epochs={ends[0]:g} and "
                f"dmax_epochs={ends[1]:g} must not be smaller"
            )
        self.ramps = (start * steps_per_epoch, ends[0] * steps_per_epoch, ends[1] * steps_per_epoch)

    def bounds(self) -> tuple[Tensor, Tensor]:
        """rmax and dmax at the present step."""
        start, rmax_end, dmax_end = self.ramps
        since = self.steps.to(self.moving_std.dtype) - start
        opened = [(since / max(end - start, 1.0)).clamp(0.0, 1.0) for end in (rmax_end, dmax_end)]
        return 1 + (self.rmax - 1) * opened[0], self.dmax * opened[1]

    def forward(self, y: Tensor) -> Tensor:
        if not self.training:
            return super().forward(y)
        self._require_values(y, self.workers)
        if self._measured is not None:
            self._measure(y)
        state = self.moving_mean.flatten(), self.moving_std.flatten(), *self.bounds()
        x = split(y, self.workers)
        out, mean, std = _Renormalize.apply(x, *self._affine(self.workers), *map(snapshot, state), self.eps)
        if self._measured is None:
            self._remember(mean.view_as(self.moving_mean), std.view_as(self.moving_std))
        return merge(out, y)

    @torch.no_grad()
    def _remember(self, mean: Tensor, std: Tensor) -> None:
        """Moves every worker's averages one step on, and what evaluation uses with them."""
        self.steps += 1
        part = torch.full_like(self.steps, self.momentum, dtype=self.moving_std.dtype)
        if self.warm_average:
            part = torch.maximum(part, 1 / self.steps.to(part.dtype))
        self.moving_mean.lerp_(mean.to(self.moving_mean.dtype), part)
        self.moving_std.lerp_(std.to(self.moving_std.dtype), part)
        self._keep(self.moving_mean, self.moving_std.square() - self.eps)


class _Renormalize(torch.autograd.Function):
    """x -> gamma (r z + d) + beta with z = (x - mu_B) / sigma_B, and the mu_B and sigma_B it used, one per channel of
    x.

    To the gradient it is BN with weight gamma r: r and d are constants. So forward is BN's two passes with r and d
    applied in the second, and backward is BN's own.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        moving_mean: Tensor,
        moving_std: Tensor,
        rmax: Tensor,
        dmax: Tensor,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean, var = moments(x)
        std = (var + eps).sqrt()
        r = (std / moving_std).clamp(1 / rmax, rmax)
        d = ((mean - moving_mean) / moving_std).clamp(-dmax, dmax)
        gamma, beta = weight.to(std.dtype), bias.to(std.dtype)
        ctx.save_for_backward(x, weight, mean, std, r, d)
        ctx.mark_non_differentiable(mean, std)
        return normalize(x, mean, gamma * r / std, gamma * d + beta), mean, std

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, std, r, d = ctx.saved_tensors
        dx, along, total = normalize_backward(grad, x, mean, 1 / std, weight.to(std.dtype) * r)
        dweight, dbias = (r * along + d * total).to(weight.dtype), total.to(weight.dtype)
        return dx, dweight, dbias, None, None, None, None, None
