"""Statistics over the mini-batches of one SGD batch: YOLOv4's cross-mini-batch normalization."""

import torch
from torch import Tensor, nn

from normbench.norms.batch import BatchNorm
from normbench.norms.native import Pooled, moments
from normbench.parallel import dist
from normbench.parallel.workers import merge, split


class CrossMiniBatchNorm(BatchNorm):
    """Batch normalization over the mini-batches so far of one SGD batch (Bochkovskiy et al. 2020, YOLOv4: CmBN).

    The mini-batches of an SGD batch are the workers' batches, with the same weights, in the order of the workers;
    real ones, which run side by side, tell each other their moments. Training: mini-batch j normalizes by mu_j = (m_0
    + ... + m_j) / (j+1) and sigma_j^2 = (q_0 + ... + q_j) / (j+1) - mu_j^2, m_i and q_i the means of x and of x^2
    over the images of mini-batch i and all positions of channel c; only its own m_j and q_j have a gradient. Nothing
    is carried from one SGD batch to the next, so nothing needs compensation; with one worker it is BN. running_mean
    and running_var move at every mini-batch toward mu_j and the unbiased sigma_j^2 (so darknet, whose momentum is per
    mini-batch too). Evaluation: running statistics; eval_stats=worker0 and mean are the same.

    Shapes: (N, C, ...) in and out; weight (gamma), bias (beta), running_mean, running_var (C,).
    Options: eps 1e-5. momentum 0.01 (darknet), the weight of the new value at each mini-batch.
    Darknet (batchnorm_layer.c, batch_normalize=2) divides the sum of squares by M - 1 and takes max(q, m^2); its x that
    came out infinite stays unnormalized. Neither is done here.
    Raises ConfigError as BatchNorm.
    """

    name = "cmbn"
    over = "the mini-batches so far of an SGD batch, one channel, all positions"
    paper = "Bochkovskiy et al. 2020"
    sequential = True  # a worker's output depends on the workers before it
    exact_gradient = False  # a mini-batch gets none from the statistics of those behind it

    def __init__(
        self, conv: nn.Module, *, relu: bool = False, workers: int = 1, eps: float = 1e-5, momentum: float = 0.01
    ) -> None:
        super().__init__(conv, relu=relu, workers=workers, eps=eps, momentum=momentum)

    def forward(self, y: Tensor) -> Tensor:
        if not self.training:
            return super().forward(y)
        self._require_values(y, self.workers)
        groups = split(y, self.workers)
        values = groups.numel() // groups.shape[1]
        with torch.no_grad():
            flat_mean, flat_var = moments(groups)
            own = torch.stack([flat_mean.view(self.workers, -1), flat_var.view(self.workers, -1)], 1)
            mean, var = dist.all_workers(own).unbind(1)  # (all workers, C), in their order
            before = torch.arange(len(mean), device=y.device, dtype=mean.dtype).unsqueeze(1)
            off = mean - mean[:1]  # means relative to the first: no cancellation in the variance
            square = var + off.square()
            off_sum, square_sum = off.cumsum(0), square.cumsum(0)
            past_off = (off_sum - off) / before.clamp_min(1)
            past_var = ((square_sum - square) / before.clamp_min(1) - past_off.square()).clamp_min(0)
            share = (1 / (before + 1)).expand_as(mean)
            if self._measured is not None:
                self._measure(y)
            else:
                seen = before + 1
                off_so_far = off_sum / seen
                var_so_far = (square_sum / seen - off_so_far.square()).clamp_min(0)
                self._run(mean[:1] + off_so_far, var_so_far * (seen * values / (seen * values - 1)))
        past = (dist.own_workers(v).flatten() for v in (past_off + mean[:1], past_var, share))
        batch = flat_mean, flat_var, torch.ones_like(flat_mean)
        out = Pooled.apply(groups, *batch, *past, *self._affine(self.workers), self.eps, True)
        return merge(out, y)

    def _run(self, mean: Tensor, var: Tensor) -> None:
        """One step of the running statistics for each mini-batch's (all workers, C) ones, in their order."""
        order = torch.arange(len(mean) - 1, -1, -1, device=mean.device, dtype=mean.dtype)
        part = (self.momentum * (1 - self.momentum) ** order).unsqueeze(1)
        kept = (1 - self.momentum) ** len(mean)
        running = [
            kept * old + (part * new).sum(0) for old, new in ((self.running_mean, mean), (self.running_var, var))
        ]
        self._keep(running[0].unsqueeze(0), running[1].unsqueeze(0))
