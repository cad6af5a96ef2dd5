"""A trained network out of a run folder, as the run's own evaluation had it."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from normbench import facts, records
from normbench.config import ConfigError
from normbench.runs import Run
from normbench.train import checkpoint
from normbench.train.average import Average
from normbench.train.evaluate import answer_by, prepare, settle_statistics
from normbench.train.network import build, build_network

NEWEST = records.CHECKPOINTS[0]


def read(run: Run, folder: Path) -> dict[str, Any]:
    """The newest checkpoint in a folder, verified; raises ConfigError where it is not this run's.

    Nothing in the folder is touched.
    """
    path = folder / NEWEST
    if not path.exists():
        raise ConfigError(
            f"{folder} has no {NEWEST}: its weights were removed, or none were written yet; "
            "overwrite=true trains the run anew"
        )
    state = checkpoint.read(path)
    identity = state.get("identity", run.identity)  # earlier code wrote none
    if identity != run.identity:
        raise ConfigError(f"{path} is of another run, {str(identity)[:20]}, and this one is {run.identity}")
    if type(state.get("epoch")) is not int or type(state.get("step")) is not int:
        raise ConfigError(f"{path} does not say of which epoch it is")
    return state


def network(run: Run, folder: Path, state: dict[str, Any], device: torch.device) -> nn.Module:
    """The run's network with a checkpoint's weights, in eval mode, by one process.

    It has the weights and statistics that evaluation used: with recipe.ema their moving averages,
    else what was trained; worker 0's running statistics, or the mean's, or the precise ones. These
    are measured anew, for which the training images are needed, where the checkpoint has them not:
    with recipe.ema, and in the middle of an epoch. With eval_stats=batch every call normalizes by
    mini-batches of its own images. torch's random state is left as it was.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        frozen = run.recipe.frozen(state["epoch"] if state["step"] else state["epoch"] - 1)
        measured = state["epoch"] > 0 and state["step"] == 0 and run.recipe.ema is None
        measure = run.eval_stats == "precise" and not (frozen or measured)
        images, model = build(run, device) if measure else (None, _without_images(run, device))
        checkpoint.put_weights(folder / NEWEST, state, model)
        if run.recipe.ema is not None:
            average = Average(model, run.recipe.ema)
            try:
                average.load_state_dict(state["ema"])
            except (KeyError, RuntimeError, AttributeError, TypeError) as e:
                raise ConfigError(f"{folder / NEWEST} has no moving average of these weights") from e
            average.put()
        if images is not None:
            settle_statistics(run, model, images, frozen)
    answer_by(run, model)
    return model


def _without_images(run: Run, device: torch.device) -> nn.Module:
    model = build_network(run, facts.image_shape(run.data)[0], run.data.num_classes, device)
    prepare(model, run)
    return model
