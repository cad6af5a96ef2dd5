"""CIFAR-10 and CIFAR-100 from torchvision's files, whole on the device as uint8."""

import warnings

import numpy as np
import torch

from normbench import facts
from normbench.config import ConfigError, Data
from normbench.data.images import Arrays, InMemory
from normbench.data.in_memory import unreadable


def load(data: Data, *, seed: int, device: torch.device, dtype: torch.dtype) -> InMemory:
    """The data set in data.root, fetched there first where data.download says so.

    Raises ConfigError without it.
    """
    known = facts.of_data(data)
    (train, classes), (test, _) = (_read(data, train=half) for half in (True, False))
    return InMemory(
        train.first_of(data.train_size),
        test.first_of(data.test_size),
        mean=[255 * m for m in known.mean],
        sd=[255 * s for s in known.sd],
        num_classes=classes,
        augment=data.augment,
        seed=seed,
        device=device,
        dtype=dtype,
    )


def _read(data: Data, *, train: bool) -> tuple[Arrays, int]:
    """The training or test images with their labels, and the number of classes."""
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
        raise unreadable(data, error) from error
    images = Arrays(np.ascontiguousarray(found.data.transpose(0, 3, 1, 2)), np.array(found.targets, np.int64))
    return images, len(found.classes)
