"""A ring of the last m values, (m, ...), each at the place of its step modulo m."""

from torch import Tensor


def with_newest(ring: Tensor, newest: Tensor, step: Tensor) -> Tensor:
    """The mean of a ring (m, ...) once the newest values have taken the place of the oldest."""
    oldest = ring.index_select(0, (step % len(ring)).view(1))[0]
    return (ring.sum(0) - oldest + newest) / len(ring)


def store(ring: Tensor, newest: Tensor, step: Tensor, m: int) -> None:
    """Puts the newest values in the place of the oldest of the first m."""
    ring.index_copy_(0, (step % m).view(1), newest.to(ring.dtype).unsqueeze(0))
