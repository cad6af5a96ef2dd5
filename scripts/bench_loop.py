"""What the training loop costs: python scripts/bench_loop.py [--rounds 15] [--threads 1]

Images per second of an epoch, the sides alternating in one process; a ratio is the median over the
rounds of one side by the other:
  loop      normbench's training loop over a hand-written minimal one: same network, data, SGD batch
            and optimizer
  virtual   batch normalization with 32 virtual workers of 2 images over a plain one on 64
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from normbench import data, models
from normbench.compose import run_of
from normbench.models.cifar_resnet import CifarResNet
from normbench.train.loop import train
from normbench.train.task import Classification

SGD_BATCH = 64


class StopWatch:
    """Times the steps of an epoch: from the end of the first, which warms up, to the end of the
    last.
    """

    def __init__(self) -> None:
        self.at: list[float] = []

    def step(self, epoch: int, step: int) -> None:
        self.at.append(time.perf_counter())

    def row(self, row: dict[str, Any]) -> None: ...

    def images_per_second(self) -> float:
        return (len(self.at) - 1) * SGD_BATCH / (self.at[-1] - self.at[0])


def ours(batch: int, images: data.Images) -> float:
    run = run_of([f"batch={batch}", f"sgd_batch={SGD_BATCH}", "recipe.epochs=1"])
    torch.manual_seed(0)
    workers = SGD_BATCH // batch
    model = models.build(run.model.name, norm=run.norm.as_dict(), num_classes=10, workers=workers, image_channels=1)
    watch = StopWatch()
    with tempfile.TemporaryDirectory() as folder:
        train(run, model, Classification(), images, Path(folder), watch)
    return watch.images_per_second()


def minimal(images: data.Images) -> float:
    """What one would write by hand, on a network with torch's own BatchNorm2d."""
    torch.manual_seed(0)
    model = CifarResNet(8, num_classes=10, image_channels=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    x, y = (torch.cat(parts) for parts in zip(*images.epoch(1, SGD_BATCH), strict=True))
    order, watch = torch.randperm(len(x)), StopWatch()
    for step in range(len(x) // SGD_BATCH):
        chosen = order[step * SGD_BATCH : (step + 1) * SGD_BATCH]
        loss = F.cross_entropy(model(x[chosen]), y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        watch.step(1, step)
    return watch.images_per_second()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    digits = run_of([]).data
    images = data.build(digits, seed=0, device=torch.device("cpu"), dtype=torch.float32)
    sides = {
        "minimal loop": lambda: minimal(images),
        "normbench, BN on 64": lambda: ours(64, images),
        "normbench, BN, 32 workers of 2": lambda: ours(2, images),
    }
    # the first round warms up
    speeds: dict[str, list[float]] = {name: [side()] for name, side in sides.items()}
    for _ in range(arguments.rounds):
        for name, side in sides.items():
            speeds[name].append(side())
    hand, plain, virtual = (found[1:] for found in speeds.values())
    for name, found in speeds.items():
        print(f"{statistics.median(found[1:]):8,.0f} img/s  {name}")
    print(f"loop     {_ratio(plain, hand):.3f}  (at least 0.95)")
    print(f"virtual  {_ratio(virtual, plain):.3f}  (at least 0.90)")


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


if __name__ == "__main__":
    main()
