"""The data sets. `build` gives what training asks of one: this rank's share of an epoch, of the test set, of a sample.

A share comes as (x, y): x normalised, in the run's dtype, y the class numbers, both on the device. order.py decides who
sees what when.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from normbench.config import ConfigError, Data
from normbench.data import order
from normbench.data.augment import CROP_FLIP_DRAWS, Normalise, crop_flip

__all__ = ["Arrays", "Batch", "Images", "InMemory", "build"]

Batch = tuple[Tensor, Tensor]


class Images(ABC):
    """A data set as training sees it. A subclass fetches; which images, and with which randomness, is settled here."""

    num_classes: int
    image_shape: tuple[int, int, int]  # (C, H, W) of what the network sees
    train_images: int  # after data.train_size
    train_labels: np.ndarray  # of those, known without their pixels
    test_images: int
    seed: int
    cut: tuple[int, int] | None = (
        None  # of data.labels_per_batch: a worker's images of a step, and how many labels they have
    )

    def epoch(
        self, epoch: int, sgd_batch: int, rank: int = 0, world_size: int = 1, first_step: int = 0
    ) -> Iterator[Batch]:
        """This rank's share of each SGD batch of the epoch, from step `first_step` on.

        Whole SGD batches only: the images left over are other ones in every epoch. One walk over the training images at
        a time: a second one ends the first.
        """
        steps = range(first_step, self.train_images // sgd_batch)
        return self._train(epoch, self._order(epoch, sgd_batch), order.shares(steps, sgd_batch, rank, world_size))

    def precise(self, count: int, sgd_batch: int, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        """What exact statistics are taken over: SGD batches as in training, the same ones at every call.

        As many whole ones as `count` images need, or as there are.
        """
        steps = range(min(-(-count // sgd_batch), self.train_images // sgd_batch))
        shares = order.shares(steps, sgd_batch, rank, world_size)
        return self._train("precise", self._order("precise", sgd_batch), shares)

    def evaluation(
        self, rank: int = 0, world_size: int = 1, batch: int = 500, minibatch: int | None = None
    ) -> Iterator[Batch]:
        """This rank's test images, `batch` at a time; over all ranks every test image exactly once, none padded.

        In a fixed shuffled order, every R-th image to a rank: the statistics of a mini-batch are not those of one
        class, and W/R local workers of n images see, with batch = n*W/R, the mini-batches that they see at any other R.
        A rank may have one image more than another, and so one chunk more. With minibatch, what fills no chunk on every
        rank goes to rank 0, so many at a time.
        """
        chosen = order.permutation(self.test_images, "evaluation")
        shared = len(chosen) if minibatch is None else len(chosen) - len(chosen) % (batch * world_size)
        mine, rest = chosen[:shared][rank::world_size], chosen[shared:] if rank == 0 else chosen[:0]
        parts = (mine, batch), (rest, minibatch or batch)
        return self._test([part[i : i + size] for part, size in parts for i in range(0, len(part), size)])

    def _order(self, epoch: order.Epoch, sgd_batch: int) -> np.ndarray:
        """Which image stands at each position of the epoch."""
        if self.cut is None:
            return order.permutation(self.train_images, self.seed, epoch, "order")
        return order.by_labels(self.train_labels, sgd_batch, *self.cut, self.seed, epoch, "order by labels")

    @abstractmethod
    def _train(self, epoch: order.Epoch, chosen: np.ndarray, shares: Sequence[range]) -> Iterator[Batch]:
        """The augmented training images at those positions of that epoch's order, which is `chosen`."""

    @abstractmethod
    def _test(self, chunks: Sequence[np.ndarray]) -> Iterator[Batch]:
        """The test images of those numbers."""


class Arrays(NamedTuple):
    images: np.ndarray  # (N, C, H, W), uint8 or float32
    labels: np.ndarray  # (N,)


