"""The process group, and what one process does in its place: nothing.

The code path for one process is that for eight.
"""

import os
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import cache
from typing import Any

import torch
import torch.distributed as c10d
from torch import Tensor

from normbench.config import ConfigError
from normbench.hints import again

TIMEOUT = timedelta(minutes=30)


def start(device: str) -> None:
    """Joins the process group that torchrun's variables describe."""
    cuda = device != "cpu" and torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    c10d.init_process_group("nccl" if cuda else "gloo", timeout=TIMEOUT)


def stop() -> None:
    """Leaves the process group; every rank calls it.

    A gloo thread frees a collective's tensors after the caller has gone on, and takes the
    interpreter's lock for it: where the interpreter is ending by then, the process aborts. So it is
    given a moment in which nobody holds that lock.
    """
    if _many():
        gloo = c10d.get_backend() == "gloo"
        if gloo:
            c10d.barrier()
        c10d.destroy_process_group()
        if gloo:
            time.sleep(0.1)


def _many() -> bool:
    return c10d.is_available() and c10d.is_initialized()


@cache
def cpu_group() -> c10d.ProcessGroup | None:
    """A group for messages from CPU to CPU; None, the group of all others, where that is one.

    Every rank calls it.
    """
    if c10d.get_backend() == "gloo":
        return None
    group = c10d.new_group(backend="gloo")
    assert isinstance(group, c10d.ProcessGroup)
    return group


def rank() -> int:
    return c10d.get_rank() if _many() else 0


def world_size() -> int:
    return c10d.get_world_size() if _many() else 1


def broadcast(value: Any) -> Any:
    """Rank 0's value, on every rank."""
    if not _many():
        return value
    box = [value]
    c10d.broadcast_object_list(box, src=0)
    return box[0]


def from_rank_0(ask: Callable[[], Any]) -> Any:
    """What rank 0 is answered, on every rank; a ConfigError there is one everywhere.

    So is an OSError: a full disk, a folder that cannot be written.
    """
    answer: tuple[Any, str | None] = None, None
    if rank() == 0:
        try:
            answer = ask(), None
        except ConfigError as e:
            answer = None, str(e)
        except OSError as e:
            answer = None, again(e)
    value, refused = broadcast(answer)
    if refused is not None:
        raise ConfigError(refused)
    return value


def first_answer(value: Any) -> Any:
    """The first rank's value that is not None, on every rank; None where all are."""
    if not _many():
        return value
    values: list[Any] = [None] * world_size()
    c10d.all_gather_object(values, value)
    return next((v for v in values if v is not None), None)


class _Sum(torch.autograd.Function):
    """The sum over ranks.

    Every rank's loss depends on every rank's input, so the gradient is summed as well.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        c10d.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone()
        c10d.all_reduce(total)
        return total


def all_reduce(x: Tensor) -> Tensor:
    """The sum of x over all ranks, differentiable."""
    return _Sum.apply(x) if _many() else x


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replaces each gradient by its sum over the ranks, one message for all of them."""
    if world_size() == 1:
        return
    grads = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in grads])
    c10d.all_reduce(flat)
    for grad, total in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        grad.copy_(total.view_as(grad))


def all_workers(x: Tensor, axis: int = 0) -> Tensor:
    """What each rank's local workers have along an axis, as all workers': r + jR is j of rank r.

    No gradient goes back through it.
    """
    if world_size() == 1:
        return x
    parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(world_size())]
    c10d.all_gather(parts, x.detach().contiguous())
    return torch.stack(parts, axis + 1).flatten(axis, axis + 1)


def own_workers(x: Tensor, axis: int = 0) -> Tensor:
    """This rank's part of what all_workers gives: a view."""
    at = [slice(None)] * axis
    return x[(*at, slice(rank(), None, world_size()))]


def equalize(buffers: Iterable[Tensor], average: bool = False) -> None:
    """Gives every rank the values of rank 0, or their mean over the ranks, in place."""
    if world_size() == 1:
        return
    for buffer in buffers:
        if average:
            c10d.all_reduce(buffer)
            buffer /= world_size()
        else:
            c10d.broadcast(buffer, src=0)
