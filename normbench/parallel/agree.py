"""Whether any rank wants to stop: what all ranks must answer alike at every step."""

import torch
import torch.distributed as c10d

from normbench.parallel import dist


class AnyRank:
    """Called once a step by every rank, each with its own wish; all get one answer.

    The answer is that of the call before, so no step waits for the message; it goes over the CPU,
    so no GPU is waited for either. One process answers at once.
    """

    def __init__(self) -> None:
        self._many = dist.world_size() > 1
        self._group = dist.cpu_group() if self._many else None
        self._last: tuple[torch.Tensor, c10d.Work] | None = None

    def __call__(self, mine: bool) -> bool:
        if not self._many:
            return mine
        before, wish = self._last, torch.tensor([int(mine)])
        work = c10d.all_reduce(wish, c10d.ReduceOp.MAX, group=self._group, async_op=True)
        assert work is not None
        self._last = wish, work
        return before is not None and _answer(*before)

    def now(self, mine: bool) -> bool:
        """The answer to this very call, which waits for it."""
        earlier = self(mine)
        return self._settle() or earlier

    def _settle(self) -> bool:
        if self._last is None:
            return False
        last, self._last = self._last, None
        return _answer(*last)


def _answer(wish: torch.Tensor, work: c10d.Work) -> bool:
    work.wait()
    return bool(wish.item())
