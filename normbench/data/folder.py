"""ImageNet's layout: photos in train/<class>/ and val/<class>/, decoded by loader processes.

Any class folders will do; the folder decides how many classes there are. Where the data set's facts
have no mean and sd, they are those of its own pixels (mean_and_sd).
"""

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from normbench import class_folders, facts
from normbench.config import ConfigError, Data
from normbench.data import augment, order, pixels
from normbench.data.images import Batch, Images
from normbench.hints import one_line

SAMPLED = 1000  # training images that mean and sd are taken over
Item = tuple[int, order.Epoch, int]  # which image, in which epoch, at which position of its order


class UnreadableImage(ConfigError):
    """An image file that cannot be decoded. One line that names it."""


def load(data: Data, *, seed: int, device: torch.device, dtype: torch.dtype) -> "Folder":
    """The images under data.root.

    Raises ConfigError where train/ and val/ are not there or not of the same classes.
    """
    size, resize = data.image_size, data.eval_resize or data.image_size
    if size is None or resize is None or resize < size:
        raise ConfigError(
            f"data={data.name} needs data.image_size and a data.eval_resize that is no smaller, "
            f"got {size} and {resize}; the usual pair is 224 and 256, null for the latter is the former"
        )
    if data.root is None:
        raise ConfigError(f"data={data.name} needs the folder that holds train/ and val/: set data.root=FOLDER")
    root = Path(data.root).expanduser()
    found = class_folders.found(root)
    # another node's folder may hold others, and this one may have changed meanwhile
    if data.files not in (None, found.digest):
        raise ConfigError(
            f"data.root={root} holds other images ({found.digest}) than those of this run ({data.files}): "
            "put the same ones on every machine, and start again"
        )
    train_paths, train_labels = _list(root / "train")
    test_paths, test_labels = _list(root / "val")
    kept = _first_of(len(train_paths), "data.train_size", data.train_size, root / "train")
    asked = _first_of(len(test_paths), "data.test_size", data.test_size, root / "val")
    known, test_transform = facts.of_data(data), augment.centre(resize, size)
    train_transform = test_transform
    if data.augment == "crop_flip":
        train_transform = augment.shifted(resize, size)
    elif data.augment != "none":
        train_transform = augment.inception(size, color=data.augment == "inception_color")
    computed = None
    if not known.mean:
        computed = mean_and_sd(Files(train_paths, train_labels, test_transform, seed, data.grey))
    mean, sd = computed or (known.mean, known.sd)
    made = Folder(
        Files(train_paths[kept], train_labels[kept], train_transform, seed, data.grey),
        Files(test_paths[asked], test_labels[asked], test_transform, seed, data.grey),
        num_classes=len(found.classes),
        image_shape=facts.image_shape(data),
        mean=mean,
        sd=sd,
        loader_processes=_cores() if data.loader_processes is None else data.loader_processes,
        seed=seed,
        device=device,
        dtype=dtype,
    )
    made.mean, made.sd = computed or (None, None)
    return made


def mean_and_sd(files: "Files") -> tuple[list[float], list[float]]:
    """Of the pixels as evaluation sees them; of the first SAMPLED images of a permutation."""
    chosen = order.first_of(len(files), min(SAMPLED, len(files)))
    return pixels.mean_and_sd(files[int(i), "evaluation", 0][0].numpy()[None] for i in chosen)


def _cores() -> int:
    """One loader process per core that this process may use, at most 8: more gain nothing."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return min(8, len(allowed))


def _list(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The paths and labels of a folder's images."""
    classes = class_folders.images(folder)
    # As arrays: loader processes share their pages. Of a list of a million strings, reference
    # counting copies them all.
    paths = np.array([os.fsencode(path) for files in classes.values() for path, _ in files])
    return paths, np.repeat(np.arange(len(classes)), [len(files) for files in classes.values()])


def _first_of(count: int, key: str, size: int | None, folder: Path) -> np.ndarray:
    """Which of a folder's images are used; raises ConfigError where it has too few."""
    if size is not None and size > count:
        raise ConfigError(f"{key}={size} is more than the {count} images of {folder}")
    return order.first_of(count, size)


