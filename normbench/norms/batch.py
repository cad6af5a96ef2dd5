"""Batch normalization: per worker, over all workers, and frozen.

Virtual workers. Image i belongs to local worker i mod w, so the batch (n*w, C, H, W) viewed as (n, w*C, H, W) has one
channel for each pair of worker and channel, and one native call takes every worker's statistics. The view is free in NCHW.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules._functions import SyncBatchNorm as synchronized_kernels

from normbench.config import ConfigError
from normbench.hints import divisors
from normbench.norms.base import Norm, per_channel, statistics_dtype
from normbench.norms.running import follow
from normbench.parallel import dist
from normbench.parallel.workers import memory_format, merge, split, tile


class BatchNorm(Norm):
    """Batch normalization with the statistics of each worker's own images (Ioffe & Szegedy 2015, Algorithm 1).

    Training: y = gamma_c (x - mu) / sqrt(var + eps) + beta_c, mu and the biased var over the n images of a worker and all
    positions of channel c. running_mean and running_var are moving averages, new = (1 - momentum) old + momentum x batch,
    of mu and of the unbiased variance, as in torch; they are worker 0's, which DDP would save too, or the mean over the
    workers where average_workers is set. Evaluation: running statistics in place of mu and var.

    Shapes: (N, C, ...) in and out; weight (gamma), bias (beta), running_mean, running_var (C,).
    Options: eps 1e-5; momentum 0.1, the weight of the new value.
    Raises ConfigError in the forward pass where a worker has a single value per channel: its output would be beta whatever
    the input.
    """

    over = "a worker's images, one channel, all positions"
    paper = "Ioffe & Szegedy 2015"

    running_mean: Tensor
    running_var: Tensor
    needs_measuring = False  # whether its statistics must be measured before training

    def __init__(
        self, conv: nn.Module, *, relu: bool = False, workers: int = 1, eps: float = 1e-5, momentum: float = 0.1
    ) -> None:
        super().__init__(conv, relu=relu, workers=workers)
        self.eps = eps
        self.momentum = momentum
        like = next(conv.parameters())
        self.register_buffer("running_mean", torch.zeros(self.channels, device=like.device, dtype=like.dtype))
        self.register_buffer("running_var", torch.ones(self.channels, device=like.device, dtype=like.dtype))
        self.average_workers = False  # set by eval_stats=mean
        self.minibatch: int | None = None  # set by eval_stats=batch: images a statistic is taken over in evaluation
        # count, sum, sum of squares; set by eval_stats=precise
        self._measured: tuple[float, Tensor, Tensor] | None = None

    def forward(self, y: Tensor) -> Tensor:
        if self.training:
            return self._batch_norm(y, self.workers, update=True)
        if self.minibatch is not None:
            return self._batch_norm(y, max(1, len(y) // self.minibatch), update=False)
        return F.batch_norm(y, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)

    def _batch_norm(self, y: Tensor, groups: int, update: bool) -> Tensor:
        """Normalizes each of the interleaved groups by its own statistics."""
        self._require_values(y, groups)
        if self._measured is not None:
            self._measure(y)
            update = False
        mean, var = (tile(self.running_mean, groups), tile(self.running_var, groups)) if update else (None, None)
        weight, bias = self._affine(groups)
        cudnn = torch.backends.cudnn.enabled
        out = torch.batch_norm(split(y, groups), weight, bias, mean, var, True, self.momentum, self.eps, cudnn)
        out = merge(out, y)
        if groups > 1 and mean is not None and var is not None:  # with one worker they are the buffers themselves
            self._keep(mean.view(groups, -1), var.view(groups, -1))
        return out

    def _affine(self, groups: int) -> tuple[Tensor | None, Tensor | None]:
        if self.weight is None or self.bias is None:
            return None, None
        return tile(self.weight, groups), tile(self.bias, groups)

    def _keep(self, mean: Tensor, var: Tensor) -> None:
        """Keeps worker 0's new running statistics of the (workers, C) ones, or the mean over the local workers.

        The moving average is linear and all workers start alike, so averaging at every step is averaging at the end.
        """
        with torch.no_grad():
            self.running_mean.copy_(mean.mean(0) if self.average_workers else mean[0])
            self.running_var.copy_(var.mean(0) if self.average_workers else var[0])

    def _require_values(self, y: Tensor, groups: int) -> None:
        if y.numel() // (groups * y.shape[1]) < 2:
            raise ConfigError(
                f"norm={self.name} needs two values per channel, got one: a worker has batch=1 and the map of this layer "
                "is 1x1; use batch=2 or more, or a batch-free norm such as norm=gn"
            )

    # ------------------------------------------------------------ statistics over many batches (eval_stats=precise)

    def start_measuring(self) -> None:
        """From here to finish_measuring, training-mode forwards add to (count, sum, sum of squares)."""
        zero = torch.zeros(self.channels, device=self.running_mean.device, dtype=torch.float64)
        self._measured = (0.0, zero, zero.clone())

    def _measure(self, y: Tensor) -> None:
        assert self._measured is not None
        count, total, squares = self._measured
        with torch.no_grad():
            var, mean = torch.var_mean(y.to(statistics_dtype(y)), [0, *range(2, y.dim())], correction=0)
            values = y.numel() // y.shape[1]
            mean, var = mean.double(), var.double()
            self._measured = (count + values, total + values * mean, squares + values * (var + mean * mean))

    def finish_measuring(self) -> None:
        """Makes what was measured, on all ranks together, the running statistics.

        The mean and the total variance of the images seen, var = E[x^2] - E[x]^2 (Wu & Johnson 2021, section 3.2): the mean
        of per-batch variances would leave out the variance between batches, which is most of it at batch 1.
        """
        assert self._measured is not None
        count, total, squares = self._measured
        sums = dist.all_reduce(torch.cat([total.new_tensor([count]), total, squares]))
        self._measured = None
        mean, square = (sums[1:] / sums[0]).view(2, -1)
        self.running_mean.copy_(mean)
        self.running_var.copy_((square - mean * mean).clamp_min(0))


class SyncBatchNorm(BatchNorm):
    """Batch normalization over the images of several workers together (Peng et al. 2018, MegDet, section 3.3).

    Training: as BatchNorm, mu and the biased var over the images of all workers, or of sync_size of them: worker i is of
    group i // sync_size. Every rank adds what its workers have to the groups' sums, and to those of the squares about the
    means; the gradient goes back through the same all-reduces. With one process and one group it is batch normalization of
    the SGD batch, and on CUDA with several it is torch's own kernels, as in nn.SyncBatchNorm. Runs on CPU too.
    Evaluation: as BatchNorm; running_mean and running_var are those of worker 0's group, or the mean over the workers.

    Shapes: as BatchNorm. Options: as BatchNorm; sync_size null: workers that share a statistic, all of them; 1 is bn.
    Raises ConfigError where sync_size does not divide the workers, and as BatchNorm.
    """

    name = "syncbn"
    over = "all workers' images, one channel, all positions"
    paper = "Peng et al. 2018"
    synchronized = True

    def __init__(
        self,
        conv: nn.Module,
        *,
        relu: bool = False,
        workers: int = 1,
        eps: float = 1e-5,
        momentum: float = 0.1,
        sync_size: int | None = None,
    ) -> None:
        super().__init__(conv, relu=relu, workers=workers, eps=eps, momentum=momentum)
        total = workers * dist.world_size()
        self.sync_size = total if sync_size is None else sync_size
        if self.sync_size < 1 or total % self.sync_size:
            raise ConfigError(f"norm.sync_size={sync_size} must divide the {total} workers: one of {divisors(total)}")

    def _batch_norm(self, y: Tensor, groups: int, update: bool) -> Tensor:
        together = self.sync_size == self.workers * dist.world_size()
        if not self.training or (together and dist.world_size() == 1):
            return super()._batch_norm(y, 1 if self.training else groups, update)
        if self._measured is not None:
            self._measure(y)
            update = False
        return self._native(y, update) if together and y.is_cuda else self._reduced(y, update)

    def _reduced(self, y: Tensor, update: bool) -> Tensor:
        """By differentiable all-reduces of (groups, C) sums: on any device, for any groups."""
        workers, ranks = self.workers, dist.world_size()
        order = torch.arange(workers, device=y.device) * ranks + dist.rank()
        group = order // self.sync_size  # of each local worker
        groups = workers * ranks // self.sync_size
        x = split(y.to(statistics_dtype(y)), workers)
        axes = [0, *range(2, x.dim())]
        values = x.numel() // x.shape[1] * self.sync_size  # every worker has as many images

        def mean_of_group(v: Tensor) -> Tensor:
            """The mean over a worker's group, (workers, C), of what v has of each of its images and positions."""
            own = v.sum(axes).view(workers, -1)
            sums = dist.all_reduce(own.new_zeros(groups, own.shape[1]).index_add(0, group, own))
            return sums.index_select(0, group) / values

        mean = mean_of_group(x)
        centred = x - per_channel(mean.flatten(), x)
        var = mean_of_group(centred * centred)
        if update:
            follow(self.running_mean, mean.detach(), self.momentum, self.average_workers)
            follow(self.running_var, var.detach() * (values / (values - 1)), self.momentum, self.average_workers)
        out = centred * per_channel((var + self.eps).rsqrt().flatten(), x)
        weight, bias = self._affine(workers)
        if weight is not None and bias is not None:
            out = out * per_channel(weight, x) + per_channel(bias, x)
        return merge(out.to(y.dtype), y)

    def _native(self, y: Tensor, update: bool) -> Tensor:
        """By the kernels of nn.SyncBatchNorm, over the images of all ranks."""
        running = (self.running_mean, self.running_var) if update else (None, None)
        world, ranks = torch.distributed.group.WORLD, dist.world_size()
        y = y.contiguous(memory_format=memory_format(y))
        out: Tensor = synchronized_kernels.apply(
            y, self.weight, self.bias, *running, self.eps, self.momentum, world, ranks
        )
        return out