class InMemory(Images):
    """A data set that lives on the device whole, as it is stored; a batch is one indexing, augmented in one gather."""

    def __init__(
        self,
        train: Arrays,
        test: Arrays,
        *,
        mean: Sequence[float],
        sd: Sequence[float],
        num_classes: int,
        augment: str,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.train_x, self.train_y = (torch.from_numpy(a).to(device) for a in train)
        self.test_x, self.test_y = (torch.from_numpy(a).to(device) for a in test)
        self.train_images, self.test_images = len(self.train_x), len(self.test_x)
        self.train_labels = train.labels
        _, c, h, w = self.train_x.shape
        self.image_shape = (c, h, w)
        self.num_classes = num_classes
        self.augment = augment
        self.seed = seed
        self.device = device
        self.normalise = Normalise(mean, sd, device, dtype)

    def _train(self, epoch: order.Epoch, chosen: np.ndarray, shares: Sequence[range]) -> Iterator[Batch]:
        # The whole epoch's choices go to the device once; a step then costs no transfer.
        images = self._to_device(chosen)
        draws = None
        if self.augment == "crop_flip":
            rng = order.rng(self.seed, epoch, "augment")
            draws = self._to_device(rng.integers(0, CROP_FLIP_DRAWS, self.train_images))
        for share in shares:
            at = slice(share.start, share.stop, share.step)
            mine = images[at]
            x = self.train_x[mine]
            if draws is not None:
                x = crop_flip(x, draws[at])
            yield self.normalise(x), self.train_y[mine]

    def _test(self, chunks: Sequence[np.ndarray]) -> Iterator[Batch]:
        for chunk in chunks:
            chosen = self._to_device(chunk)
            yield self.normalise(self.test_x[chosen]), self.test_y[chosen]

    def _to_device(self, numbers: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(numbers)).to(self.device)


# ---------------------------------------------------------------------------- by name

_MODULES = {"digits": "digits", "cifar10": "cifar", "cifar100": "cifar", "imagenet": "folder"}
_AUGMENTS = {"digits": ("none",), "cifar": ("none", "crop_flip"), "folder": ("none", "inception", "inception_color")}
_OPTIONS = {  # beside those that every data set takes
    "digits": {"seed"},
    "cifar": {"root", "download"},
    "folder": {"root", "image_size", "eval_resize", "loader_processes"},
}
_COMMON = {"name", "num_classes", "train_images", "train_size", "labels_per_batch", "augment"}
_SHAPES = {"digits": (1, 12, 12), "cifar": (3, 32, 32)}


def image_shape(data: Data) -> tuple[int, int, int]:
    """(C, H, W) of what the network sees, from the config alone."""
    module = _MODULES[data.name]
    if module != "folder":
        return _SHAPES[module]
    if data.image_size is None:
        raise ConfigError(f"data={data.name} needs data.image_size, e.g. 224")
    return 3, data.image_size, data.image_size


def build(data: Data, *, seed: int, device: torch.device, dtype: torch.dtype, batch: int | None = None) -> Images:
    """The data set `data` names. seed: the run's, of the order and the augmentation. batch: images a worker, which
    data.labels_per_batch needs to know.

    Raises ConfigError for an option that the data set does not have, for missing files and for files it cannot read.
    """
    module = _MODULES[data.name]
    _check_options(data, module)
    images: Images = importlib.import_module(f"{__name__}.{module}").load(data, seed=seed, device=device, dtype=dtype)
    if module != "folder" and data.num_classes != images.num_classes:
        raise ConfigError(f"data.num_classes={data.num_classes}: {data.name} has {images.num_classes}; leave it out")
    if data.labels_per_batch is not None:
        assert batch is not None
        _check_labels(images, each=batch // data.labels_per_batch, data=data)
        images.cut = batch, data.labels_per_batch
    return images


def _check_labels(images: Images, each: int, data: Data) -> None:
    enough = int((np.unique(images.train_labels, return_counts=True)[1] >= each).sum())
    if enough < (data.labels_per_batch or 0):
        raise ConfigError(
            f"data.labels_per_batch={data.labels_per_batch}: only {enough} labels of {data.name} have the {each} training "
            "images that a batch takes of each; use fewer labels with a smaller batch, or more images"
        )


def _check_options(data: Data, module: str) -> None:
    """An option that would be ignored is an error."""
    if data.augment not in _AUGMENTS[module]:
        choices = " or ".join(_AUGMENTS[module])
        raise ConfigError(f"data.augment={data.augment} does not apply to data={data.name}; use data.augment={choices}")
    for option in fields(data):
        value = getattr(data, option.name)
        if option.name not in _COMMON | _OPTIONS[module] and value != option.default:
            raise ConfigError(f"data.{option.name}={value} does not apply to data={data.name}; leave it out")