class Folder(Images):
    """A data set on disk.

    loader_processes decode ahead of the training; 0: the training process does it itself.
    """

    def __init__(
        self,
        train: "Files",
        test: "Files",
        *,
        num_classes: int,
        image_shape: tuple[int, int, int],
        mean: Sequence[float],
        sd: Sequence[float],
        loader_processes: int,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.train_images, self.test_images = len(train), len(test)
        self.train_labels = train.labels
        self.image_shape = image_shape
        self.num_classes = num_classes
        self.seed = seed
        self.device = device
        self.normalise = augment.Normalise([255 * m for m in mean], [255 * s for s in sd], device, dtype)
        self._train_plan, self._test_plan = _Plan(), _Plan()
        # The training's loader processes live as long as the run; those of the test set would idle
        # most of the time.
        self._train_loader = self._loader(train, self._train_plan, loader_processes, keep=loader_processes > 0)
        self._test_loader = self._loader(test, self._test_plan, loader_processes, keep=False)
        self._walks = 0

    def _loader(self, files: "Files", plan: "_Plan", processes: int, *, keep: bool) -> "DataLoader[Any]":
        return DataLoader(
            files,
            batch_sampler=plan,
            num_workers=processes,
            persistent_workers=keep,
            collate_fn=_as_it_is,
            pin_memory=self.device.type == "cuda",
            # else each epoch would advance the global one, which dropout draws from
            generator=torch.Generator(),
        )

    def _train(self, epoch: order.Epoch, chosen: np.ndarray, shares: Sequence[range]) -> Iterator[Batch]:
        self._walks += 1
        walk = self._walks
        self._train_plan.batches = ([(int(chosen[p]), epoch, p) for p in share] for share in shares)
        for batch in self._fetch(self._train_loader):
            yield batch
            assert walk == self._walks, "a second walk over the training images has begun before this one ended"

    def _test(self, chunks: Sequence[np.ndarray]) -> Iterator[Batch]:
        self._test_plan.batches = ([(int(index), "evaluation", 0) for index in chunk] for chunk in chunks)
        yield from self._fetch(self._test_loader)

    def _fetch(self, loader: "DataLoader[Any]") -> Iterator[Batch]:
        with warnings.catch_warnings():
            # Python 3.12 and later warn of a fork beside other threads, and torch has some; the
            # children only decode.
            warnings.filterwarnings("ignore", message=".*use of fork", category=DeprecationWarning)
            batches = iter(loader)
        for batch in batches:
            if isinstance(batch, UnreadableImage):
                raise UnreadableImage(str(batch))
            x, y = (part.to(self.device, non_blocking=True) for part in batch)
            yield self.normalise(x), y


class _Plan:
    """What a loader reads its next batches from. It outlives an epoch, so its processes can."""

    def __init__(self) -> None:
        self.batches: Iterable[list[Item]] = ()

    def __iter__(self) -> Iterator[list[Item]]:
        return iter(self.batches)


def _as_it_is(batch: Any) -> Any:
    return batch


class Files(Dataset[tuple[Tensor, int]]):
    """Images by Item, which fixes their randomness: whoever decodes one gets the same pixels."""

    def __init__(
        self, paths: np.ndarray, labels: np.ndarray, transform: augment.Transform, seed: int, grey: bool = False
    ) -> None:
        self.paths = paths
        self.labels = labels
        self.transform = transform
        self.seed = seed
        self.grey = grey

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, item: Item) -> tuple[Tensor, int]:
        index, epoch, position = item
        image = decode(os.fsdecode(self.paths[index]), grey=self.grey)
        # torchvision draws from torch's CPU generator: lend it a seed of ours and give it back as
        # it was. Not torch.manual_seed, which would seed the GPU's as well.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(order.key(self.seed, epoch, position, "augment"))
            return self.transform(image), int(self.labels[index])

    def __getitems__(self, items: Sequence[Item]) -> "Batch | UnreadableImage":
        """One batch; what the loader asks for.

        A corrupt file travels as a value: an exception from a loader process arrives wrapped in a
        page of traceback.
        """
        try:
            images, labels = zip(*(self[item] for item in items), strict=True)
        except UnreadableImage as error:
            return error
        return torch.stack(images), torch.tensor(labels)


def decode(path: str, grey: bool = False) -> Image.Image:
    """The image as RGB, or in one channel of grey. Raises UnreadableImage, which names the file."""
    try:
        with Image.open(path) as image:
            return eight_bits(image, path).convert("L" if grey else "RGB")
    except UnidentifiedImageError:
        raise UnreadableImage(f"{path}: not an image, or a corrupt one; replace or remove it") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow's
        if isinstance(error, UnreadableImage):
            raise
        raise UnreadableImage(f"{path}: cannot be decoded ({one_line(error)}); replace or remove it") from error


def eight_bits(image: Image.Image, path: str) -> Image.Image:
    """The image in 8 bits, into which Pillow would clip what is deeper: 16-bit grey to white."""
    if image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.float64)
        return Image.fromarray((deep / 257).round().astype(np.uint8))
    if image.mode in ("I", "F"):
        kind = "32-bit integers" if image.mode == "I" else "floating-point numbers"
        raise UnreadableImage(f"{path}: its pixels are {kind}, whose white is not known; save it with 8 or 16 bits")
    return image