class FrozenBatchNorm(SyncBatchNorm):
    """Batch normalization as a fixed affine layer (He et al. 2016; Wu & Johnson 2021, section 3.4: FrozenBN).

    y = gamma_c (x - running_mean) / sqrt(running_var + eps) + beta_c in training and evaluation, with statistics that no
    step changes: those of a checkpoint, or measured once over training images before training, while each layer normalizes
    by the statistics of the SGD batch.

    Shapes: as BatchNorm. Options: eps 1e-5. checkpoint: the checkpoint.pt to start from, weights and statistics; null:
    measure. train_affine: whether gamma and beta are learned (true) or fixed too (detectron2's FrozenBatchNorm2d).
    """

    name = "frozen"
    over = "nothing: fixed statistics"
    paper = "Wu & Johnson 2021"
    batch_free = True
    synchronized = False  # but while measuring

    def __init__(
        self,
        conv: nn.Module,
        *,
        relu: bool = False,
        workers: int = 1,
        eps: float = 1e-5,
        checkpoint: str | None = None,
        train_affine: bool = True,
    ) -> None:
        super().__init__(conv, relu=relu, workers=workers, eps=eps, momentum=0.0)
        self.needs_measuring = checkpoint is None
        for parameter in (self.weight, self.bias):
            if parameter is not None:
                parameter.requires_grad_(train_affine)

    def forward(self, y: Tensor) -> Tensor:
        if self._measured is not None:
            return self._batch_norm(y, self.workers, update=False)
        return F.batch_norm(y, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
