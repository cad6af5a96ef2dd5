"""Switchable normalization: a learned mixture of the statistics of IN, LN and BN."""

import torch
from torch import Tensor, nn

from normbench.norms.batch import BatchNorm
from normbench.norms.moments import pool, row_affine, row_moments
from normbench.norms.running import follow


class SwitchableNorm(BatchNorm):
    """Statistics mixed from those of instance, layer and batch normalization (Luo et al. 2019, section 2.1).

    y = gamma_c (x - mu) / sqrt(var + eps) + beta_c with mu = sum_k p_k mu_k and var = sum_k q_k var_k, k in (IN, LN,
    BN): mu_IN, var_IN over the positions of one image and channel; mu_LN, var_LN over all channels of one image; mu_BN,
    var_BN over a worker's images, one channel. p = softmax(mean_weight), q = softmax(var_weight), learned, equal at
    first. All variances are biased. Training: mu_BN, var_BN of the batch; running_mean and running_var are their moving
    averages, worker 0's or the mean over the workers. Evaluation: running statistics in place of mu_BN and var_BN.

    Shapes: (N, C, ...) in and out; weight (gamma), bias (beta), running_mean, running_var (C,); mean_weight, var_weight
    (3,), in the order IN, LN, BN; (2,) without BN.
    Options: eps 1e-5. momentum 0.1, the weight of the new value. using_bn true; false: IN and LN alone, the paper's
    form for one image per worker; then no image's output depends on another's.
    Finite on a 1x1 map, where var_IN = 0. The authors' code divides by H W - 1 there and gives NaN. Their "batch
    average" for evaluation, statistics of many batches after training, is eval_stats=precise.
    """

    name = "sn"
    over = "IN, LN and BN statistics, mixed by learned weights"
    paper = "Luo et al. 2019"

    def __init__(
        self,
        conv: nn.Module,
        *,
        relu: bool = False,
        workers: int = 1,
        eps: float = 1e-5,
        momentum: float = 0.1,
        using_bn: bool = True,
    ) -> None:
        super().__init__(conv, relu=relu, workers=workers, eps=eps, momentum=momentum)
        self.using_bn = using_bn
        self.mean_weight = nn.Parameter(self.running_mean.new_ones(3 if using_bn else 2))
        self.var_weight = nn.Parameter(self.running_mean.new_ones(3 if using_bn else 2))

    def forward(self, y: Tensor) -> Tensor:
        if self.training or self.minibatch is not None:
            return super().forward(y)
        return self._mixed(y, 1, self.running_mean, self.running_var)

    def _batch_norm(self, y: Tensor, groups: int, update: bool) -> Tensor:
        if self._measured is not None:
            self._measure(y)
            update = False
        return self._mixed(y, groups, update=update)

    def _mixed(
        self, y: Tensor, groups: int, mean_bn: Tensor | None = None, var_bn: Tensor | None = None, update: bool = False
    ) -> Tensor:
        """Normalizes by the mixture, its BN part given or taken over each of the interleaved groups of images."""
        moments = row_moments(y, self.channels)
        mean, var = (
            v.view(-1, groups, self.channels) for v in moments
        )  # IN's, of (image of a worker, worker, channel)
        parts = [(mean, var), pool(mean, var, 2)]
        if self.using_bn:
            if mean_bn is None or var_bn is None:
                mean_bn, var_bn = pool(mean, var, 0)
            parts.append((mean_bn, var_bn))
            if update:
                follow(self.running_mean, mean_bn[0], self.momentum, self.average_workers)
                follow(self.running_var, var_bn[0], self.momentum, self.average_workers)
        p, q = self.mean_weight.softmax(0), self.var_weight.softmax(0)
        assert self.weight is not None and self.bias is not None
        mu = sum((p[k] * part[0] for k, part in enumerate(parts)), torch.zeros_like(p[0]))
        total = sum((q[k] * part[1] for k, part in enumerate(parts)), torch.zeros_like(q[0]))
        scale = (total + self.eps).rsqrt() * self.weight
        shift = (mean - mu) * scale + self.bias
        return row_affine(y, moments[0], scale.view_as(moments[0]), shift.view_as(moments[0]))
