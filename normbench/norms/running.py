"""Running statistics, and whose they are."""

import torch
from torch import Tensor


@torch.no_grad()
def follow(running: Tensor, new: Tensor, rate: float, average: bool) -> None:
    """Moves a running statistic by `rate` toward worker 0's new value of the (workers, ...) ones, or toward their mean.

    The moving average is linear and all workers start alike, so averaging at every step is averaging at the end.
    """
    kept = new.mean(0) if average else new[0]
    running.lerp_(kept.to(running.dtype).expand_as(running), rate)
