"""recipe.ema: evaluation with a moving average of the weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from normbench.norms import RunningNorm
from normbench.parallel import dist


class Average:
    """The exponential moving average of a model's weights and running statistics.

    After every step: average = decay x average + (1 - decay) x value, from the values before the
    first step (Polyak & Juditsky 1992 in the form of Tarvainen & Valpola 2017). Training goes on
    with the weights themselves. A norm's memory of the past, which only training uses, has none.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._live: dict[str, Tensor] = dict(model.named_parameters())
        self._means: list[str] = []  # of statistics that are means over the workers
        for path, layer in model.named_modules():
            if isinstance(layer, RunningNorm):
                running = {f"{path}.running_mean": layer.running_mean, f"{path}.running_var": layer.running_var}
                self._live |= running
                self._means += running if layer.average_workers else ()
        self.values = {name: value.detach().clone() for name, value in self._live.items()}

    @torch.no_grad()
    def update(self) -> None:
        torch._foreach_lerp_(list(self.values.values()), [v.detach() for v in self._live.values()], 1 - self.decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with the averages for its weights; they are put back afterwards."""
        before = {name: value.detach().clone() for name, value in self._live.items()}
        try:
            self.put()
            yield
        finally:
            self._put(before)

    def put(self) -> None:
        """Gives the model the averages for good."""
        self._put(self.values)

    @torch.no_grad()
    def _put(self, values: dict[str, Tensor]) -> None:
        for name, value in self._live.items():
            value.copy_(values[name])

    def state_dict(self) -> dict[str, Tensor]:
        """The averages as one process with all workers would have them; every rank calls it."""
        dist.equalize([self.values[name] for name in self._means], average=True)
        return self.values

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if state.keys() != self.values.keys():
            raise KeyError("the moving average is of other weights")
        with torch.no_grad():
            for name, value in state.items():
                self.values[name].copy_(value)
