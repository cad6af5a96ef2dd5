"""norm=brn: each batch corrected toward the moving statistics it will be evaluated with."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from normbench.config import ConfigError
from normbench.kernels.channels import channel_moments, normalize, normalize_backward
from normbench.kernels.snapshot import snapshot
from normbench.norms.base import Site
from normbench.norms.running import RunningNorm
from normbench.parallel.workers import merge, split

# The paper's schedule, in its steps of 50 x 32 images: plain BN, then both bounds open.
PAPER_STEPS, PAPER_BN, PAPER_RMAX, PAPER_DMAX = 160_000, 5_000, 40_000, 25_000


class BatchRenorm(RunningNorm):
    """Batch normalization corrected toward each worker's moving statistics (Ioffe 2017, Alg. 1).

        y = gamma_c (r (x - mu_B) / sigma_B + d) + beta_c
        r = sigma_B / sigma within [1/rmax, rmax],  d = (mu_B - mu) / sigma within [-dmax, dmax]

    mu_B, sigma_B = sqrt(var_B + eps): with the mean and biased variance over the images of a worker
        and all positions of channel c.
    mu, sigma: the worker's moving averages; the standard deviation is averaged, not the variance.
    r and d are constants to the gradient; rmax = 1, dmax = 0 is exactly BN.
    Training: afterwards mu += momentum (mu_B - mu) and sigma += momentum (sigma_B - sigma). Both
        bounds open in linear ramps from 1 and 0 that start after bn_epochs and end at rmax_epochs
        and dmax_epochs. Every worker has a history of its own, as without a broadcast of buffers it
        would; measuring precise statistics leaves the histories as they are.
    Evaluation: y = gamma_c (x - mu) / sigma + beta_c, kept as running_mean and running_var =
        sigma^2 - eps.

    Shapes: y (N, C, ...) in and out
        weight, bias, running_mean, running_var: (C,)
        moving_mean, moving_std: (workers, C)

    Paper and code
        eps: the paper names none; public code has 1e-3.
        bn_epochs, rmax_epochs, dmax_epochs: left open (null) they are the paper's parts of the run:
            5k, 40k and 25k of its 160k steps of 1600 images, or 1/32, 1/4 and 5/32, which on
            ImageNet were epochs 6.2, 50 and 31 of 200. A layer that was never told the run's length
            takes the paper's steps.
        warm_average=false (paper): the averages begin at 0 and 1 and take several 1/momentum steps
            to forget that, which the paper's 5,000 steps of BN outlast and a short run's do not.
            After those 5,000 the two agree.

    Raises ConfigError for rmax < 1, dmax < 0, a ramp that ends before it starts, and for a single
    value per channel.
    """

    name = "brn"
    over = "a worker's images, one channel, all positions, corrected toward moving statistics"
    paper = "Ioffe 2017"
    histories = {"moving_mean": 0, "moving_std": 0}
    exact_gradient = False  # r and d are constants to it

    moving_mean: Tensor
    moving_std: Tensor
    steps: Tensor

    def __init__(
        self, site: Site, *, eps: float = 1e-5, momentum: float = 0.01, rmax: float = 3.0,
        dmax: float = 5.0, bn_epochs: float | None = None, rmax_epochs: float | None = None,
        dmax_epochs: float | None = None, warm_average: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(site, eps=eps, momentum=momentum)
        if rmax < 1 or dmax < 0:
            raise ConfigError(f"norm=brn has rmax >= 1 and dmax >= 0, got rmax={rmax}, dmax={dmax}; 1 and 0 make it BN")
        self.rmax, self.dmax = rmax, dmax
        self.epochs = bn_epochs, rmax_epochs, dmax_epochs
        self.warm_average = warm_average
        self.ramps: tuple[float, float, float] = (PAPER_BN, PAPER_RMAX, PAPER_DMAX)  # in steps
        self.register_buffer("moving_mean", site.full(0.0, self.workers, self.channels))
        self.register_buffer("moving_std", site.full(1.0, self.workers, self.channels))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64, device=self.running_mean.device))
        self.running_var.fill_(1 - eps)

    def plan(self, *, sgd_batch: int, steps_per_epoch: int, epochs: int) -> None:
        parts = [steps / PAPER_STEPS * epochs for steps in (PAPER_BN, PAPER_RMAX, PAPER_DMAX)]
        start, *ends = [part if given is None else given for given, part in zip(self.epochs, parts, strict=True)]
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

    def normalize(self, y: Tensor, groups: int, update: bool) -> Tensor:
        if not self.training:  # eval_stats=batch: each mini-batch's own
            return self.batch_norm(y, groups, update)
        self.require_values(y, groups)
        state = self.moving_mean.flatten(), self.moving_std.flatten(), *self.bounds()
        affine = self.tiled_affine(groups)
        out, mean, std = _Renormalize.apply(split(y, groups), *affine, *map(snapshot, state), self.eps)
        if update:
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
        self.follow(self.moving_mean, self.moving_std.square() - self.eps, rate=1)


class _Renormalize(torch.autograd.Function):
    """gamma (r z + d) + beta, z = (x - mu_B) / sigma_B; and mu_B, sigma_B per channel of x.

    To the gradient it is BN with weight gamma r: r and d are constants. So forward is BN's two
    passes with r and d applied in the second, and backward is BN's own.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, moving_mean: Tensor, moving_std: Tensor,
        rmax: Tensor, dmax: Tensor, eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        mean, var = channel_moments(x)
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
