"""torchvision's data sets that fit into memory, by name: whole on the device as uint8.

Which there are, and what torchvision is to be asked for, stands in conf/data/torchvision.yaml.
"""

from typing import Any

import numpy as np
import torch

from normbench.config import ConfigError, Data
from normbench.data import pixels
from normbench.data.images import Arrays, InMemory
from normbench.hints import first_line

PART = 1000  # images whose pixels are counted at a time
SPLIT = ("SVHN", "STL10")  # that say split="train" where the others say train=True


def load(data: Data, *, seed: int, device: torch.device, dtype: torch.dtype) -> InMemory:
    """The data set in data.root, fetched there first where data.download says so.

    mean and sd are those of all training pixels. Raises ConfigError where it cannot be read.
    """
    train, test = (_read(data, train=train) for train in (True, False))
    mean, sd = pixels.mean_and_sd(train.images[i : i + PART] for i in range(0, len(train.images), PART))
    made = InMemory(
        train.first_of(data.train_size),
        test.first_of(data.test_size),
        mean=[255 * m for m in mean],
        sd=[255 * s for s in sd],
        num_classes=int(train.labels.max()) + 1,
        augment=data.augment,
        seed=seed,
        device=device,
        dtype=dtype,
    )
    made.mean, made.sd = mean, sd
    return made


def unreadable(data: Data, error: Exception) -> ConfigError:
    """The line for torchvision's files that are not there, not whole, or not to be fetched."""
    if data.download:
        what, mend = "could be neither read nor fetched", "where there is no network, copy torchvision's files into it"
    else:
        what = "cannot be read"
        mend = "set data.root to the folder that holds torchvision's files, or add data.download=true"
    return ConfigError(f"data.root={data.root}: {data.name} {what} ({first_line(error)}); {mend}")


def _read(data: Data, *, train: bool) -> Arrays:
    """The training or test images (N, C, H, W) with their labels, which begin at 0."""
    from torchvision import datasets  # 1 s to import

    if data.root is None:
        raise ConfigError(f"data.name={data.name} needs the folder of its files: set data.root=FOLDER")
    name, _, split = data.name.partition("_")  # EMNIST_letters
    which: dict[str, Any] = {"train": train}
    if name in SPLIT:
        which = {"split": "train" if train else "test"}
    elif split:
        which["split"] = split
    try:
        found = getattr(datasets, name)(data.root, **which, download=data.download)
    except Exception as error:  # checksums, network, disk; of a torn file whatever it is
        raise unreadable(data, error) from error
    images = np.asarray(found.data)
    labels = np.asarray(found.targets if hasattr(found, "targets") else found.labels).astype(np.int64)
    if labels.ndim == 2:  # QMNIST has who wrote it in the other columns
        labels = labels[:, 0]
    if images.ndim == 3:
        images = images[:, None]
    if split == "letters":  # 1 to 26
        labels = labels - 1
    return Arrays(np.ascontiguousarray(images), np.ascontiguousarray(labels))
