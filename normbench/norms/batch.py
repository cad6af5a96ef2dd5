"""norm=bn: batch normalization, a statistic per worker, with options for what it is taken over."""

import torch
import torch.nn.functional as F
from torch import Tensor

from normbench.config import ConfigError
from normbench.kernels.rows import row_affine, row_moments
from normbench.norms.base import Site, one_of
from normbench.norms.running import RunningNorm
from normbench.parallel import dist
from normbench.parallel.workers import merge, split

VARIANCES = ("unbiased", "biased", "total")


class BatchNorm(RunningNorm):
    """Batch normalization by the statistics of each worker's images (Ioffe & Szegedy 2015, Alg. 1).

        y = gamma_c (x - mu) / sqrt(var + eps) + beta_c

    mu, var: mean and biased variance over the images of a worker and all positions of channel c.
    Training: the batch's; running_mean and running_var are moving averages of mu and of the
        unbiased variance, as in torch.
    Evaluation: the running statistics in place of mu and var.

    Shapes: y (N, C, ...) in and out
        weight, bias, running_mean, running_var: (C,)

    Papers and code
        ghost (Hoffer et al. 2017): a worker's images are dealt to its ghosts in turn; the running
            statistics take the mean over the ghosts, where Hoffer's code lets each update in turn.
            eval_stats=batch takes whole mini-batches.
        variance=total (Summers & Dinneen 2020): the moving average of E[x^2] less the square of
            that of E[x]; it holds the variance between batches, most of it for small ones.
        example_weight (Summers & Dinneen 2020, "inference example weighing"): evaluation by (1 - a)
            x the running E[x], E[x^2] + a x the image's own. 1/n is the share that an image had in
            its own statistics in training; EvalNorm (Singh & Shrivastava 2019) corrects evaluation
            in the same way with weights that it learns.

    Raises ConfigError where a worker has a single value per channel, for an unknown variance, a
    weight beyond 0..1, a ghost that does not divide a worker's batch, and for variance=total under
    eval_stats=mean, since a mean of total variances is not the total of anything.
    """

    name = "bn"
    over = "a worker's images, one channel, all positions"
    paper = "Ioffe & Szegedy 2015"

    def __init__(
        self, site: Site, *, eps: float = 1e-5, momentum: float = 0.1, ghost: int | None = None,
        variance: str = "unbiased", example_weight: float | str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(site, eps=eps, momentum=momentum)
        one_of("variance", variance, VARIANCES)
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

    def normalize(self, y: Tensor, groups: int, update: bool) -> Tensor:
        ghosts = self._ghosts(len(y) // groups) if self.training else 1
        if (ghosts == 1 and self.variance == "unbiased") or not update:
            return self.batch_norm(y, groups * ghosts, update and ghosts == 1)
        self.require_values(y, groups * ghosts)
        mean, var = (self.running_mean.new_zeros(groups * ghosts * self.channels) for _ in range(2))
        # With momentum 1 the "running" statistics are this batch's, with the unbiased variance.
        affine = self.tiled_affine(groups * ghosts)
        out = merge(F.batch_norm(split(y, groups * ghosts), mean, var, *affine, True, 1.0, self.eps), y)
        # Image i is in group i mod (groups x ghosts), of worker i mod groups.
        shape = (ghosts, groups, self.channels)
        self._move(mean.view(shape), var.view(shape), y.numel() // mean.numel())
        return out

    def evaluate(self, y: Tensor) -> Tensor:
        if not self.example_weight:
            return super().evaluate(y)
        mean, var = row_moments(y, self.channels)
        a = self.example_weight
        between = mean - self.running_mean
        weighed = self.running_mean + a * between
        # E[x^2] - E[x]^2 of the mixture, without the difference of large numbers.
        weighed_var = (1 - a) * self.running_var + a * var + a * (1 - a) * between.square()
        weight, bias = self.affine()
        return row_affine(y, weighed, (weighed_var + self.eps).rsqrt() * weight, bias.expand_as(mean))

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
            between = self.momentum * (1 - self.momentum)
            self.running_var.lerp_(new_var + mean.var(0, correction=0), self.momentum)
            self.running_var.add_((new_mean - self.running_mean).square(), alpha=between)
        else:
            self.running_var.lerp_(new_var, self.momentum)
        self.running_mean.lerp_(new_mean, self.momentum)
