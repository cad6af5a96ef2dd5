"""norm=bn: BatchNorm with options for how many images a statistic is over, and for what evaluation makes of them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normbench.config import ConfigError
from normbench.norms.batch import BatchNorm
from normbench.norms.moments import row_affine, row_moments
from normbench.parallel import dist
from normbench.parallel.workers import merge, split, tile

VARIANCES = ("unbiased", "biased", "total")


class PlainBatchNorm(BatchNorm):
    """BatchNorm: y = gamma_c (x - mu) / sqrt(var + eps) + beta_c, mu and var over a worker's images; see there.

    With its defaults it is that layer, bit for bit. The state is torch's with every option.
    Options: eps 1e-5. momentum 0.1, the weight of the new value.
    ghost null, the worker's batch: the images of a worker that a training statistic is over (Ghost BN, Hoffer et al. 2017).
    A worker's images are dealt to its ghosts in turn; running statistics take the mean over its ghosts, where Hoffer's code
    lets each ghost update them in turn. Evaluation with eval_stats=batch takes whole mini-batches.
    variance: whose moving average running_var is: "unbiased", of the batch's unbiased variance, as torch has it; "biased",
    of that which training divides by; "total", of E[x^2], less the square of that of E[x] (Summers & Dinneen 2020): so the
    variance between batches counts, which is most of it for small ones.
    example_weight null (0), a: evaluation by (1 - a) x the running E[x], E[x^2] + a x those of the image itself (Summers &
    Dinneen 2020, "inference example weighing"). "auto": a = 1/n, the share that an image had in its own statistics of n
    images in training; EvalNorm (Singh & Shrivastava 2019) corrects evaluation in the same way with weights it learns.
    Raises ConfigError for an unknown variance, a weight beyond 0..1 and a ghost that does not divide a worker's batch; and
    in training with variance=total and eval_stats=mean, since a mean of total variances is not the total of anything.
    """

    name = "bn"

    def __init__(
        self,
        conv: nn.Module,
        *,
        relu: bool = False,
        workers: int = 1,
        eps: float = 1e-5,
        momentum: float = 0.1,
        ghost: int | None = None,
        variance: str = "unbiased",
        example_weight: float | str | None = None,
    ) -> None:
        super().__init__(conv, relu=relu, workers=workers, eps=eps, momentum=momentum)
        if variance not in VARIANCES:
            raise ConfigError(f"norm.variance={variance}: one of {', '.join(VARIANCES)}")
        if example_weight != "auto" and not (
            isinstance(example_weight or 0.0, (int, float)) and 0 <= float(example_weight or 0.0) <= 1
        ):
            raise ConfigError(f"norm.example_weight={example_weight}: a weight from 0 to 1, or auto")
        if ghost is not None and ghost < 1:
            raise ConfigError(f"norm.ghost={ghost}: images, at least 1; null for the worker's batch")
        self.ghost, self.variance = ghost, variance
        self.weighs_itself = example_weight == "auto"  # then plan() knows the weight
        self.example_weight = 0.0 if self.weighs_itself else float(example_weight or 0.0)

    def plan(self, *, sgd_batch: int, steps_per_epoch: int, epochs: int) -> None:
        if self.weighs_itself:
            images = self.ghost or sgd_batch // (self.workers * dist.world_size())
            self.example_weight = 1 / images

    def forward(self, y: Tensor) -> Tensor:
        if self.training or self.minibatch is not None or not self.example_weight:
            return super().forward(y)
        mean, var = row_moments(y, self.channels)
        a = self.example_weight
        between = mean - self.running_mean
        weighed = self.running_mean + a * between
        # E[x^2] - E[x]^2 of the mixture, without the difference of large numbers
        weighed_var = (1 - a) * self.running_var + a * var + a * (1 - a) * between.square()
        scale = (weighed_var + self.eps).rsqrt()
        if self.weight is None or self.bias is None:
            return row_affine(y, weighed, scale, torch.zeros_like(scale))
        return row_affine(y, weighed, scale * self.weight, self.bias.expand_as(scale))

    def _batch_norm(self, y: Tensor, groups: int, update: bool) -> Tensor:
        ghosts = self._ghosts(len(y) // groups) if self.training else 1
        if (ghosts == 1 and self.variance == "unbiased") or not update or self._measured is not None:
            return super()._batch_norm(y, groups * ghosts, update and ghosts == 1)
        self._require_values(y, groups * ghosts)
        mean, var = (
            torch.zeros_like(tile(running, groups * ghosts)) for running in (self.running_mean, self.running_var)
        )
        # With momentum 1 the "running" statistics are this batch's, with the unbiased variance
        weight, bias = self._affine(groups * ghosts)
        out = merge(F.batch_norm(split(y, groups * ghosts), mean, var, weight, bias, True, 1.0, self.eps), y)
        shape = (ghosts, groups, self.channels)  # image i is in group i mod (groups x ghosts), of worker i mod groups
        self._move(mean.view(shape), var.view(shape), y.numel() // mean.numel())
        return out

    def _ghosts(self, images: int) -> int:
        if self.ghost is None:
            return 1
        if images % self.ghost:
            raise ConfigError(f"norm.ghost={self.ghost} does not divide the {images} images of a worker")
        return images // self.ghost

    @torch.no_grad()
    def _move(self, mean: Tensor, var: Tensor, values: int) -> None:
        """Moves the running statistics toward those of the batch, each (ghosts, workers, C)."""
        if not self.average_workers:
            mean, var = mean[:, :1], var[:, :1]
        mean, var = mean.flatten(0, 1), var.flatten(0, 1)
        if self.variance != "unbiased":
            var = var * ((values - 1) / values)
        new_mean, new_var = mean.mean(0), var.mean(0)
        if self.variance == "total":
            if self.average_workers:
                raise ConfigError(
                    "norm.variance=total is one worker's; instead of eval_stats=mean use eval_stats=precise"
                )
            share = self.momentum * (1 - self.momentum)
            self.running_var.lerp_(new_var + mean.var(0, correction=0), self.momentum)
            self.running_var.add_((new_mean - self.running_mean).square(), alpha=share)
        else:
            self.running_var.lerp_(new_var, self.momentum)
        self.running_mean.lerp_(new_mean, self.momentum)
