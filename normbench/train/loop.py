"""One run's training, from the first step or from where it was cut, to its last record."""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from normbench import records, stopping
from normbench.data import Images
from normbench.parallel import dist
from normbench.parallel.agree import AnyRank
from normbench.runs import Run
from normbench.train import checkpoint, optim, precision
from normbench.train.checkpoint import Position
from normbench.train.evaluate import batch_layers, evaluate, evaluate_also, freeze
from normbench.train.micro import MicroWorkers
from normbench.train.probe import Probe
from normbench.train.schedule import Schedule
from normbench.train.task import Batch, Classification

MEDIAN_EPOCHS = 5  # the GN paper reports the median of the final 5 epochs


class Watch(Protocol):
    """Who is told how the run goes: a progress bar, a log, a tracker."""

    def step(self, epoch: int, step: int) -> None: ...
    def row(self, row: dict[str, Any]) -> None: ...


def train(run: Run, model: nn.Module, task: Classification, data: Images, folder: Path, watch: Watch) -> str:
    """Trains for recipe.epochs, with rows and checkpoints in the folder; "done" or "diverged".

    Every rank runs this; rank 0 writes. The result is the same, bit for bit, however often the run
    was cut. Raises Stopped at SIGTERM, after the step and with its checkpoint.
    """
    recipe, device = run.recipe, next(model.parameters()).device
    steps = run.steps_per_epoch(data.train_images)
    updates, lr_of = optim.Updates(run, model, device), Schedule(run, steps)
    leads = dist.rank() == 0
    probe, micro, any_rank = Probe(run, model, folder), MicroWorkers(run, model), AnyRank()

    # ------------------------------------------------------------ where it stands
    start = checkpoint.resume(run, folder, model, updates, steps) or Position()
    dist.from_rank_0(lambda: records.keep(folder, start.epoch, start.epoch * steps + start.step))
    if start == Position():
        checkpoint.save(folder, start, model, updates, run.identity)
    began = time.perf_counter() - start.seconds

    def position(epoch: int, step: int, sums: Tensor) -> Position:
        """The run's position, with this epoch's sums over all ranks, which rank 0 carries on."""
        total = dist.all_reduce(sums)
        sums.copy_(total if leads else torch.zeros_like(sums))
        loss, wrong = total.tolist()
        images = ((epoch - 1) * steps + step) * run.sgd_batch
        return Position(epoch - 1, step, images, time.perf_counter() - began, loss, int(wrong))

    def keep(epoch: int, step: int, sums: Tensor) -> None:
        probe.forget()
        here = position(epoch, step, sums)
        if _finite(here, model):  # one that is not would leave nothing to look into
            checkpoint.save(folder, here, model, updates, run.identity)

    def fetched(epoch: int, first: int, sums: Tensor) -> Iterator[tuple[int, Batch]]:
        """Each step with its images; where SIGTERM ended the loader processes too, what it ends."""
        batches, step = data.epoch(epoch, run.sgd_batch, dist.rank(), dist.world_size(), first_step=first), first
        try:
            for step, batch in enumerate(batches, start=first + 1):
                yield step, batch
        except RuntimeError:
            if not stopping.asked() or dist.world_size() > 1:
                raise
            keep(epoch, step, sums)
            raise stopping.Stopped(f"{run.short()} stopped after epoch {epoch} step {step}") from None

    for epoch in range(start.epoch + 1, recipe.epochs + 1):
        first = start.step if epoch == start.epoch + 1 else 0
        # loss and wrong of the epoch's steps
        before = [start.loss_sum, start.wrong_sum] if first and leads else [0.0, 0.0]
        sums = torch.tensor(before, dtype=torch.float64, device=device)
        model.train()
        frozen = recipe.frozen(epochs_done=epoch - 1)
        if frozen:
            freeze(model)
        for step, batch in fetched(epoch, first, sums):
            # ------------------------------------------------------------ one training step
            probe.before_step(epoch, (epoch - 1) * steps + step)
            for part in micro.parts(batch):
                with precision.autocast(run, device):
                    loss, wrong = task.losses(model, part)
                    loss = loss * micro.loss_weight
                updates.backward(loss)
                probe.after_backward(updates.scaler)
                sums[0] += loss.detach()
                sums[1] += wrong
            updates.step(lr_of(epoch, step))
            watch.step(epoch, step)
            stop = any_rank(stopping.asked())
            if stop or (step % run.checkpoint_steps == 0 and step < steps):
                keep(epoch, step, sums)
            if stop:
                raise stopping.Stopped(f"{run.short()} stopped after epoch {epoch} step {step}")

        # ------------------------------------------------------------ one epoch's row
        here = position(epoch, steps, sums)
        finite = _finite(here, model)
        if finite:
            with updates.evaluated():
                also = evaluate_also(run, model, task, data, frozen)
                error = evaluate(run, model, task, data, frozen)
        if not finite or not _finite(here, model):  # eval_stats=precise measures them anew
            checkpoint.back_to_the_last_epoch(folder)
            return "diverged"
        row = {
            "epoch": epoch,
            "images_seen": here.images_seen,
            "lr": lr_of(epoch, steps),  # of its last step
            "train_loss": here.loss_sum / steps,
            "train_error_pct": task.score(here.wrong_sum, steps * run.sgd_batch),
            task.metric: error,
            **also,
            "seconds": round(time.perf_counter() - began, 3),
        }
        dist.from_rank_0(partial(records.append_row, folder, row))
        done = replace(here, epoch=epoch, step=0, seconds=row["seconds"], loss_sum=0.0, wrong_sum=0)
        checkpoint.save(folder, done, model, updates, run.identity)
        probe.forget()
        watch.row(row)
        if any_rank.now(stopping.asked()) and epoch < recipe.epochs:
            raise stopping.Stopped(f"{run.short()} stopped after epoch {epoch}")
    return "done"


def _finite(here: Position, model: nn.Module) -> bool:
    """Whether loss, weights and running statistics are numbers; every rank answers alike.

    The statistics that are kept: rank 0's, or the mean over all workers.
    """
    leads = dist.rank() == 0
    kept = [
        statistic
        for layer in batch_layers(model)
        if leads or layer.average_workers
        for statistic in (layer.running_mean, layer.running_var)
    ]
    mine = abs(here.loss_sum) < float("inf") and optim.finite([*model.parameters(), *kept])
    return dist.first_answer(None if mine else "not finite") is None


def summary(status: str, rows: list[dict[str, Any]], metric: str) -> dict[str, Any]:
    """result.json: the metric of record, the median over the last 5 epochs, and the final value.

    A diverged run has no metric; its epochs are those that ended finite.
    """
    values = sorted(row[metric] for row in rows[-MEDIAN_EPOCHS:])
    middle = len(values) // 2
    median = None if not values else values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2
    done = status == "done"
    return {
        "status": status,
        metric: {"median_last5": median if done else None, "final": rows[-1][metric] if done else None},
        "epochs": len(rows),
        "images_seen": rows[-1]["images_seen"] if rows else 0,
        "seconds": rows[-1]["seconds"] if rows else 0.0,
    }
