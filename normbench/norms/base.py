"""What every norm is: a module behind one conv, with gamma and beta per channel."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from normbench.config import ConfigError


class Norm(nn.Module):
    """The base of all norms. A subclass sets the class attributes and writes forward.

    weight (gamma, C) and bias (beta, C) are as torch names them; both None where a layer has none.
    """

    name: ClassVar[str] = ""  # what norm= calls it
    over: ClassVar[str] = ""  # what one statistic is taken over, for the table of norms
    paper: ClassVar[str] = ""  # where the layer comes from
    batch_free: ClassVar[bool] = False  # an image's output depends on that image alone
    owns_activation: ClassVar[bool] = False  # takes the place of the ReLU behind it too
    needs_input: ClassVar[bool] = False  # forward(y, x): wants the conv's input x beside its output y
    alters_conv: ClassVar[bool] = False  # reparametrizes the weight of its conv, which may then feed nothing else
    exact_gradient: ClassVar[bool] = True  # backward is forward's derivative; a paper may stop or replace gradients
    synchronized: ClassVar[bool] = False  # one statistic over all workers' images, so nothing is one worker's own
    sequential: ClassVar[bool] = False  # a worker's statistics hold those of the workers before it as well
    histories: ClassVar[dict[str, int]] = {}  # buffers in which each worker has its own past, and their axis of workers

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(self, conv: nn.Module, *, relu: bool = False, workers: int = 1, affine: bool = True) -> None:
        super().__init__()
        self.channels = out_channels(conv)
        self.workers = workers
        self.relu = relu
        like = next(conv.parameters())
        if affine:
            self.weight = nn.Parameter(torch.ones(self.channels, device=like.device, dtype=like.dtype))
            self.bias = nn.Parameter(torch.zeros(self.channels, device=like.device, dtype=like.dtype))
        else:
            self.register_parameter("weight", None)
            self.register_parameter("bias", None)

    def plan(self, *, sgd_batch: int, steps_per_epoch: int, epochs: int) -> None:
        """Told once, before training, how long the run is: schedules in images or epochs become steps here."""

    def remembered(self) -> Iterator[tuple[str, Tensor, int]]:
        """Name, buffer and axis of the workers for each history that this layer has."""
        for name, axis in self.histories.items():
            if name in self._buffers:  # an option may do without
                yield name, self.get_buffer(name), axis

    def extra_repr(self) -> str:
        return f"{self.channels}, workers={self.workers}"


def out_channels(conv: nn.Module) -> int:
    """The width of what a conv or linear layer puts out."""
    found = getattr(conv, "out_channels", None) or getattr(conv, "out_features", None)
    if not isinstance(found, int):
        raise ConfigError(f"a norm follows a conv or linear layer, got {type(conv).__name__}")
    return found


def statistics_dtype(x: Tensor) -> torch.dtype:
    """Statistics are kept in fp32, in fp64 for fp64 input, whatever the precision of the activations."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def per_channel(v: Tensor, like: Tensor) -> Tensor:
    """A (C,) vector in the shape that broadcasts over (N, C, ...)."""
    return v.view(1, -1, *[1] * (like.dim() - 2))
