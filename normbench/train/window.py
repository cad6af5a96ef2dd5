"""How far the weights move the statistics of the batches in a window, and what of it is carried."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from normbench.norms import Norm

EPS = 1e-5  # added to a variance, as in the norms: a channel that is all but constant says little


@dataclass(frozen=True)
class Batch:
    """Worker 0's images before the layer's conv, and the statistics behind it, (C,) each."""

    x: Tensor
    mean: Tensor
    square: Tensor


class Window:
    """Of a norm that carries its last batches' statistics on (cbn): how well it does.

    A batch tau steps ago had the mean m_then behind the layer's conv; under the weights of now it
    has m_true, which this computes anew from the conv's input that it kept; the norm uses
    m_carried. All in fp64, of worker 0, and likewise for the mean square. Of each difference the
    root mean square over channels and past batches, in units of the present batch's sigma (sigma^2
    for the mean square):

        moved   m_true - m_then       what the layer's weights did to the batch
        missed  m_true - m_carried    what the compensation left of it
        apart   m_present - m_true    what still lies between two batches: other images, and what
                                      the layers before did, whose change no norm here carries

    So 1 - (missed / moved)^2 is the share of the change that the compensation explains: 1 is all of
    it, 0 is none. Inputs are kept for the steps that a line needs, and forgotten with every
    checkpoint, so that a resumed run writes the lines of an uncut one; past_batches says how many
    of the window a line is of.
    """

    def __init__(self, layer: Norm, conv: nn.Module, every: int) -> None:
        """conv: the one in front of the layer; every: steps between two lines."""
        self._layer, self._conv, self._every = layer, conv, every
        with torch.no_grad():
            found = layer.carried()
        self._length = 0 if found is None else len(found[0])
        self._past: list[Batch] = []  # the newest first

    def wants(self, step: int) -> bool:
        """Whether to look at a step: a line is due, or a later one needs its images."""
        return self._length > 0 and (step % self._every == 0 or self._keeps(step))

    def look(self, step: int, x: Tensor) -> dict[str, Any]:
        """Takes the conv's input before the norm is called; a line's numbers where one is due."""
        if not self._layer.training:  # frozen: it has no window
            return {}
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            mine = x[:: self._layer.workers].clone()  # image i is of local worker i mod workers
            present = Batch(mine, *self._statistics(mine))
            line = self._line(present) if step % self._every == 0 else {}
        self._past = [present, *self._past][: self._length] if self._keeps(step) else []
        return line

    def forget(self) -> None:
        """Drops the images that were kept."""
        self._past = []

    def _keeps(self, step: int) -> bool:
        """Whether the next line after this step has the step in its window."""
        return self._every - step % self._every <= self._length

    def _line(self, present: Batch) -> dict[str, Any]:
        carried = self._layer.carried()
        assert carried is not None
        sigma = (present.square - present.mean.square()).clamp_min(0).add(EPS).sqrt()
        under_present = [self._statistics(past.x) for past in self._past]
        line: dict[str, Any] = {"past_batches": len(self._past)}
        for place, (name, unit) in enumerate((("mean", sigma), ("square", sigma.square()))):
            then = _stacked([getattr(past, name) for past in self._past], unit)
            true = _stacked([found[place] for found in under_present], unit)
            line[f"moved_{name}"] = _rms((true - then) / unit)
            line[f"missed_{name}"] = _rms((true - carried[place][: len(true)]) / unit)
            line[f"apart_{name}"] = _rms((getattr(present, name) - true) / unit)
        return line

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and mean square of each channel behind the conv as its weights are now, in fp64."""
        tensors = {**dict(self._conv.named_parameters()), **dict(self._conv.named_buffers())}
        y: Tensor = torch.func.functional_call(
            self._conv, {name: tensor.double() for name, tensor in tensors.items()}, (x.double(),)
        )
        over = [0, *range(2, y.dim())]
        return y.mean(over), y.square().mean(over)


def _stacked(rows: list[Tensor], like: Tensor) -> Tensor:
    return torch.stack(rows) if rows else like.new_empty(0, len(like))


def _rms(values: Tensor) -> float | None:
    return math.sqrt(float(values.square().mean())) if len(values) else None
