"""One run from its Config to done: skip what is finished, resume what was cut, train, record."""

import os
import platform
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normbench import records
from normbench.checks import check_train_size, check_world_size
from normbench.compose import model_label, norm_label
from normbench.config import Config, ConfigError, as_dict, identity, resolved, run_path
from normbench.paths import CHECKOUT

if TYPE_CHECKING:  # torch is loaded only where a run has to be trained
    import torch
    from torch import nn

    from normbench.data import Images


@dataclass(frozen=True)
class Result:
    """What a run ended with. top1_error_pct: the median over the last 5 epochs; None for a run that diverged."""

    status: str
    top1_error_pct: float | None
    final: float | None
    epochs: int
    seconds: float
    path: Path


def folder_of(config: Config) -> Path:
    return run_path(config, model_label(config), norm_label(config))


def finished(config: Config) -> Result | None:
    """The result on disk, unless overwrite=true asks for a new one."""
    folder = folder_of(config)
    if config.overwrite or records.state(folder) not in ("done", "diverged"):
        return None
    result = records.read_json(folder / "result.json")
    error = result["top1_error_pct"]
    return Result(result["status"], error["median_last5"], error["final"], result["epochs"], result["seconds"], folder)


def execute(config: Config, command: list[str], say: bool = True, in_sweep: bool = False) -> Result:
    """The result of this Config, trained here if it is not on disk yet.

    command: what the user typed after `python -m normbench`, for the record. say: whether to print how it goes.
    in_sweep: whether a run that is refused (a ConfigError) stays on disk as failed, for the sweep's table and its rerun;
    otherwise what the user is about to retype leaves no trace.
    Raises ConfigError for what the user can mend, records.Busy where another process trains the same run.
    """
    if done := _before(config):
        if say:
            print(f"{headline(config)}: {done.status} before, {done.path}", flush=True)
        return done
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning at barriers collapses on a shared machine
    from normbench.parallel import dist

    check_world_size(config, dist.world_size())
    folder = folder_of(config)
    with ExitStack() as held:
        if dist.rank() == 0:
            folder.mkdir(parents=True, exist_ok=True)
        if busy := dist.broadcast(_hold(folder, held) if dist.rank() == 0 else None):
            raise records.Busy(busy)
        if dist.rank() == 0:
            _begin(config, folder)
        try:
            _train(config, folder, command, say and dist.rank() == 0)
        except Exception as e:  # an interrupted run is cut, a failing one says why on disk too
            if dist.rank() == 0:
                refused = isinstance(e, ConfigError) and not (folder / "checkpoint.pt").exists()
                if refused and not in_sweep:
                    _remove(folder, Path(config.out))
                else:
                    line = " ".join(str(e).split()) or type(e).__name__
                    records.write_json(folder / "error.json", {"type": type(e).__name__, "error": line})
            raise
    result: Result | None = dist.broadcast(finished(replace(config, overwrite=False)))
    assert result is not None
    return result


def _before(config: Config) -> Result | None:
    """The result of an earlier attempt; what rank 0 sees counts for all ranks."""
    if "torch" not in sys.modules:  # then this is the only process, and torch is not loaded for a look at the disk
        return finished(config)
    from normbench.parallel import dist

    result: Result | None = dist.broadcast(finished(config))
    return result


def _hold(folder: Path, held: ExitStack) -> str | None:
    """Holds the folder for this run; who else does, where somebody does."""
    try:
        held.enter_context(records.hold(folder))
    except records.Busy as e:
        return str(e)
    return None


def _begin(config: Config, folder: Path) -> None:
    """The record of an attempt: its config, and nothing of an earlier failure, or of anything where overwrite=true."""
    stale = ["error.json"]
    if config.overwrite:
        stale += ["config.yaml", "env.json", "epochs.jsonl", "probes.jsonl", "checkpoint.pt", "result.json"]
    for name in stale:
        (folder / name).unlink(missing_ok=True)
    if not (folder / "config.yaml").exists():
        records.write_config(folder, description(config))


def _remove(folder: Path, out: Path) -> None:
    """Removes the folder of a run and the folders above it that it leaves empty."""
    shutil.rmtree(folder)
    for parent in folder.parents:
        if parent == out or any(parent.iterdir()):
            return
        parent.rmdir()


# ---------------------------------------------------------------------------- training


