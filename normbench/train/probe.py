"""probes.jsonl: one norm through training, for the figures that show what happens inside."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from normbench import records
from normbench.config import ConfigError
from normbench.hints import nearest
from normbench.models import norm_layers
from normbench.norms import Norm
from normbench.parallel import dist
from normbench.runs import Run, Watched

PERCENTILES = (1, 20, 80, 99)  # of GN's Fig. 6


class Probe:
    """Writes a line about the norm probe.layer every probe.every steps; no-op where none is named.

    All of a line is of worker 0's images, which are on rank 0 whatever the number of ranks, so the
    hardware leaves no trace in it. percentiles: of all values of the norm's input. mean, var
    (biased): of channel 0 of the norm's input. grad_mean: g_B = mean(dL/dY), grad_product: Psi_B =
    mean(Y dL/dY), of channel 0, Y being what gamma and beta are applied to, L the mean loss of the
    SGD batch, so that batches of different sizes compare; null for a norm without gamma and beta,
    or with the activation inside, whose Y cannot be seen.
    """

    def __init__(self, run: Run, model: nn.Module, folder: Path) -> None:
        """Raises ConfigError where the network has no such norm."""
        self._folder, self._sgd_batch = folder, run.sgd_batch
        self._every = run.probe.every if run.probe else 0
        layer = _find(run.probe, run.model.name, model) if run.probe else None
        self._layer = layer if dist.rank() == 0 else None
        self._hook: RemovableHandle | None = None
        self._line: dict[str, Any] = {}
        self._grads: tuple[Tensor, Tensor] | None = None

    def before_step(self, epoch: int, step: int) -> None:
        """step: of the whole run, counted from 1. Puts the hook in place if a line is due."""
        if self._layer is None or step % self._every:
            return
        self._line = {"step": step, "epoch": epoch, "images_seen": step * self._sgd_batch}
        self._grads = None
        self._hook = self._layer.register_forward_hook(self._watch)

    def after_backward(self, scaler: torch.amp.GradScaler) -> None:
        """Writes the line, if one is due. scaler: of the loss that was differentiated."""
        if self._hook is None:
            return
        self._hook.remove()
        self._hook = None
        scale = scaler.get_scale()
        grads = [None, None] if self._grads is None else [float(g) / scale for g in self._grads]
        self._line["grad_mean"], self._line["grad_product"] = grads
        records.append_probe(self._folder, self._line)

    def _watch(self, layer: Norm, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor | None:
        with torch.no_grad():
            mine = inputs[0][:: layer.workers].double()  # image i is of local worker i mod workers
            with np.errstate(invalid="ignore"):  # in a run that diverges
                found = np.percentile(mine.cpu().numpy(), PERCENTILES)
            self._line["percentiles"] = {str(p): float(v) for p, v in zip(PERCENTILES, found, strict=True)}
            self._line["mean"] = float(mine[:, 0].mean())
            self._line["var"] = float(mine[:, 0].var(correction=0))
        if layer.owns_activation or layer.weight is None or layer.bias is None or not out.requires_grad:
            return None
        gamma, beta = layer.weight[0].item(), layer.bias[0].item()
        with torch.no_grad():
            # gamma Y; a ReLU behind may overwrite out
            scaled = out[:: layer.workers, 0].double() - beta

        def keep(grad: Tensor) -> None:
            g = grad[:: layer.workers, 0].double()
            self._grads = gamma * g.mean(), (scaled * g).mean()  # no division: gamma may be 0

        watched = out.clone()  # out may be a view, whose hook an in-place ReLU behind it would lose
        watched.register_hook(keep)
        return watched


def _find(watched: Watched, network: str, model: nn.Module) -> Norm:
    layers, wanted = norm_layers(model), watched.layer
    names = list(layers)
    if wanted == "last":
        return layers[names[-1]]
    if wanted not in layers:
        raise ConfigError(
            f"probe.layer={wanted}: no such norm in {network}{nearest(wanted, names)}; "
            f"its {len(names)} run from {names[0]} to {names[-1]}, which last means too"
        )
    return layers[wanted]
