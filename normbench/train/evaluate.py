"""Evaluation, and whose statistics it uses: worker0, mean, precise or batch."""

from collections.abc import Iterable, Iterator

import torch
from torch import nn

from normbench.config import Config, resolved
from normbench.data import Images
from normbench.norms.batch import BatchNorm
from normbench.parallel import dist
from normbench.train import precision
from normbench.train.task import Batch, Classification


def prepare(model: nn.Module, eval_stats: str) -> None:
    """Tells the layers, before training, which running statistics to keep."""
    for layer in batch_layers(model):
        layer.average_workers = eval_stats == "mean"


def batch_layers(model: nn.Module) -> list[BatchNorm]:
    return [m for m in model.modules() if isinstance(m, BatchNorm)]


def evaluate(config: Config, model: nn.Module, task: Classification, data: Images) -> float:
    """The metric over the test images, each counted once whatever the number of ranks; leaves the model in eval mode.

    worker0: worker 0's running statistics; mean: their mean over the workers; precise: recomputed over precise_images
    training images in training's own batches; batch: each mini-batch's own, in mini-batches of config.batch images.
    """
    layers = batch_layers(model)
    if config.eval_stats == "precise":
        _measure(config, model, layers, data)
    elif layers:
        dist.broadcast_state(model, average=config.eval_stats == "mean")
    own = config.eval_stats == "batch"
    batch = _whole_batches(config) if own else config.eval_batch
    for layer in layers:
        layer.minibatch = config.batch if own else None
    model.eval()
    batches = data.evaluation(dist.rank(), dist.world_size(), batch)
    with precision.autocast(config, device_of(model)):
        wrong, images = _predict(model, task, _whole(batches, config.batch) if own else batches)
    for layer in layers:
        layer.minibatch = None
    assert images == data.test_images, f"{images} of {data.test_images} test images were evaluated"
    return task.score(wrong, images)


def measure_frozen(config: Config, model: nn.Module, data: Images) -> None:
    """Gives layers that need fixed statistics those of the network as it stands, over training images."""
    layers = [layer for layer in batch_layers(model) if layer.needs_measuring]
    if layers:
        _measure(config, model, layers, data)


@torch.no_grad()
def _predict(model: nn.Module, task: Classification, batches: Iterable[Batch]) -> tuple[int, int]:
    wrong = images = 0
    for batch in batches:
        wrong += int(task.predict(model, batch))
        images += len(batch[1])
    sums = dist.all_reduce(torch.tensor([wrong, images], dtype=torch.float64, device=device_of(model)))
    return int(sums[0]), int(sums[1])


@torch.no_grad()
def _measure(config: Config, model: nn.Module, layers: list[BatchNorm], data: Images) -> None:
    """Recomputes the layers' statistics over training images; all ranks end with the same ones."""
    model.train()
    for layer in layers:
        layer.start_measuring()
    batches = data.precise(config.precise_images, resolved(config.sgd_batch), dist.rank(), dist.world_size())
    with precision.autocast(config, device_of(model)):
        for images, _ in batches:
            model(images)
    for layer in layers:
        layer.finish_measuring()


def _whole(batches: Iterable[Batch], n: int) -> Iterator[Batch]:
    """The same images with no forward that mixes mini-batches of n and a smaller rest."""
    for images, labels in batches:
        whole = len(labels) // n * n
        if whole:
            yield images[:whole], labels[:whole]
        if whole < len(labels):
            yield images[whole:], labels[whole:]


def _whole_batches(config: Config) -> int:
    """About eval_batch images in whole mini-batches; the last ones of the set may make a smaller one."""
    return max(1, config.eval_batch // config.batch) * config.batch


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
