"""checkpoint.pt: all that the next step depends on, so that a cut run goes on bitwise the same."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from normbench.config import ConfigError
from normbench.hints import one_line
from normbench.norms import Norm, RunningNorm
from normbench.parallel import dist


@dataclass
class Position:
    """How far a run is, with the sums of the epoch it is in."""

    epoch: int = 0  # epochs finished
    step: int = 0  # steps done of the next epoch
    images_seen: int = 0
    seconds: float = 0.0  # of training and evaluating, pauses left out
    loss_sum: float = 0.0  # of the steps of this epoch
    wrong_sum: int = 0


def save(
    folder: Path, position: Position, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler
) -> None:
    """Writes aside and renames: the previous checkpoint is there until the new one is whole.

    Every rank calls it and rank 0 writes, the same file whatever the number of ranks: each norm's
    histories are those of all workers.
    """
    weights = _with_all_workers(model)
    if dist.rank() != 0:
        return
    state: dict[str, Any] = {
        "model": weights,
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        **asdict(position),
    }
    aside = folder / ".checkpoint.pt"
    with open(aside, "wb") as f:
        torch.save(state, f)
        f.flush()
        os.fsync(f.fileno())
    os.replace(aside, folder / "checkpoint.pt")


def resume(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler
) -> Position | None:
    """Puts back what was saved, on each rank its own workers' part; None without a checkpoint.

    Rank 0 reads it for all: the other ranks may be on machines that do not see the folder.
    """
    path = folder / "checkpoint.pt"
    state = dist.from_rank_0(lambda: read(path) if path.exists() else None)
    if state is None:
        return None
    for name, _, axis in _histories(model):
        state["model"][name] = dist.own_workers(state["model"][name], axis)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    scaler.load_state_dict(state["scaler"])
    torch.set_rng_state(state["rng"])
    if state["cuda_rng"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda_rng"])
    return Position(**{key: state[key] for key in asdict(Position())})


def _with_all_workers(model: nn.Module) -> dict[str, Tensor]:
    """The state_dict that one process with all workers would have."""
    for layer in model.modules():
        if isinstance(layer, RunningNorm) and layer.average_workers:
            # the mean is linear: taking it early changes nothing
            dist.equalize([layer.running_mean, layer.running_var], average=True)
    state: dict[str, Tensor] = model.state_dict()
    for name, buffer, axis in _histories(model):
        state[name] = dist.all_workers(buffer, axis)
    return state


def _histories(model: nn.Module) -> Iterator[tuple[str, Tensor, int]]:
    """Name in the state_dict, buffer and axis of the workers for each norm's histories."""
    for path, layer in model.named_modules():
        if isinstance(layer, Norm):
            for name, buffer, axis in layer.remembered():
                yield f"{path}.{name}" if path else name, buffer, axis


def read(path: Path) -> dict[str, Any]:
    """The checkpoint as it was written, its tensors on the CPU."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ConfigError(f"no checkpoint at {path}; give the path of a run's checkpoint.pt") from None
    return state


def load_weights(path: Path, model: nn.Module) -> None:
    """Starts a model from another run's weights and statistics; both must be the same network."""
    state = dist.from_rank_0(lambda: read(path))
    try:
        model.load_state_dict(state["model"])
    except (RuntimeError, KeyError) as e:
        raise ConfigError(f"{path} does not fit this network: {one_line(e)[:200]}") from None
