"""checkpoint.pt: everything the next step depends on, so that a run that was cut goes on bitwise as if it had not been."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from normbench.config import ConfigError


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
    folder: Path,
    position: Position,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> None:
    """Writes aside and renames: the previous checkpoint is there until the new one is whole on the disk."""
    state: dict[str, Any] = {
        "model": model.state_dict(),
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
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> Position | None:
    """Puts everything back as it was saved; None where there is no checkpoint."""
    path = folder / "checkpoint.pt"
    if not path.exists():
        return None
    state = read(path)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    scaler.load_state_dict(state["scaler"])
    torch.set_rng_state(state["rng"])
    if state["cuda_rng"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda_rng"])
    return Position(**{key: state[key] for key in asdict(Position())})


def read(path: Path) -> dict[str, Any]:
    """The checkpoint as it was written, its tensors on the CPU."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ConfigError(f"no checkpoint at {path}; give the path of a run's checkpoint.pt") from None
    return state


def load_weights(path: Path, model: nn.Module) -> None:
    """Starts a model from another run's weights and statistics; both must be the same network."""
    try:
        model.load_state_dict(read(path)["model"])
    except (RuntimeError, KeyError) as e:
        first = " ".join(str(e).split())[:200]
        raise ConfigError(f"{path} does not fit this network: {first}") from None
