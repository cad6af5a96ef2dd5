"""One run to done: skip what is finished, resume what was cut, train, record."""

import contextlib
import os
import shutil
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from normbench import files, records, stopping
from normbench.config import ConfigError
from normbench.hints import one_line
from normbench.run_checks import check_world_size
from normbench.runs import Run, science


@dataclass(frozen=True)
class Result:
    """What a run ended with.

    top1_error_pct: the median over the last 5 epochs; None for a run that diverged.
    """

    status: str
    top1_error_pct: float | None
    final: float | None
    epochs: int
    seconds: float
    path: Path


def finished(run: Run) -> Result | None:
    """The result on disk, unless overwrite=true asks for a new one."""
    if run.overwrite or records.state(run.folder) not in records.FINISHED or _foreign_config(run):
        return None
    result = records.read_object(run.folder / "result.json")
    try:
        error = result["top1_error_pct"]
        median, final, status, epochs = error["median_last5"], error["final"], result["status"], result["epochs"]
        sound = all(type(value) in ((float, int) if status == "done" else (type(None),)) for value in (median, final))
        if not sound or (status == "done" and epochs != run.recipe.epochs):
            return None
        return Result(status, median, final, epochs, float(result["seconds"]), run.folder)
    except (KeyError, TypeError, ValueError):
        return None  # it is made anew from the rows


def execute(run: Run, command: list[str], say: bool = True, in_sweep: bool = False) -> Result:
    """The result of this run, trained here if it is not on disk yet.

    command: what the user typed after `normbench`, for the record. say: whether to print
    how it goes. in_sweep: whether a run that is refused (a ConfigError) stays on disk as failed,
    for the sweep's table and its rerun; otherwise what the user is about to retype leaves no trace.
    Raises ConfigError for what the user can mend, records.Busy where another process trains the
    same run.
    """
    if before := _finished_for_all_ranks(run):
        if say:
            print(f"{run.headline()}: {before.status} before, {before.path}", flush=True)
        return before
    # spinning at barriers collapses on a shared machine
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from normbench.parallel import dist

    check_world_size(run, dist.world_size())
    leads, stays = dist.rank() == 0, _there(Path(run.out))
    with ExitStack() as held:
        if busy := dist.from_rank_0(lambda: _hold(run.folder, held, stays)):
            raise records.Busy(busy)
        dist.from_rank_0(lambda: _begin(run))
        try:
            _train(run, command, say and leads)
        except Exception as e:  # an interrupted run is cut, a failing one says why on disk too
            if stopping.asked():  # what it needs was told to end too: other ranks, loader processes
                raise stopping.Stopped from e
            if leads and not run.folder.exists():
                raise ConfigError(f"{run.folder} was removed while the run trained; start it again") from e
            if leads:
                _record_failure(run, e, in_sweep, stays)
            raise
    result: Result | None = dist.broadcast(finished(replace(run, overwrite=False)))
    if result is None:
        raise ConfigError(f"{run.folder} was changed while the run trained; start it again")
    return result


def _finished_for_all_ranks(run: Run) -> Result | None:
    """The result of an earlier attempt; what rank 0 sees counts for all ranks."""
    # then this is the only process, and torch is not loaded for a look at the disk
    if "torch" not in sys.modules:
        return finished(run)
    from normbench.parallel import dist

    result: Result | None = dist.broadcast(finished(run))
    return result


