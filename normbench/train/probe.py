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
from normbench.kernels import patches
from normbench.models import convs_before, norm_layers
from normbench.norms import Norm
from normbench.parallel import dist
from normbench.runs import Run, Watched
from normbench.train.window import Window

PERCENTILES = (1, 20, 80, 99)  # of GN's Fig. 6


class Probe:
    """Writes a line about the norm probe.layer every probe.every steps; no-op where none is named.

    All of a line is of worker 0's images, which are on rank 0 whatever the number of ranks, so the
    hardware leaves no trace in it. percentiles: of all values of the norm's input. mean, var
    (biased): of channel 0 of the norm's input. grad_mean: g_B = mean(dL/dY), grad_product: Psi_B =
    mean(Y dL/dY), of channel 0, Y being what gamma and beta are applied to, L the mean loss of the
    SGD batch, so that batches of different sizes compare; null for a norm without gamma and beta,
    or with the activation inside, whose Y cannot be seen. filter_norms: of the conv before each
    norm, by the norm's path, the root mean square of its filters' lengths ||theta_c||. Of a norm
    that carries a window of batches also what Window measures.
    """

    def __init__(self, run: Run, model: nn.Module, folder: Path) -> None:
        """Raises ConfigError where the network has no such norm."""
        self._folder, self._sgd_batch = folder, run.sgd_batch
        self._every = run.probe.every if run.probe else 0
        self._layer: Norm | None = None
        self._window: Window | None = None
        self._hooks: list[RemovableHandle] = []
        self._line: dict[str, Any] | None = None  # the one that is due
        self._grads: tuple[Tensor, Tensor] | None = None
        if run.probe is None:
            return
        name = _find(run.probe, run.model.name, model)
        if dist.rank() == 0:
            self._layer, self._convs = norm_layers(model)[name], convs_before(model)
            self._window = Window(self._layer, self._convs[name], self._every)

    def before_step(self, epoch: int, step: int) -> None:
        """step: of the whole run, counted from 1. Puts the hooks in place that the step needs."""
        layer, window = self._layer, self._window
        if layer is None or window is None:
            return
        if step % self._every == 0:
            self._line = {"step": step, "epoch": epoch, "images_seen": step * self._sgd_batch}
            self._line["filter_norms"] = _filter_norms(self._convs)
            self._grads = None
            self._hooks.append(layer.register_forward_hook(self._watch))
        if window.wants(step):

            def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                found = window.look(step, inputs[1])
                if self._line is not None:
                    self._line |= found

            self._hooks.append(layer.register_forward_pre_hook(look))

    def after_backward(self, scaler: torch.amp.GradScaler) -> None:
        """Writes the line, if one is due. scaler: of the loss that was differentiated."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        if self._line is None:
            return
        scale = scaler.get_scale()
        grads = [None, None] if self._grads is None else [float(g) / scale for g in self._grads]
        self._line["grad_mean"], self._line["grad_product"] = grads
        records.append_probe(self._folder, self._line)
        self._line = None

    def forget(self) -> None:
        """Told of every checkpoint: no line of a later step may lean on a step before it."""
        if self._window is not None:
            self._window.forget()

    def _watch(self, layer: Norm, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor | None:
        assert self._line is not None
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


def _filter_norms(convs: dict[str, nn.Module]) -> dict[str, float]:
    """sqrt(sum of theta^2 / number of filters) of each conv, by the path of the norm behind it."""
    with torch.no_grad():
        thetas = [patches.filters(conv).double() for conv in convs.values()]
        found = torch.stack([theta.square().sum() / len(theta) for theta in thetas]).sqrt()
    return dict(zip(convs, found.tolist(), strict=True))


def _find(watched: Watched, network: str, model: nn.Module) -> str:
    names, wanted = list(norm_layers(model)), watched.layer
    if wanted == "last":
        return names[-1]
    if wanted not in names:
        raise ConfigError(
            f"probe.layer={wanted}: no such norm in {network}{nearest(wanted, names)}; "
            f"its {len(names)} run from {names[0]} to {names[-1]}, which last means too"
        )
    return wanted
