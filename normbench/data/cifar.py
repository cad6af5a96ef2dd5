"""CIFAR-10 and CIFAR-100 from torchvision's files, whole on the device as uint8."""

import warnings
from typing import NamedTuple

import numpy as np
import torch

from normbench.config import ConfigError, Data
from normbench.data import Arrays, InMemory, order


class _Kind(NamedTuple):
    classes: int
    mean: tuple[float, ...]  # of the 50,000 training images, per channel, on the 0..1 scale
    sd: tuple[float, ...]


_KINDS = {
    "cifar10": _Kind(10, mean=(0.4914, 0.4822, 0.4465), sd=(0.2470, 0.2435, 0.2616)),
    "cifar100": _Kind(100, mean=(0.5071, 0.4865, 0.4409), sd=(0.2673, 0.2564, 0.2762)),
}


def load(data: Data, *, seed: int, device: torch.device, dtype: torch.dtype) -> InMemory:
    """The data set in data.root, fetched there first where data.download says so. Raises ConfigError without it."""
    kind = _KINDS[data.name]
    images, labels = _read(data, train=True)
    kept = order.first_of(len(images), data.train_size)
    return InMemory(
        Arrays(images[kept], labels[kept]),
        _read(data, train=False),
        mean=[255 * m for m in kind.mean],
        sd=[255 * s for s in kind.sd],
        num_classes=kind.classes,
        augment=data.augment,
        seed=seed,
        device=device,
        dtype=dtype,
    )


def _read(data: Data, *, train: bool) -> Arrays:
    from torchvision.datasets import CIFAR10, CIFAR100  # 1 s to import

    if data.root is None:
        raise ConfigError(f"data={data.name} needs the folder of its files: set data.root=FOLDER")
    kind = CIFAR10 if data.name == "cifar10" else CIFAR100
    try:
        with warnings.catch_warnings():
            # NumPy 2.4 and later frown at the dtype in these pickles of 2009.
            warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")
            found = kind(data.root, train=train, download=data.download)
    except (RuntimeError, OSError) as error:  # torchvision's checksums; the network or the disk
        raise ConfigError(
            f"data.root={data.root}: {data.name} cannot be read ({_first_line(error)}); "
            "set data.root to the folder that holds torchvision's files, or add data.download=true"
        ) from error
    return Arrays(np.ascontiguousarray(found.data.transpose(0, 3, 1, 2)), np.array(found.targets, np.int64))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
