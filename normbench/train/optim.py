"""What turns gradients into new weights: optimizer, loss scale, clipping and moving average."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from normbench.config import ConfigError
from normbench.hints import first_line, nearest
from normbench.parallel import dist
from normbench.runs import Run
from normbench.train import precision
from normbench.train.average import Average


class Updates:
    """One run's updates of its weights.

    recipe.optimizer: sgd with recipe.momentum and recipe.nesterov; another of torch.optim in lower
    case (adamw, rmsprop, ...) or timm/<name> (timm/lamb), with recipe.optimizer_options.
    recipe.clip_norm: gradients are scaled down where the norm of all together is larger (Pascanu et
    al. 2013). recipe.ema: see average.py.
    """

    def __init__(self, run: Run, model: nn.Module, device: torch.device) -> None:
        self.optimizer, self.scaler = build(run, model), precision.scaler(run, device)
        self.average = None if run.recipe.ema is None else Average(model, run.recipe.ema)
        self._clip = run.recipe.clip_norm
        self._parameters = list(model.parameters())

    def backward(self, loss: Tensor) -> None:
        self.scaler.scale(loss).backward()

    def step(self, lr: float) -> None:
        """One update, by the gradients summed over all ranks; clears them."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        dist.sum_gradients(self._parameters)
        if self._clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self._parameters, self._clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update()

    def evaluated(self) -> AbstractContextManager[None]:
        """The model as it is evaluated: with averaged weights where there are any."""
        return nullcontext() if self.average is None else self.average.in_place()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps; every rank calls it."""
        average = {} if self.average is None else {"ema": self.average.state_dict()}
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict(), **average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises KeyError, ValueError or RuntimeError for what does not fit."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["ema"])


def build(run: Run, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of all that is trained; decay_norm=false spares vectors: gamma, beta, biases.

    Raises ConfigError for a name or an option that there is not.
    """
    recipe = run.recipe
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if recipe.decay_norm or p.dim() > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if not recipe.decay_norm and p.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    if recipe.optimizer == "sgd" and not recipe.optimizer_options:
        return torch.optim.SGD(groups, lr=run.lr, momentum=recipe.momentum, nesterov=recipe.nesterov)
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in recipe.optimizer_options.items()}
    if recipe.optimizer == "sgd":
        options = {"momentum": recipe.momentum, "nesterov": recipe.nesterov, **options}
    try:
        made: torch.optim.Optimizer = _class(recipe.optimizer)(groups, lr=run.lr, **options)
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{key}={value}" for key, value in recipe.optimizer_options.items()) or "no options"
        raise ConfigError(f"recipe.optimizer={recipe.optimizer} with {given}: {first_line(error)}") from None
    return made


def _class(name: str) -> Any:
    if not name.startswith("timm/"):
        return next(cls for key, cls in vars(torch.optim).items() if key.lower() == name and isinstance(cls, type))
    try:
        from timm.optim import get_optimizer_class, list_optimizers  # type: ignore[attr-defined]
    except ImportError:
        raise ConfigError(f"recipe.optimizer={name} needs timm, which is not installed: pip install timm") from None
    short, known = name.removeprefix("timm/"), [str(one) for one in list_optimizers()]
    if short not in known:
        raise ConfigError(f"recipe.optimizer={name}: timm has no such optimizer{nearest(short, known)}")
    return get_optimizer_class(short, bind_defaults=True)


def finite(tensors: Iterable[Tensor]) -> bool:
    return all(bool(t.isfinite().all()) for t in tensors)
