"""norm=sn: a learned mixture of the statistics of IN, LN and BN."""

import torch
from torch import Tensor, nn

from normbench.kernels.rows import pool, row_affine, row_moments
from normbench.norms.base import Site
from normbench.norms.running import RunningNorm

Moments = tuple[Tensor, Tensor]  # mean and variance


class SwitchableNorm(RunningNorm):
    """Statistics mixed from those of instance, layer and batch norm (Luo et al. 2019, section 2.1).

        y = gamma_c (x - mu) / sqrt(var + eps) + beta_c
        mu = sum_k p_k mu_k,  var = sum_k q_k var_k,  k in (IN, LN, BN)

    mu_IN, var_IN: over the positions of one image and channel.
    mu_LN, var_LN: over all channels of one image.
    mu_BN, var_BN: over a worker's images, one channel. All variances are biased.
    p = softmax(mean_weight), q = softmax(var_weight): learned, equal at first.
    Training: mu_BN, var_BN of the batch; running_mean and running_var are their moving averages.
    Evaluation: the running statistics in place of mu_BN and var_BN.

    Shapes: y (N, C, ...) in and out
        weight, bias, running_mean, running_var: (C,)
        mean_weight, var_weight: (3,), in the order IN, LN, BN; (2,) without BN

    Paper and code
        using_bn=false: the paper's form for one image per worker; no image depends on another's.
        On a 1x1 map, where var_IN = 0, the authors' code divides by H W - 1 and gives NaN.
        The authors' "batch average", statistics of many batches after training, is
            eval_stats=precise.
    """

    name = "sn"
    over = "IN, LN and BN statistics, mixed by learned weights"
    paper = "Luo et al. 2019"

    def __init__(self, site: Site, *, eps: float = 1e-5, momentum: float = 0.1, using_bn: bool = True) -> None:
        super().__init__(site, eps=eps, momentum=momentum)
        self.using_bn = using_bn
        self.mean_weight = nn.Parameter(site.full(1.0, 3 if using_bn else 2))
        self.var_weight = nn.Parameter(site.full(1.0, 3 if using_bn else 2))

    def normalize(self, y: Tensor, groups: int, update: bool) -> Tensor:
        return self._mixed(y, groups, None, update)

    def evaluate(self, y: Tensor) -> Tensor:
        return self._mixed(y, 1, (self.running_mean, self.running_var), update=False)

    def _mixed(self, y: Tensor, groups: int, bn: Moments | None, update: bool) -> Tensor:
        """By the mixture, its BN part given or taken over each group of images."""
        rows = row_moments(y, self.channels)
        mean, var = (v.view(-1, groups, self.channels) for v in rows)  # IN's
        parts = [(mean, var), pool(mean, var, 2)]
        if self.using_bn:
            parts.append(bn or pool(mean, var, 0))
            if update:
                self.follow(parts[2][0][0], parts[2][1][0])
        p, q = self.mean_weight.softmax(0), self.var_weight.softmax(0)
        mu = sum((p[k] * part[0] for k, part in enumerate(parts)), torch.zeros_like(p[0]))
        total = sum((q[k] * part[1] for k, part in enumerate(parts)), torch.zeros_like(q[0]))
        weight, bias = self.affine()
        scale = (total + self.eps).rsqrt() * weight
        shift = (mean - mu) * scale + bias
        return row_affine(y, rows[0], scale.view_as(rows[0]), shift.view_as(rows[0]))
