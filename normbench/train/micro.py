"""train.micro_workers: a rank's virtual workers, a few at a time where not all fit in memory."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from normbench.config import ConfigError
from normbench.hints import divisors
from normbench.models import norm_layers
from normbench.models.dropout import PositionedDropout
from normbench.norms import Norm, RunningNorm
from normbench.parallel import dist
from normbench.parallel.workers import memory_format
from normbench.runs import Run
from normbench.train.task import Batch


class MicroWorkers:
    """Deals a rank's share of an SGD batch out in parts of some workers each; gradients add up.

    A statistic is a worker's own, so the numbers are those of one forward with all of them. For
    each part the norms are told of its workers only: a history is narrowed to theirs, and every
    other buffer starts from what it was before the step. What is kept of those is what the first
    part left, in which worker 0 is, or the mean over the parts of the running statistics where they
    are means over the workers.
    """

    def __init__(self, run: Run, model: nn.Module) -> None:
        """Raises ConfigError for a size that does not divide the workers or the norm forbids."""
        self.workers = run.workers // dist.world_size()
        self.size = run.train.micro_workers or self.workers
        if self.workers % self.size:
            raise ConfigError(
                f"train.micro_workers={self.size} must divide the {self.workers} workers that each process plays: "
                f"one of {divisors(self.workers)}"
            )
        self._layers = list(norm_layers(model).values())
        self._dropouts = [m for m in model.modules() if isinstance(m, PositionedDropout)]
        if self.size < self.workers and any(layer.synchronized or layer.sequential for layer in self._layers):
            raise ConfigError(
                f"train.micro_workers={self.size}: norm={run.norm.name} needs the images of all workers at once; "
                "leave it out, or start more processes (torchrun)"
            )

    @property
    def loss_weight(self) -> float:
        """A part's weight in the SGD batch's mean loss; gradients add up over parts and ranks."""
        return self.size / self.workers / dist.world_size()

    def parts(self, batch: Batch) -> Iterator[Batch]:
        """The parts in the order of their workers; each is used up before the next is asked for."""
        if self.size == self.workers:
            yield batch
            return
        before = [_common(layer) for layer in self._layers]
        histories = [list(layer.remembered()) for layer in self._layers]
        kept: list[dict[str, Tensor]] = []
        generator = _generator(batch[0].device)
        drawn = generator.get_state() if self._dropouts else None
        for first in range(0, self.workers, self.size):
            for dropout in self._dropouts:
                dropout.part = first, self.size, self.workers
            if drawn is not None:  # each part draws the masks of all images, the same ones
                generator.set_state(drawn)
            for layer, values, own in zip(self._layers, before, histories, strict=True):
                layer.workers = self.size
                _put(layer, values)
                for name, buffer, axis in own:
                    setattr(layer, name, buffer.narrow(axis, first, self.size))
            images, labels = batch
            yield self._of(images, first), self._of(labels, first)
            found = [_common(layer) for layer in self._layers]
            if first == 0:
                kept = found
            for layer, mean, values in zip(self._layers, kept, found, strict=True):
                if isinstance(layer, RunningNorm) and layer.average_workers:
                    for name in ("running_mean", "running_var"):
                        part = values[name] * (self.size / self.workers)
                        mean[name] = part if first == 0 else mean[name] + part
        for dropout in self._dropouts:
            dropout.part = None
        for layer, values, own in zip(self._layers, kept, histories, strict=True):
            layer.workers = self.workers
            _put(layer, values)
            for name, buffer, _ in own:
                setattr(layer, name, buffer)

    def _of(self, x: Tensor, first: int) -> Tensor:
        """The images of the workers from `first` on; image i is of local worker i mod workers."""
        by_worker = x.unflatten(0, (-1, self.workers)).narrow(1, first, self.size)
        return by_worker.flatten(0, 1).contiguous(memory_format=memory_format(x))


def _generator(device: torch.device) -> torch.Generator:
    """What dropout draws from."""
    if device.type != "cuda":
        return torch.default_generator
    index = device.index if device.index is not None else torch.cuda.current_device()
    return torch.cuda.default_generators[index]


def _common(layer: Norm) -> dict[str, Tensor]:
    """Copies of the buffers in which no worker has a part of its own."""
    return {name: b.clone() for name, b in layer.named_buffers(recurse=False) if name not in layer.histories}


@torch.no_grad()
def _put(layer: Norm, values: dict[str, Tensor]) -> None:
    for name, value in values.items():
        layer.get_buffer(name).copy_(value)
