"""The optimizer and its learning rate: SGD with momentum, by the recipe."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from normbench.config import Recipe
from normbench.runs import Run


def build(run: Run, model: nn.Module) -> torch.optim.SGD:
    """SGD over all that is trained; decay_norm=false spares vectors (gamma, beta, biases)."""
    recipe = run.recipe
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if recipe.decay_norm or p.dim() > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if not recipe.decay_norm and p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        [g for g in groups if g["params"]], lr=run.lr, momentum=recipe.momentum, nesterov=recipe.nesterov
    )


def lr_at(recipe: Recipe, lr: float, epochs_done: float) -> float:
    """The learning rate after epochs_done epochs, fractions included.

    Warm-up: linear from 0 over warmup_epochs. "step": lr x decay^(milestones passed), milestones
    being fractions of the epochs. "cosine": lr/2 (1 + cos(pi t)), t the fraction of the epochs
    after the warm-up that is done.
    """
    if epochs_done < recipe.warmup_epochs:
        return lr * epochs_done / recipe.warmup_epochs
    if recipe.schedule == "cosine":
        done = (epochs_done - recipe.warmup_epochs) / max(recipe.epochs - recipe.warmup_epochs, 1e-9)
        return lr * 0.5 * (1 + math.cos(math.pi * done))
    passed = sum(epochs_done >= m * recipe.epochs - 1e-9 for m in recipe.milestones)
    return lr * recipe.decay**passed


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


def finite(tensors: Iterable[Tensor]) -> bool:
    return all(bool(t.isfinite().all()) for t in tensors)