def _hold(folder: Path, held: ExitStack, stays: Path) -> str | None:
    """Makes the run's folder and holds it; who else does, where somebody does.

    Where that cannot be, the attempt leaves no folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held.enter_context(records.hold(folder))
    except records.Busy as e:
        return str(e)
    except OSError:
        _remove_empty(folder, stays)
        raise
    return None


def _begin(run: Run) -> None:
    """Clears an earlier failure, or with overwrite=true everything, and writes config.yaml.

    Raises ConfigError for what lies in the folder and cannot be gone on from.
    """
    folder = run.folder
    stale = ["error.json"]
    if run.overwrite:
        stale += ["config.yaml", "env.json", "epochs.jsonl", "probes.jsonl", "result.json"]
        stale += [*records.CHECKPOINTS, "checkpoint.refused.pt"]
    for name in stale:
        files.clear(folder / name)
    if trouble := _foreign_config(run):
        raise ConfigError(f"{folder}: {trouble}; mend config.yaml, or overwrite=true trains the run anew")
    if (trouble := records.result_trouble(folder)) and not records.has_checkpoint(folder):
        raise ConfigError(f"{folder}: {trouble}, and no checkpoint to go on from; overwrite=true trains the run anew")
    if not (folder / "config.yaml").exists():
        records.write_config(folder, run.description())


def _foreign_config(run: Run) -> str | None:
    """What tells that the folder's config.yaml is not this run's; None where it is, or is none."""
    try:
        config = records.read_config(run.folder)
    except FileNotFoundError:
        return None
    except ValueError as e:
        return str(e)
    mine = {"identity": run.identity, **science(run)}
    other = [key for key, value in mine.items() if key not in config or not _agrees(config[key], value)]
    return f"config.yaml has another {', '.join(other)} than this run" if other else None


def _agrees(found: Any, value: Any) -> bool:
    """Whether what was read is what was written; an older version had fewer options."""
    if isinstance(value, dict):
        return isinstance(found, dict) and all(_agrees(found[key], value[key]) for key in value if key in found)
    return bool(found == (list(value) if isinstance(value, tuple) else value))


def _record_failure(run: Run, error: Exception, in_sweep: bool, stays: Path) -> None:
    """Writes error.json; outside a sweep, removes a run that was refused before its first step."""
    kept = records.has_checkpoint(run.folder) or any(
        (run.folder / name).exists() for name in ("epochs.jsonl", "result.json")
    )
    refused = isinstance(error, ConfigError) and not kept
    if refused and not in_sweep:
        shutil.rmtree(run.folder)
        _remove_empty(run.folder.parent, stays)
    else:
        said = {"type": type(error).__name__, "error": one_line(error)}
        with contextlib.suppress(OSError):  # a full disk: that is the error to be told
            records.write_json(run.folder / "error.json", said)


def _there(out: Path) -> Path:
    """What stays when a run is taken away: `out`, or the first folder above it that there is."""
    return next(place for place in (out, *out.parents) if os.path.lexists(place) or place == place.parent)


def _remove_empty(folder: Path, stays: Path) -> None:
    """Removes a folder and those above it that are empty, up to the one that stays."""
    for place in (folder, *folder.parents):
        if place == stays:
            return
        try:
            place.rmdir()
        except FileNotFoundError:
            continue
        except OSError:  # something is in it, or it cannot be removed
            return


# ---------------------------------------------------------------------------- training


def _train(run: Run, command: list[str], say: bool) -> None:
    """Builds everything, trains, and writes result.json last.

    Every rank runs it; rank 0 alone writes.
    """
    import torch  # here and below, since torch is loaded only where a run has to be trained

    from normbench import tracker
    from normbench.environment import environment
    from normbench.parallel import dist
    from normbench.progress import Progress
    from normbench.train import checkpoint
    from normbench.train.evaluate import measure_frozen
    from normbench.train.loop import train
    from normbench.train.network import build, chosen_device
    from normbench.train.task import Classification

    # ------------------------------------------------------------ build
    refused, folder = None, run.folder
    try:
        device = chosen_device(run)
        if run.threads is not None:
            torch.set_num_threads(run.threads)
        images, model = build(run, device)
    except ConfigError as e:  # it may be one rank's alone, whose node lacks the data
        refused = str(e)
    if refused := dist.first_answer(refused):
        raise ConfigError(refused)
    leads, fresh = dist.rank() == 0, dist.broadcast(not records.has_checkpoint(folder))

    # ------------------------------------------------------------ begin
    if fresh:
        dist.from_rank_0(lambda: records.write_json(folder / "env.json", environment(device, command, model, images)))
    if say:
        print(run.headline(images.train_images), flush=True)
    if fresh and (weights := run.norm.options.get("checkpoint")):
        checkpoint.load_weights(Path(weights), model)
    if fresh:
        measure_frozen(run, model, images)

    # ------------------------------------------------------------ train
    task = Classification(run.recipe.label_smoothing)
    watch = Progress(run, images.train_images, enabled=say)
    with watch, tracker.build(run, folder, enabled=leads) as mirror, stopping.undisturbed():
        watch.tracker = mirror
        try:
            status = train(run, model, task, images, folder, watch)
        except torch.OutOfMemoryError as e:
            raise _out_of_memory(run, dist.world_size()) from e
        result = dist.from_rank_0(lambda: _end(run, status, task.metric))
        if leads:
            mirror.finish(result)
    if say:
        print(_told(status, result, task.metric, folder), flush=True)


def _told(status: str, result: dict[str, Any], metric: str, folder: Path) -> str:
    """The closing line: how it ended, the metric of record where there is one, and where it is."""
    from normbench.train.loop import MEDIAN_EPOCHS

    error, last = result[metric]["median_last5"], min(MEDIAN_EPOCHS, result["epochs"])
    over = f"median of the last {last} epochs" if last > 1 else "after one epoch"
    return f"{status}: {folder}" if error is None else f"{status}: {error:.2f} % top-1 error, {over}, {folder}"


def _end(run: Run, status: str, metric: str) -> dict[str, Any]:
    """Writes result.json, and returns what is in it."""
    from normbench.train.loop import summary

    rows = records.read_rows(run.folder)
    epochs = run.recipe.epochs if status == "done" else len(rows)
    if trouble := records.rows_trouble(run.folder, epochs):
        raise ConfigError(f"{run.folder} was changed while the run trained: {trouble}; start it again")
    result = summary(status, rows, metric)
    records.write_json(run.folder / "result.json", result)
    return result


def _out_of_memory(run: Run, world_size: int) -> Exception:
    """What a rank says whose images do not fit.

    Several ranks end with it, as with any rank's failure.
    """
    kind = ConfigError if world_size == 1 else RuntimeError
    workers = run.workers // world_size
    now = run.train.micro_workers or workers
    fewer = max((n for n in range(1, now) if workers % n == 0), default=None)
    way = f"train.micro_workers={fewer} plays fewer at a time with the same numbers, " if fewer else ""
    return kind(
        f"out of memory with {now} workers x {run.batch} images in one forward: {way}"
        "torchrun spreads them over more devices, and a smaller eval_batch may do"
    )
