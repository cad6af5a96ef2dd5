"""Virtual workers: image i of a batch belongs to local worker i mod w.

That is DistributedSampler's assignment continued inside a rank: rank r of R takes positions r, r+R,
r+2R, ... of the SGD batch, and its j-th image belongs to worker (r + jR) mod W. So the same images
meet in the same statistic for every R.
"""

import torch
from torch import Tensor


def split(x: Tensor, workers: int) -> Tensor:
    """(n*w, C, ...) as (n, w*C, ...): channel j*C + c holds channel c of worker j.

    A free view of a contiguous tensor.
    """
    if workers == 1:
        return x
    return x.reshape(len(x) // workers, workers * x.shape[1], *x.shape[2:])


def tile(v: Tensor, workers: int) -> Tensor:
    """A (C,) vector once for each worker, (w*C,). Several times faster than v.repeat(workers)."""
    return v if workers == 1 else v.expand(workers, -1).reshape(-1)


def merge(x: Tensor, like: Tensor) -> Tensor:
    """The inverse of split, in the shape and memory format of `like`."""
    if x.shape == like.shape:
        return x
    # x is nobody else's, so this need not be a view: through one, an in-place ReLU would cost
    # autograd a copy
    out: Tensor = torch.ops.aten._unsafe_view(x.contiguous(), like.shape)
    return out.contiguous(memory_format=memory_format(like))


def memory_format(x: Tensor) -> torch.memory_format:
    """channels_last for a tensor that is laid out so and not contiguous as well."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    wanted = formats.get(x.dim())
    if wanted is not None and not x.is_contiguous() and x.is_contiguous(memory_format=wanted):
        return wanted
    return torch.contiguous_format
