"""What every norm is: a module behind one conv, with gamma and beta per channel."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from normbench.config import ConfigError


@dataclass(frozen=True)
class Site:
    """What a norm is built for.

    conv: the Conv1d, Conv2d, Conv3d or Linear layer whose output it normalizes.
    relu: whether a ReLU follows; only a norm that owns its activation acts on it.
    workers: the local (virtual) workers whose images a batch interleaves: image i belongs to
        worker i mod workers.
    """

    conv: nn.Module
    relu: bool = False
    workers: int = 1

    @property
    def channels(self) -> int:
        """The width of what the conv puts out; ConfigError for what is no conv."""
        found = getattr(self.conv, "out_channels", None) or getattr(self.conv, "out_features", None)
        if not isinstance(found, int):
            raise ConfigError(f"a norm follows a conv or linear layer, got {type(self.conv).__name__}")
        return found

    def full(self, value: float, *shape: int) -> Tensor:
        """A tensor of one value with the conv's dtype and device; its shape is (C,) by default."""
        like = next(self.conv.parameters())
        return torch.full(shape or (self.channels,), value, device=like.device, dtype=like.dtype)


class Norm(nn.Module):
    """The base of all norms. A subclass sets the class attributes and writes forward.

    weight (gamma) and bias (beta), (C,) each, are as torch names them; None where a layer has none.
    """

    name: ClassVar[str] = ""  # what norm= calls it
    over: ClassVar[str] = ""  # what one statistic is taken over, for the table of norms
    paper: ClassVar[str] = ""  # where the layer comes from
    batch_free: ClassVar[bool] = False  # an image's output depends on that image alone
    owns_activation: ClassVar[bool] = False  # takes the place of the ReLU behind it too
    needs_input: ClassVar[bool] = False  # forward(y, x): wants the conv's input x beside its output
    alters_conv: ClassVar[bool] = False  # reparametrizes its conv, which may then feed nothing else
    sequential: ClassVar[bool] = False  # a worker's statistics hold those of the workers before it
    # The buffers in which each worker has a past of its own, and their axis of workers.
    histories: ClassVar[dict[str, int]] = {}

    exact_gradient = True  # backward is forward's derivative; a paper may stop or replace gradients
    synchronized = False  # one statistic over all workers' images, so nothing is one worker's own

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.channels, self.workers, self.relu = site.channels, site.workers, site.relu
        self.weight = nn.Parameter(site.full(1.0))
        self.bias = nn.Parameter(site.full(0.0))

    def plan(self, *, sgd_batch: int, steps_per_epoch: int, epochs: int) -> None:
        """Told once, before training, how long the run is: epochs and images become steps here."""

    def affine(self) -> tuple[Tensor, Tensor]:
        """gamma and beta of a layer that has them."""
        assert self.weight is not None and self.bias is not None
        return self.weight, self.bias

    def carried(self) -> tuple[Tensor, Tensor] | None:
        """What the next step pools with its own batch; None for a norm that carries no batches on.

        Worker 0's means of x and of x^2, (past batches, C) each, the newest first.
        """
        return None

    def remembered(self) -> Iterator[tuple[str, Tensor, int]]:
        """Name, buffer and axis of the workers for each history that this layer has."""
        for name, axis in self.histories.items():
            if name in self._buffers:  # an option may do without
                yield name, self.get_buffer(name), axis

    def extra_repr(self) -> str:
        return f"{self.channels}, workers={self.workers}"


def one_of(option: str, value: object, choices: tuple[str, ...]) -> None:
    """Raises ConfigError where an option's value is none of its choices."""
    if value not in choices:
        raise ConfigError(f"norm.{option}={value}: one of {', '.join(choices)}")
