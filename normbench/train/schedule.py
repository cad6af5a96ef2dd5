"""The learning rate of every step: by warm-up and a schedule of ours, or one of torch's by name."""

import math
import warnings

import numpy as np
import torch

from normbench.config import PER_STEP_SCHEDULES, SCHEDULES, ConfigError, Recipe
from normbench.hints import first_line
from normbench.runs import Run


class Schedule:
    """lr of step `step` (from 1) of epoch `epoch` (from 1), a function of the two alone.

    So a run that is cut needs no state of it. steps: of an epoch.

    Our own schedules are lr_at's. A name of torch.optim.lr_scheduler is that schedule with
    recipe.schedule_options, begun after the warm-up and moved on once an epoch; CyclicLR and
    OneCycleLR, whose unit is a step in torch too, once a step. Of these, max_lr is the run's lr and
    total_steps its steps, and the momentum stays.

    Raises ConfigError for options that the schedule does not take.
    """

    def __init__(self, run: Run, steps: int) -> None:
        self.recipe, self.lr, self.steps = run.recipe, run.lr, steps
        self._table = [] if self.recipe.schedule in SCHEDULES else self._torchs()

    def __call__(self, epoch: int, step: int) -> float:
        recipe, done = self.recipe, epoch - 1 + (step - 1) / self.steps
        if recipe.schedule in SCHEDULES or done < recipe.warmup_epochs:
            return lr_at(recipe, self.lr, done)
        if recipe.schedule in PER_STEP_SCHEDULES:
            return self._table[(epoch - 1) * self.steps + step - 1 - self._warmup_steps()]
        return self._table[math.floor(done - recipe.warmup_epochs + 1e-9)]

    def _warmup_steps(self) -> int:
        return math.ceil(self.recipe.warmup_epochs * self.steps - 1e-9)

    def _torchs(self) -> list[float]:
        """The rates of torch's schedule, one after the other."""
        recipe, options = self.recipe, dict(self.recipe.schedule_options)
        count = math.ceil(recipe.epochs - recipe.warmup_epochs)
        if recipe.schedule in PER_STEP_SCHEDULES:
            count = recipe.epochs * self.steps - self._warmup_steps()
            own = {"max_lr": self.lr, "cycle_momentum": False}
            own |= {"total_steps": count} if recipe.schedule == "OneCycleLR" else {}
            if taken := sorted(set(own) & set(options)):
                raise ConfigError(f"recipe.schedule_options.{taken[0]} follows from the run; leave it out")
            options |= own
        if count < 1:
            return []
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=self.lr)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # no optimizer step comes between
                schedule = getattr(torch.optim.lr_scheduler, recipe.schedule)(optimizer, **options)
                found = [_lr(optimizer)]
                for _ in range(count - 1):
                    schedule.step()
                    found.append(_lr(optimizer))
        except (TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
            raise ConfigError(_wrong(recipe, error)) from None
        if not all(isinstance(rate, float) and math.isfinite(rate) and rate >= 0 for rate in found):
            raise ConfigError(_wrong(recipe, ValueError("it gives a learning rate that is no number from 0 on")))
        return found


def lr_at(recipe: Recipe, lr: float, epochs_done: float) -> float:
    """The learning rate after epochs_done epochs, fractions included, by the warm-up and our own.

    Warm-up: linear from 0 over warmup_epochs. "step": lr x decay^(milestones passed), milestones
    being fractions of the epochs. "linear": in straight lines from lr at the start to lr x decay^k
    at the k-th milestone, level after the last; the warm-up ends where it meets the line. "cosine":
    lr/2 (1 + cos(pi t)), t the fraction of the epochs after the warm-up that is done.
    """
    warm = lr * epochs_done / recipe.warmup_epochs if epochs_done < recipe.warmup_epochs else math.inf
    if recipe.schedule == "linear":
        corners = [0.0, *(m * recipe.epochs for m in recipe.milestones)]
        return min(warm, float(np.interp(epochs_done, corners, [lr * recipe.decay**k for k in range(len(corners))])))
    if warm < math.inf:
        return warm
    if recipe.schedule == "cosine":
        done = (epochs_done - recipe.warmup_epochs) / max(recipe.epochs - recipe.warmup_epochs, 1e-9)
        return lr * 0.5 * (1 + math.cos(math.pi * done))
    passed = sum(epochs_done >= m * recipe.epochs - 1e-9 for m in recipe.milestones)
    return lr * recipe.decay**passed


def _lr(optimizer: torch.optim.Optimizer) -> float:
    return float(optimizer.param_groups[0]["lr"])


def _wrong(recipe: Recipe, error: Exception) -> str:
    given = ", ".join(f"{key}={value}" for key, value in recipe.schedule_options.items()) or "no options"
    return f"recipe.schedule={recipe.schedule} with {given}: {first_line(error)}; see recipe.schedule_options.KEY=VALUE"
