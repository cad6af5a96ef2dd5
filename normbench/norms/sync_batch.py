"""norm=syncbn: batch normalization over the images of several workers."""

import torch
from torch import Tensor
from torch.nn.modules._functions import SyncBatchNorm as synchronized_kernels

from normbench.config import ConfigError
from normbench.hints import divisors
from normbench.kernels.values import per_channel, statistics_dtype
from normbench.norms.base import Site
from normbench.norms.running import RunningNorm
from normbench.parallel import dist
from normbench.parallel.workers import memory_format, merge, split


class SyncBatchNorm(RunningNorm):
    """Batch norm by one statistic for several workers (Peng et al. 2018, MegDet, section 3.3).

        y = gamma_c (x - mu) / sqrt(var + eps) + beta_c

    mu, var: the mean and biased variance over the images of all workers, or of sync_size of them
        (worker i is of group i // sync_size), and all positions of channel c.
    Training: every rank adds what its workers have to the groups' sums, then to those of the
        squares about the means; the gradient goes back through the same all-reduces. In one process
        with one group it is BN of the SGD batch; on CUDA in several it is torch's kernels.
    Evaluation: running_mean and running_var, of worker 0's group or the mean over the workers.

    Shapes: y (N, C, ...) in and out
        weight, bias, running_mean, running_var: (C,)

    Raises ConfigError where sync_size does not divide the workers, for one value per channel.
    """

    name = "syncbn"
    over = "all workers' images, one channel, all positions"
    paper = "Peng et al. 2018"
    synchronized = True

    def __init__(self, site: Site, *, eps: float = 1e-5, momentum: float = 0.1, sync_size: int | None = None) -> None:
        super().__init__(site, eps=eps, momentum=momentum)
        total = self.workers * dist.world_size()
        self.sync_size = total if sync_size is None else sync_size
        if self.sync_size < 1 or total % self.sync_size:
            raise ConfigError(f"norm.sync_size={sync_size} must divide the {total} workers: one of {divisors(total)}")

    def normalize(self, y: Tensor, groups: int, update: bool) -> Tensor:
        if not self.training:  # eval_stats=batch: each mini-batch's own
            return self.batch_norm(y, groups, update)
        return over_workers(self, y, self.sync_size, update)


def over_workers(norm: RunningNorm, y: Tensor, size: int, update: bool) -> Tensor:
    """Batch normalization by the statistics of each `size` workers, whichever ranks they are on."""
    together = size == norm.workers * dist.world_size()
    if together and dist.world_size() == 1:
        return norm.batch_norm(y, 1, update)
    return _native(norm, y, update) if together and y.is_cuda else _reduced(norm, y, size, update)


def _reduced(norm: RunningNorm, y: Tensor, size: int, update: bool) -> Tensor:
    """By differentiable all-reduces of (groups, C) sums: on any device, for any groups."""
    workers, ranks = norm.workers, dist.world_size()
    order = torch.arange(workers, device=y.device) * ranks + dist.rank()
    group = order // size  # of each local worker
    groups = workers * ranks // size
    x = split(y.to(statistics_dtype(y)), workers)
    axes = [0, *range(2, x.dim())]
    values = x.numel() // x.shape[1] * size  # every worker has as many images

    def mean_of_group(v: Tensor) -> Tensor:
        """The mean over a worker's group, (workers, C), of v's value at each image and position."""
        own = v.sum(axes).view(workers, -1)
        sums = dist.all_reduce(own.new_zeros(groups, own.shape[1]).index_add(0, group, own))
        return sums.index_select(0, group) / values

    mean = mean_of_group(x)
    centred = x - per_channel(mean.flatten(), x)
    var = mean_of_group(centred * centred)
    if update:
        norm.follow(mean.detach(), var.detach() * (values / (values - 1)))
    weight, bias = norm.tiled_affine(workers)
    out = centred * per_channel((var + norm.eps).rsqrt().flatten(), x)
    out = out * per_channel(weight, x) + per_channel(bias, x)
    return merge(out.to(y.dtype), y)


def _native(norm: RunningNorm, y: Tensor, update: bool) -> Tensor:
    """By the kernels of nn.SyncBatchNorm, over the images of all ranks."""
    running = (norm.running_mean, norm.running_var) if update else (None, None)
    world, ranks = torch.distributed.group.WORLD, dist.world_size()
    y = y.contiguous(memory_format=memory_format(y))
    out: Tensor = synchronized_kernels.apply(y, norm.weight, norm.bias, *running, norm.eps, norm.momentum, world, ranks)
    return out
