"""Any norm into a network that somebody already has: normbench.convert(model, norm="gn")."""

import copy
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.lazy import LazyModuleMixin

from normbench import norms, plugins
from normbench.config import ConfigError
from normbench.hints import nearest
from normbench.models.swap import swap, trace
from normbench.norms import Norm, RunningNorm

TORCH_MOMENTUM = 0.1
Make = Callable[[nn.Module, bool, str], Norm]


def convert(
    model: nn.Module,
    norm: str = "gn",
    *,
    workers: int = 1,
    sgd_batch: int | None = None,
    steps_per_epoch: int | None = None,
    epochs: int | None = None,
    **options: Any,
) -> nn.Module:
    """A copy of the model with `norm` in the place of every BatchNorm; the model stays as it is.

        model = torchvision.models.resnet50(weights="DEFAULT")
        model = normbench.convert(model, norm="gn", groups=32)

    All weights are kept, gamma and beta too. A norm with running statistics goes on with those of
    the BatchNorm, and with its eps and momentum where `options` do not say others, so that
    norm="bn" gives the same function. Other norms compute another function: a pretrained network
    has to be trained on.

    model: any module with BatchNorm1d, 2d, 3d or SyncBatchNorm layers, in training or evaluation
        mode, on any device, of any dtype; the copy is in the same.
    norm: a name of `normbench norms`. options: those of that norm.
    workers: virtual workers whose images a training batch interleaves: image i is worker i mod
        workers', and a statistic is taken over one worker's images, as on so many GPUs.
    sgd_batch, steps_per_epoch, epochs: how long training will be, for norms with a schedule (brn,
        cbn, mabn, powernorm). All three or none, which is as many steps as in their papers.

    Most norms take the BatchNorm's place within the model, whose class and methods stay. Those that
    act on the conv before them or the ReLU behind them (cbn, ws, wn, frn, evonorm, ...) are placed
    by the network's torch.fx graph, and what comes back is a torch.fx.GraphModule.

    Raises ConfigError, a ValueError of one line, where there is no BatchNorm, where the norm or an
    option is unknown, and where the norm cannot stand at some layer, which it names.
    """
    cls, known = norms.layer(norm), plugins.options(norm)
    if unknown := sorted(set(options) - set(known)):
        raise ConfigError(
            f"norm={norm} has no option {unknown[0]}{nearest(unknown[0], known)}; it has {', '.join(known)}"
        )
    length = {"sgd_batch": sgd_batch, "steps_per_epoch": steps_per_epoch, "epochs": epochs}
    given = {key: value for key, value in length.items() if value is not None}
    if given and len(given) < len(length):
        raise ConfigError(f"the length of training is {', '.join(length)}; of these only {', '.join(given)} is given")
    before = _batch_norms(model)

    def make(conv: nn.Module, relu: bool, layer: str) -> Norm:
        old = before[layer]
        try:
            made = norms.build(norm, conv, relu=relu, workers=workers, **{**_as_before(cls, old), **options})
        except ConfigError as error:
            raise ConfigError(f"layer {layer}: {error}") from None
        _remember(made, old)
        if given:
            made.plan(**given)
        return made

    copied = copy.deepcopy(model)
    if cls.needs_input or cls.owns_activation or cls.alters_conv or any(map(_is_fused, before.values())):
        return swap(trace(copied), make).train(model.training)
    return _replace(copied, make)


def _batch_norms(model: nn.Module) -> dict[str, _BatchNorm]:
    """The BatchNorms by path, those of two paths twice; raises ConfigError where there is none."""
    found = {
        path: module for path, module in model.named_modules(remove_duplicate=False) if isinstance(module, _BatchNorm)
    }
    if not found:
        raise ConfigError(f"{type(model).__name__} has no BatchNorm, so there is no place for a norm")
    for path, layer in found.items():
        if isinstance(layer, LazyModuleMixin):
            raise ConfigError(f"layer {path} has no channels yet; run one batch through the model, then convert it")
    return found


def _is_fused(layer: nn.Module) -> bool:
    """timm's BatchNormAct2d holds the activation behind it, which the graph takes out of it."""
    return isinstance(getattr(layer, "act", None), nn.Module)


def _replace(model: nn.Module, make: Make) -> nn.Module:
    """A norm in the place of each BatchNorm; one that stands in two places stays one."""
    made: dict[int, Norm] = {}
    for path, old in _batch_norms(model).items():
        if id(old) not in made:
            made[id(old)] = make(_Width(old), False, path).train(old.training)
        if path:
            model.set_submodule(path, made[id(old)])
        else:  # the model is nothing but a BatchNorm
            return made[id(old)]
    return model


class _Width(nn.Module):
    """In the place of a conv, for a norm that wants to know its width and no more."""

    def __init__(self, old: _BatchNorm) -> None:
        super().__init__()
        self.out_channels, self.bias = old.num_features, None
        self.weight = nn.Parameter(next((t for t in _tensors(old)), torch.empty(0)).detach()[:0])


def _tensors(old: _BatchNorm) -> list[Tensor]:
    return [t for t in (old.weight, old.running_mean) if t is not None]


def _as_before(cls: type[Norm], old: _BatchNorm) -> dict[str, Any]:
    """eps of a BatchNorm for a norm that keeps its statistics too; momentum where both count alike.

    A norm whose paper has another momentum than torch's 0.1 means another moving average by it.
    """
    if not issubclass(cls, RunningNorm):
        return {}
    takes = inspect.signature(cls).parameters
    found = {"eps": old.eps}
    if "momentum" in takes and takes["momentum"].default == TORCH_MOMENTUM and old.momentum is not None:
        found["momentum"] = old.momentum
    return {key: value for key, value in found.items() if key in takes}


@torch.no_grad()
def _remember(norm: Norm, old: _BatchNorm) -> None:
    """gamma, beta and running statistics of the BatchNorm, where the norm has them too.

    Without affine, gamma and beta stay 1 and 0.
    """
    for name in ("weight", "bias"):
        mine, before = getattr(norm, name), getattr(old, name)
        if mine is not None and before is not None:
            mine.copy_(before)
        if mine is not None:
            mine.requires_grad_(before is not None and before.requires_grad)
    if isinstance(norm, RunningNorm) and old.running_mean is not None and old.running_var is not None:
        mean, var = old.running_mean, old.running_var
        norm.running_mean.copy_(torch.zeros_like(mean) if norm.about_zero else mean)
        norm.running_var.copy_(var + mean.square() if norm.about_zero else var)
