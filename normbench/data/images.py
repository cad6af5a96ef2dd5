"""A data set as training sees it: this rank's share of an epoch, of the test set, of a sample.

A rank's share of an SGD batch comes as (x, y): x normalised, in the run's dtype, y the class
numbers, both on the device. order.py decides who sees what when.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from normbench.data import order
from normbench.data.augment import CROP_FLIP_DRAWS, Normalise, crop_flip

Batch = tuple[Tensor, Tensor]


class Images(ABC):
    """A data set as training sees it.

    A subclass fetches; which images, and with which randomness, is settled here.
    """

    num_classes: int
    image_shape: tuple[int, int, int]  # (C, H, W) of what the network sees
    train_images: int  # after data.train_size
    train_labels: np.ndarray  # of those, known without their pixels
    test_images: int  # after data.test_size
    seed: int
    # of the training pixels, per channel, 0..1, where the loader computed them: for env.json
    mean: list[float] | None = None
    sd: list[float] | None = None
    # of data.labels_per_batch: a worker's images of a step, and how many labels they have
    labelled: tuple[int, int] | None = None

    def epoch(
        self, epoch: int, sgd_batch: int, rank: int = 0, world_size: int = 1, first_step: int = 0
    ) -> Iterator[Batch]:
        """This rank's share of each SGD batch of the epoch, from step `first_step` on.

        Whole SGD batches only: the images left over are other ones in every epoch. One walk over
        the training images at a time: a second one ends the first.
        """
        steps = range(first_step, self.train_images // sgd_batch)
        return self._train(epoch, self._order(epoch, sgd_batch), order.shares(steps, sgd_batch, rank, world_size))

    def precise(self, count: int, sgd_batch: int, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        """What exact statistics are taken over: training's SGD batches, the same at every call.

        As many whole ones as `count` images need, or as there are.
        """
        steps = range(min(-(-count // sgd_batch), self.train_images // sgd_batch))
        shares = order.shares(steps, sgd_batch, rank, world_size)
        return self._train("precise", self._order("precise", sgd_batch), shares)

    def evaluation(
        self, rank: int = 0, world_size: int = 1, batch: int = 500, minibatch: int | None = None
    ) -> Iterator[Batch]:
        """This rank's test images, `batch` at a time; over all ranks each image exactly once.

        In a fixed shuffled order, every R-th image to a rank: the statistics of a mini-batch are
        not those of one class, and W/R local workers of n images see, with batch = n*W/R, the
        mini-batches that they see at any other R. A rank may have one image more than another, and
        so one chunk more. With minibatch, the images that do not fill a chunk on every rank go to
        rank 0, `minibatch` at a time.
        """
        chosen = order.permutation(self.test_images, "evaluation")
        dealt = len(chosen) if minibatch is None else len(chosen) - len(chosen) % (batch * world_size)
        mine, rest = chosen[:dealt][rank::world_size], chosen[dealt:] if rank == 0 else chosen[:0]
        parts = (mine, batch), (rest, minibatch or batch)
        return self._test([part[i : i + size] for part, size in parts for i in range(0, len(part), size)])

    def _order(self, epoch: order.Epoch, sgd_batch: int) -> np.ndarray:
        """Which image stands at each position of the epoch."""
        if self.labelled is None:
            return order.permutation(self.train_images, self.seed, epoch, "order")
        return order.by_labels(self.train_labels, sgd_batch, *self.labelled, self.seed, epoch, "order by labels")

    @abstractmethod
    def _train(self, epoch: order.Epoch, chosen: np.ndarray, shares: Sequence[range]) -> Iterator[Batch]:
        """The augmented training images at those positions of that epoch's order, `chosen`."""

    @abstractmethod
    def _test(self, chunks: Sequence[np.ndarray]) -> Iterator[Batch]:
        """The test images of those numbers."""


class Arrays(NamedTuple):
    images: np.ndarray  # (N, C, H, W), uint8 or float32
    labels: np.ndarray  # (N,)

    def first_of(self, size: int | None) -> "Arrays":
        """Those that a data.train_size or data.test_size keeps; all where it is None."""
        if size is None:
            return self
        kept = order.first_of(len(self.images), size)
        return Arrays(self.images[kept], self.labels[kept])


class InMemory(Images):
    """A data set that lives whole on the device; a batch is one indexing and one gather."""

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
        images, pixels = self._to_device(chosen), self._images(epoch)
        draws = None
        if self.augment == "crop_flip":
            rng = order.rng(self.seed, epoch, "augment")
            draws = self._to_device(rng.integers(0, CROP_FLIP_DRAWS, self.train_images))
        for share in shares:
            at = slice(share.start, share.stop, share.step)
            mine = images[at]
            x = pixels[mine]
            if draws is not None:
                x = crop_flip(x, draws[at])
            yield self.normalise(x), self.train_y[mine]

    def _images(self, epoch: order.Epoch) -> Tensor:
        """The training images of that epoch before they are augmented, by number."""
        return self.train_x

    def _test(self, chunks: Sequence[np.ndarray]) -> Iterator[Batch]:
        for chunk in chunks:
            chosen = self._to_device(chunk)
            yield self.normalise(self.test_x[chosen]), self.test_y[chosen]

    def _to_device(self, numbers: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(numbers)).to(self.device)
