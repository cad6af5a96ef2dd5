"""checkpoint.pt: all that the next step depends on, so that a cut run goes on bitwise the same.

It is sealed, and says whose it is and from where in the run. Beside it stays the one of the end of
the last epoch before, checkpoint.previous.pt: of a damaged pair, the run goes on from the good one.
"""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from normbench import files, records
from normbench.config import ConfigError
from normbench.hints import one_line
from normbench.norms import Norm, RunningNorm
from normbench.parallel import dist
from normbench.runs import Run
from normbench.train import seal
from normbench.train.optim import Updates


@dataclass
class Position:
    """How far a run is, with the sums of the epoch it is in."""

    epoch: int = 0  # epochs finished
    step: int = 0  # steps done of the next epoch
    images_seen: int = 0
    seconds: float = 0.0  # of training and evaluating, pauses left out
    loss_sum: float = 0.0  # of the steps of this epoch
    wrong_sum: int = 0


def save(folder: Path, position: Position, model: nn.Module, updates: Updates, identity: str) -> None:
    """Writes aside and renames: the previous checkpoint is there until the new one is whole.

    Every rank calls it and rank 0 writes, the same file whatever the number of ranks: each norm's
    histories are those of all workers. identity: the run's.
    """
    state: dict[str, Any] = {
        "model": _with_all_workers(model),
        **updates.state_dict(),
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "identity": identity,
        **asdict(position),
    }
    dist.from_rank_0(lambda: _write(folder, state, position.step))


def _write(folder: Path, state: dict[str, Any], step: int) -> None:
    newest, previous = (folder / name for name in records.CHECKPOINTS)
    aside = folder / ".checkpoint.pt"
    with files.gone_if_it_fails(aside), open(aside, "w+b") as f:
        try:
            torch.save(state, f)
        except RuntimeError as e:  # what its archive makes of a disk that is full
            raise e.__context__ if isinstance(e.__context__, OSError) else e from None
        seal.put(f, step)
        f.flush()
        os.fsync(f.fileno())
    if newest.exists() and (not seal.step(newest) or not previous.exists()):
        # an epoch's end stays while steps go on from it; both names are there at every moment
        second = folder / ".checkpoint.previous.pt"
        second.unlink(missing_ok=True)
        try:
            os.link(newest, second)
            os.replace(second, previous)
        except OSError:  # a file system without hard links
            os.replace(newest, previous)
    os.replace(aside, newest)


def back_to_the_last_epoch(folder: Path) -> None:
    """Leaves a diverged run the checkpoint of the end of its last epoch that was finite."""
    newest, previous = (folder / name for name in records.CHECKPOINTS)
    if dist.rank() == 0 and seal.step(newest) and previous.exists():
        os.replace(previous, newest)


def resume(
    run: Run,
    folder: Path,
    model: nn.Module,
    updates: Updates,
    steps: int,
) -> Position | None:
    """Puts back what was saved, on each rank its own workers' part; None without a checkpoint.

    Rank 0 reads it for all: the other ranks may be on machines that do not see the folder. steps:
    of an epoch.
    """
    state = dist.from_rank_0(lambda: _newest_good(run, folder, steps))
    if state is None:
        return None
    try:
        for name, _, axis in _histories(model):
            state["model"][name] = dist.own_workers(state["model"][name], axis)
        model.load_state_dict(state["model"])
        updates.load_state_dict(state)
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["cuda_rng"])
        return Position(**{key: state[key] for key in asdict(Position())})
    except (RuntimeError, KeyError, ValueError, TypeError, IndexError, AttributeError) as e:
        said = f"{folder / 'checkpoint.pt'} does not fit this run: {one_line(e)[:200]}"
        raise ConfigError(f"{said}; {ANEW}") from None


# ---------------------------------------------------------------------------- which one is good

ANEW = "overwrite=true trains the run anew"


def _newest_good(run: Run, folder: Path, steps: int) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, of this run, and has the rows of its epochs.

    Says so where that is not checkpoint.pt, and puts it there. Raises ConfigError where there are
    checkpoints and none is good.
    """
    newest, troubles = folder / records.CHECKPOINTS[0], []
    for path in (folder / name for name in records.CHECKPOINTS):
        if not os.path.lexists(path):
            continue
        try:
            state = read(path)
        except ConfigError as e:
            troubles.append(str(e))
            continue
        trouble = _foreign(run, state, steps) or records.rows_trouble(folder, state["epoch"], kept=True)
        if trouble:
            troubles.append(f"{path}: {trouble}")
            continue
        if path != newest:
            said = troubles[0] if troubles else f"no {newest}"
            where = f"epoch {state['epoch']}" + (f" and {state['step']} steps" if state["step"] else "")
            print(f"normbench: {said}; going on from {path.name}, after {where}", file=sys.stderr, flush=True)
            refused = folder / "checkpoint.refused.pt"
            files.clear(refused)
            with contextlib.suppress(FileNotFoundError):
                os.replace(newest, refused)
            os.replace(path, newest)
        return state
    if troubles:
        raise ConfigError(f"{'; '.join(troubles)}; {ANEW}")
    return None


def _foreign(run: Run, state: dict[str, Any], steps: int) -> str | None:
    """What tells that a checkpoint is not this run's; earlier code wrote none of the identity."""
    identity = state.get("identity", run.identity)
    if identity != run.identity:
        return f"it is of another run, {str(identity)[:20]}, and this one is {run.identity}"
    missing = [key for key in ("optimizer", "scaler", "rng", "cuda_rng", *asdict(Position())) if key not in state]
    if missing:
        return f"it has no {', '.join(missing)}"
    epoch, step, images = (state[key] for key in ("epoch", "step", "images_seen"))
    if not all(type(number) is int for number in (epoch, step, images)):
        return "its position is no number"
    inside = 0 <= epoch <= run.recipe.epochs and 0 <= step <= steps and not (epoch == run.recipe.epochs and step)
    if not inside or images != (epoch * steps + step) * run.sgd_batch:
        return f"it is of epoch {epoch}, step {step}, image {images}, which this run does not have"
    return None


# ---------------------------------------------------------------------------- what is in it


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
    """The checkpoint as it was written, its tensors on the CPU.

    Raises ConfigError for any other file; what is used is what was verified.
    """
    way = "give the path of a run's checkpoint.pt"
    try:
        content = files.read_bytes(path)
    except ValueError as e:
        raise ConfigError(f"{path}: {e}; {way}") from None
    if content is None:
        raise ConfigError(f"no checkpoint at {path}; {way}")
    if seal.broken(content):
        raise ConfigError(f"{path} is damaged: its checksum is another than when it was written")
    try:
        state: Any = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as e:  # noqa: BLE001 - bytes that are no checkpoint end in errors of any kind
        raise ConfigError(f"{path} is no checkpoint, or a part of one ({type(e).__name__}); {way}") from None
    if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
        raise ConfigError(f"{path} is no checkpoint: it holds no model; {way}")
    if "identity" in state and not seal.is_sealed(content):
        raise ConfigError(f"{path} is damaged: its checksum is gone")
    return state


def load_weights(path: Path, model: nn.Module) -> None:
    """Starts a model from another run's weights and statistics; both must be the same network."""
    put_weights(path, dist.from_rank_0(lambda: read(path)), model)


def put_weights(path: Path, state: dict[str, Any], model: nn.Module) -> None:
    """Gives a model what was read from a path; raises ConfigError for another network's."""
    try:
        model.load_state_dict(state["model"])
    except (RuntimeError, KeyError, TypeError, AttributeError) as e:
        raise ConfigError(f"{path} does not fit this network: {one_line(e)[:200]}") from None
