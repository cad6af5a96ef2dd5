"""What every norm with statistics of a batch is: running statistics, and who may move them."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from normbench.config import ConfigError
from normbench.kernels.values import statistics_dtype
from normbench.norms.base import Norm, Site
from normbench.parallel import dist
from normbench.parallel.workers import merge, split, tile


class RunningNorm(Norm):
    """The base of norms that train on statistics of a batch and evaluate with running ones.

    A subclass writes `normalize`, and `evaluate` where evaluation is not an affine layer with the
    running statistics. When which of them is called, whether anything may be remembered, and whose
    statistics are kept is settled here.

    Virtual workers: image i belongs to local worker i mod w, so a batch (n*w, C, ...) viewed as
    (n, w*C, ...), parallel.workers.split, has one channel for each pair of worker and channel.

    Shapes: y (N, C, ...) in and out
        weight, bias, running_mean, running_var: (C,)
    """

    about_zero: ClassVar[bool] = False  # running_var is a mean square, and running_mean stays 0

    running_mean: Tensor
    running_var: Tensor
    needs_measuring = False  # whether its statistics must be measured before training

    def __init__(self, site: Site, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(site)
        self.eps = eps
        self.momentum = momentum  # the weight of the new value in a running statistic
        self.register_buffer("running_mean", site.full(0.0))
        self.register_buffer("running_var", site.full(1.0))
        self.average_workers = False  # set by eval_stats=mean: keep the mean over the workers
        self.minibatch: int | None = None  # set by eval_stats=batch: images of a statistic
        # Count, sum and sum of squares; set by eval_stats=precise.
        self._measured: tuple[float, Tensor, Tensor] | None = None

    def normalize(self, y: Tensor, groups: int, update: bool) -> Tensor:
        """The output, by the statistics of y itself.

        groups: image i belongs to group i mod groups, and no statistic crosses a group's bounds: in
            training the local workers, in evaluation with eval_stats=batch the mini-batches.
        update: whether the running statistics, and whatever else is remembered, move one step on;
            `follow` moves them.
        """
        return self.batch_norm(y, groups, update)

    def evaluate(self, y: Tensor) -> Tensor:
        """The output by the running statistics."""
        return F.batch_norm(y, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)

    def forward(self, y: Tensor) -> Tensor:
        if self.training:
            return self.normalize(y, self.workers, update=self.observe(y))
        if self.minibatch is not None:
            return self.normalize(y, max(1, len(y) // self.minibatch), update=False)
        return self.evaluate(y)

    # ------------------------------------------------------------ for the layers

    def follow(self, mean: Tensor | None, var: Tensor, rate: float | None = None) -> None:
        """Moves the running statistics toward new ones, (workers, C) or what broadcasts to it.

        Worker 0's count, which DistributedDataParallel would save too; the mean over the workers
        where average_workers is set. A moving average is linear and all workers start alike, so
        averaging at every step is averaging at the end.
        rate: the weight of the new values, by default momentum; 1 puts them in place.
        """
        rate = self.momentum if rate is None else rate
        with torch.no_grad():
            for running, new in ((self.running_mean, mean), (self.running_var, var)):
                if new is None:
                    continue
                kept = new.mean(0) if self.average_workers else new[0]
                kept = kept.to(running.dtype).expand_as(running)
                if rate == 1:
                    running.copy_(kept)
                else:
                    running.lerp_(kept, rate)

    def batch_norm(self, y: Tensor, groups: int, update: bool) -> Tensor:
        """Batch normalization of each group by its own mean and variance, in one native call."""
        self.require_values(y, groups)
        mean, var = (tile(self.running_mean, groups), tile(self.running_var, groups)) if update else (None, None)
        weight, bias = self.tiled_affine(groups)
        cudnn = torch.backends.cudnn.enabled
        out = torch.batch_norm(split(y, groups), weight, bias, mean, var, True, self.momentum, self.eps, cudnn)
        if groups > 1 and mean is not None and var is not None:  # of one group they are the buffers
            self.follow(mean.view(groups, -1), var.view(groups, -1), rate=1)
        return merge(out, y)

    def tiled_affine(self, groups: int) -> tuple[Tensor, Tensor]:
        """gamma and beta once for each group, (groups * C,)."""
        weight, bias = self.affine()
        return tile(weight, groups), tile(bias, groups)

    def require_values(self, y: Tensor, groups: int) -> None:
        """Raises ConfigError where a group has one value per channel: its output would be beta."""
        if y.numel() // (groups * y.shape[1]) < 2:
            raise ConfigError(
                f"norm={self.name} needs two values per channel, got one: a worker has batch=1 and the map of this layer "
                "is 1x1; use batch=2 or more, or a batch-free norm such as norm=gn"
            )

    # ------------------------------------------------------------ statistics over many batches

    @property
    def measuring(self) -> bool:
        """Whether training-mode forwards only add up statistics and leave no other trace."""
        return self._measured is not None

    def observe(self, y: Tensor) -> bool:
        """Adds y to what is measured, if anything is; whether this is a training step."""
        if self.measuring:
            self.measure(y)
        return not self.measuring

    def start_measuring(self) -> None:
        """From here to finish_measuring, forwards add to (count, sum, sum of squares)."""
        zero = torch.zeros_like(self.running_mean, dtype=torch.float64)
        self._measured = (0.0, zero, zero.clone())

    def measure(self, y: Tensor) -> None:
        assert self._measured is not None
        count, total, squares = self._measured
        with torch.no_grad():
            var, mean = torch.var_mean(y.to(statistics_dtype(y)), [0, *range(2, y.dim())], correction=0)
            values = y.numel() // y.shape[1]
            mean, var = mean.double(), var.double()
            self._measured = (count + values, total + values * mean, squares + values * (var + mean * mean))

    def finish_measuring(self) -> None:
        """Makes what was measured, on all ranks together, the running statistics.

        The mean and the total variance of the images seen, var = E[x^2] - E[x]^2 (Wu & Johnson
        2021, section 3.2): the mean of per-batch variances would leave out the variance between
        batches, which is most of it at batch 1. A layer that normalizes nothing keeps what it has.
        """
        assert self._measured is not None
        count, total, squares = self._measured
        sums = dist.all_reduce(torch.cat([total.new_tensor([count]), total, squares]))
        self._measured = None
        if float(sums[0]) == 0:
            return
        mean, square = (sums[1:] / sums[0]).view(2, -1)
        self.running_mean.copy_(mean)
        self.running_var.copy_((square - mean * mean).clamp_min(0))
        if self.about_zero:
            self.running_var += self.running_mean.square()
            self.running_mean.zero_()
