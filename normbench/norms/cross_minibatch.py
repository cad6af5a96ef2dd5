"""norm=cmbn: statistics over the mini-batches of one SGD batch, YOLOv4's normalization."""

import torch
from torch import Tensor

from normbench.kernels.channels import Pooled, channel_moments
from normbench.norms.base import Site
from normbench.norms.running import RunningNorm
from normbench.parallel import dist
from normbench.parallel.workers import merge, split


class CrossMiniBatchNorm(RunningNorm):
    """Batch normalization over the mini-batches so far of one SGD batch (Bochkovskiy et al. 2020).

        y = gamma_c (x - mu_j) / sqrt(sigma_j^2 + eps) + beta_c
        mu_j = (m_0 + ... + m_j) / (j+1),  sigma_j^2 = (q_0 + ... + q_j) / (j+1) - mu_j^2

    The mini-batches of an SGD batch are the workers' batches, with the same weights, in the order
    of the workers; real ones, which run side by side, tell each other their moments.
    m_i, q_i: the means of x and of x^2 over the images of mini-batch i and all positions of channel
        c. Of mini-batch j only its own m_j and q_j have a gradient.
    Training: nothing is carried from one SGD batch to the next, so nothing needs compensation; with
        one worker it is BN. running_mean and running_var move at every mini-batch toward mu_j and
        the unbiased sigma_j^2.
    Evaluation: running statistics; eval_stats=worker0 and mean are the same.

    Shapes: y (N, C, ...) in and out
        weight, bias, running_mean, running_var: (C,)

    Code (darknet's batchnorm_layer.c, batch_normalize=2)
        Its momentum is per mini-batch too. It divides the sum of squares by M - 1 and takes
        max(q, m^2), and leaves x that came out infinite unnormalized: neither is done here.

    Raises ConfigError for a single value per channel.
    """

    name = "cmbn"
    over = "the mini-batches so far of an SGD batch, one channel, all positions"
    paper = "Bochkovskiy et al. 2020"
    sequential = True  # a worker's output depends on the workers before it
    exact_gradient = False  # a mini-batch gets none from the statistics of those behind it

    def __init__(self, site: Site, *, eps: float = 1e-5, momentum: float = 0.01) -> None:
        super().__init__(site, eps=eps, momentum=momentum)

    def normalize(self, y: Tensor, groups: int, update: bool) -> Tensor:
        if not self.training:  # eval_stats=batch: each mini-batch's own
            return self.batch_norm(y, groups, update)
        self.require_values(y, groups)
        x = split(y, groups)
        values = x.numel() // x.shape[1]
        with torch.no_grad():
            flat_mean, flat_var = channel_moments(x)
            own = torch.stack([flat_mean.view(groups, -1), flat_var.view(groups, -1)], 1)
            mean, var = dist.all_workers(own).unbind(1)  # (all workers, C), in their order
            before = torch.arange(len(mean), device=y.device, dtype=mean.dtype).unsqueeze(1)
            off = mean - mean[:1]  # means relative to the first: no cancellation in the variance
            square = var + off.square()
            off_sum, square_sum = off.cumsum(0), square.cumsum(0)
            past_off = (off_sum - off) / before.clamp_min(1)
            past_var = ((square_sum - square) / before.clamp_min(1) - past_off.square()).clamp_min(0)
            weight_of_own = (1 / (before + 1)).expand_as(mean)
            if update:
                seen = before + 1
                off_so_far = off_sum / seen
                var_so_far = (square_sum / seen - off_so_far.square()).clamp_min(0)
                self._run(mean[:1] + off_so_far, var_so_far * (seen * values / (seen * values - 1)))
        past = (dist.own_workers(v).flatten() for v in (past_off + mean[:1], past_var, weight_of_own))
        batch = flat_mean, flat_var, torch.ones_like(flat_mean)
        out = Pooled.apply(x, *batch, *past, *self.tiled_affine(groups), self.eps, True)
        return merge(out, y)

    def _run(self, mean: Tensor, var: Tensor) -> None:
        """One step of the running statistics per mini-batch, (all workers, C), in their order."""
        order = torch.arange(len(mean) - 1, -1, -1, device=mean.device, dtype=mean.dtype)
        part = (self.momentum * (1 - self.momentum) ** order).unsqueeze(1)
        kept = (1 - self.momentum) ** len(mean)
        moved = [kept * old + (part * new).sum(0) for old, new in ((self.running_mean, mean), (self.running_var, var))]
        self.follow(moved[0].unsqueeze(0), moved[1].unsqueeze(0), rate=1)
