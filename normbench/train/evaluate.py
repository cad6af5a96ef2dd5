"""Evaluation, and whose statistics it uses: worker0, mean, precise or batch."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from normbench.config import ConfigError
from normbench.data import Images
from normbench.norms import RunningNorm
from normbench.parallel import dist
from normbench.runs import Run
from normbench.train import precision
from normbench.train.task import Batch, Classification


def prepare(model: nn.Module, run: Run) -> None:
    """Tells the layers, before training, which running statistics to keep.

    Raises ConfigError where there are none to freeze.
    """
    layers = batch_layers(model)
    for layer in layers:
        layer.average_workers = "mean" in (run.eval_stats, *(run.eval_also or ()))
    if run.recipe.freeze_from is not None and not layers:
        raise ConfigError(f"recipe.freeze_from: norm={run.norm.name} keeps no running statistics; leave it out")


def freeze(model: nn.Module) -> None:
    """Freezes the batch layers of a model in training mode (Wu & Johnson 2021, 3.4: FrozenBN).

    They go on as in evaluation: gamma, beta and what is before them learn, the statistics stay.
    These are the ones that the last evaluation used or left, the same on all ranks; of
    eval_stats=precise the population statistics of that moment.
    """
    for layer in batch_layers(model):
        layer.eval()


def batch_layers(model: nn.Module) -> list[RunningNorm]:
    return [m for m in model.modules() if isinstance(m, RunningNorm)]


def evaluate(run: Run, model: nn.Module, task: Classification, data: Images, frozen: bool = False) -> float:
    """The metric over the test images, each counted once for any number of ranks.

    Leaves the model in eval mode.

    worker0: worker 0's running statistics; mean: their mean over the workers; precise: recomputed
    over precise_images training images in training's own batches; batch: each mini-batch's own, in
    mini-batches of run.batch images. frozen: whether the layers train with fixed statistics, which
    then are those of worker0, mean and precise alike.
    """
    settle_statistics(run, model, data, frozen)
    with answering(run, model):
        wrong, images = _count_wrong(model, task, evaluation_batches(run, data))
    assert images == data.test_images, f"{images} of {data.test_images} test images were evaluated"
    return task.score(wrong, images)


def settle_statistics(run: Run, model: nn.Module, data: Images, frozen: bool) -> None:
    """Gives the layers, on every rank, the running statistics that evaluation uses."""
    layers = batch_layers(model)
    if frozen:
        return
    if run.eval_stats == "precise":
        _measure(run, model, layers, data)
        return
    # the running statistics alone: a layer's memory of a worker's past is that worker's own
    for layer in layers:
        dist.equalize([layer.running_mean, layer.running_var], average=layer.average_workers)


@contextmanager
def answering(run: Run, model: nn.Module) -> Iterator[None]:
    """The model as it is evaluated: in eval mode and the run's precision, without gradients.

    Afterwards it is left in eval mode.
    """
    answer_by(run, model)
    with torch.no_grad(), precision.autocast(run, device_of(model)):
        yield
    for layer in batch_layers(model):
        layer.minibatch = None


def answer_by(run: Run, model: nn.Module) -> None:
    """Eval mode, by the statistics that the run asks for: running ones, or a mini-batch's own."""
    for layer in batch_layers(model):
        layer.minibatch = run.batch if run.eval_stats == "batch" else None
    model.eval()


def evaluation_batches(run: Run, data: Images) -> Iterator[Batch]:
    """This rank's test images, in the order of Images.evaluation."""
    rank, world_size = dist.rank(), dist.world_size()
    if run.eval_stats != "batch":
        return data.evaluation(rank, world_size, run.eval_batch)
    # split among the workers as in training: the same images meet whatever the number of ranks
    return data.evaluation(rank, world_size, run.sgd_batch // world_size, minibatch=run.batch)


def evaluate_also(
    run: Run, model: nn.Module, task: Classification, data: Images, frozen: bool = False
) -> dict[str, float]:
    """The metric with each of eval_also's statistics, as columns of an epoch's row.

    No trace of it is left in training.
    """
    found = {}
    for stats in run.eval_also or ():
        with _unchanged(model):
            error = evaluate(replace(run, eval_stats=stats), model, task, data, frozen)
        found[f"{task.metric}_{stats}"] = error
    return found


@contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    """Puts back every buffer, and the random numbers that dropout would draw."""
    device = device_of(model)
    before = [buffer.clone() for buffer in model.buffers()]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
    with torch.no_grad():
        for buffer, value in zip(model.buffers(), before, strict=True):
            buffer.copy_(value)


def measure_frozen(run: Run, model: nn.Module, data: Images) -> None:
    """Gives layers that need fixed statistics the network's own, over training images."""
    layers = [layer for layer in batch_layers(model) if layer.needs_measuring]
    if layers:
        _measure(run, model, layers, data)


def _count_wrong(model: nn.Module, task: Classification, batches: Iterable[Batch]) -> tuple[int, int]:
    wrong = images = 0
    for batch in batches:
        wrong += int(task.predict(model, batch))
        images += len(batch[1])
    sums = dist.all_reduce(torch.tensor([wrong, images], dtype=torch.float64, device=device_of(model)))
    return int(sums[0]), int(sums[1])


@torch.no_grad()
def _measure(run: Run, model: nn.Module, layers: list[RunningNorm], data: Images) -> None:
    """Recomputes the layers' statistics over training images; all ranks end with the same ones."""
    model.train()
    for layer in layers:
        layer.start_measuring()
    batches = data.precise(run.precise_images, run.sgd_batch, dist.rank(), dist.world_size())
    with precision.autocast(run, device_of(model)):
        for images, _ in batches:
            model(images)
    for layer in layers:
        layer.finish_measuring()


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