def _train(config: Config, folder: Path, command: list[str], say: bool) -> None:
    """Builds everything, trains, and writes result.json last. Every rank runs it; rank 0 alone writes."""
    import torch

    from normbench import tracker
    from normbench.parallel import dist
    from normbench.progress import Progress
    from normbench.train import checkpoint
    from normbench.train.evaluate import measure_frozen
    from normbench.train.loop import summary, train
    from normbench.train.network import chosen_device
    from normbench.train.task import Classification

    # ------------------------------------------------------------ build
    refused = None
    try:
        device = chosen_device(config)
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        images, model = _build(config, device)
    except ConfigError as e:  # it may be one rank's alone, whose node lacks the data
        refused = str(e)
    if refused := dist.first_of(refused):
        raise ConfigError(refused)
    leads, fresh = dist.rank() == 0, dist.broadcast(not (folder / "checkpoint.pt").exists())

    # ------------------------------------------------------------ begin
    if leads and fresh:
        records.write_json(folder / "env.json", environment(device, command, model))
    if say:
        print(headline(config, images.train_images), flush=True)
    if fresh and config.norm.get("checkpoint"):
        checkpoint.load_weights(Path(config.norm["checkpoint"]), model)
    if fresh:
        measure_frozen(config, model, images)

    # ------------------------------------------------------------ train
    task = Classification(config.recipe.label_smoothing)
    watch = Progress(config, images.train_images, folder, enabled=say)
    with watch, tracker.build(config, folder, enabled=leads) as mirror:
        watch.tracker = mirror
        try:
            status = train(config, model, task, images, folder, watch)
        except torch.OutOfMemoryError as e:
            raise _out_of_memory(config, dist.world_size()) from e
        if leads:
            result = summary(status, records.read_rows(folder), task.metric)
            records.write_json(folder / "result.json", result)
            mirror.finish(result)
    if say:
        error = result[task.metric]["median_last5"]
        what = f" {error:.2f} % top-1 error, median of the last 5 epochs" if error is not None else ""
        print(f"{status}:{what}, {folder}", flush=True)


def _out_of_memory(config: Config, world_size: int) -> Exception:
    """What a rank says whose share of the SGD batch does not fit; several ranks end with it, as with any rank's failure."""
    kind = ConfigError if world_size == 1 else RuntimeError
    workers = resolved(config.workers) // world_size
    now = config.train.micro_workers or workers
    fewer = max((n for n in range(1, now) if workers % n == 0), default=None)
    way = f"train.micro_workers={fewer} plays fewer at a time with the same numbers, " if fewer else ""
    return kind(
        f"out of memory with {now} workers x {config.batch} images in one forward: {way}"
        "torchrun spreads them over more devices, and a smaller eval_batch may do"
    )


def _build(config: Config, device: "torch.device") -> "tuple[Images, nn.Module]":
    """The data set, and the network with its norms told how long the run is."""
    from normbench import data as datasets
    from normbench import models
    from normbench.train import precision
    from normbench.train.evaluate import prepare
    from normbench.train.network import network

    dtype = precision.dtype(config)
    images = datasets.build(config.data, seed=config.seed, batch=config.batch, device=device, dtype=dtype)
    check_train_size(config, images.train_images)
    model = network(config, images.image_shape[0], images.num_classes, device)
    prepare(model, config)
    steps = config.steps_per_epoch(images.train_images)
    for norm in models.norm_layers(model).values():
        norm.plan(sgd_batch=resolved(config.sgd_batch), steps_per_epoch=steps, epochs=config.recipe.epochs)
    return images, model


# ---------------------------------------------------------------------------- the record


def headline(config: Config, train_images: int | None = None) -> str:
    """The run and what follows from it by arithmetic, in one line."""
    known = train_images or config.data.train_size or config.data.train_images
    label = norm_label(config)
    line = (
        f"{config.data.name} {config.model.name} {label} seed={config.seed}: {config.protocol.name}, "
        f"batch={config.batch} x workers={config.workers} = sgd_batch={config.sgd_batch}, "
        f"lr={config.lr:g}, {config.recipe.epochs} epochs"
    )
    if known is None:
        return line
    steps = config.steps_per_epoch(known)
    return f"{line} x {steps} steps = {config.recipe.epochs * steps} steps"


def description(config: Config) -> dict[str, Any]:
    """config.yaml: every resolved field, and the names under which the run is found."""
    return {
        "identity": identity(config),
        "label": norm_label(config),
        "model_label": model_label(config),
        "batch_free": config.batch_free,
        "lr": config.lr,
        **as_dict(config),
    }


def environment(device: "torch.device", command: list[str], model: "nn.Module") -> dict[str, Any]:
    """env.json: what the numbers were made with, and what the norm became in each layer. No environment variables."""
    import numpy
    import torch
    import torchvision

    from normbench import __version__
    from normbench.models import norm_layers
    from normbench.parallel import dist

    cuda = device.type == "cuda"
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": ["python", "-m", "normbench", *command],
        "commit": _commit(),
        "versions": {
            "normbench": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "numpy": numpy.__version__,
        },
        "device": torch.cuda.get_device_name(device) if cuda else f"{platform.machine()} CPU",
        "threads": torch.get_num_threads(),
        "world_size": dist.world_size(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "norm_layers": {path: layer.extra_repr() for path, layer in norm_layers(model).items()},
    }


def _commit() -> str | None:
    """The checkout's commit, with + where files differ from it; None for an installed package."""
    if not (CHECKOUT / ".git").exists():
        return None
    try:
        shown = subprocess.run(
            ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return shown.stdout.strip()
