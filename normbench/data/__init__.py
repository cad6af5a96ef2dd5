"""The data sets by name: each a loader of this folder and the yaml in conf/data that names it."""

import importlib

import numpy as np
import torch

from normbench import facts
from normbench.checks import check_options
from normbench.config import ConfigError, Data
from normbench.data.images import Arrays, Batch, Images, InMemory

__all__ = ["Arrays", "Batch", "Images", "InMemory", "build", "image_shape"]


def image_shape(data: Data) -> tuple[int, int, int]:
    """(C, H, W) of what the network sees, from the config alone."""
    channels, height, width = facts.of(data.name).image_shape
    if height is not None and width is not None:
        return channels, height, width
    if data.image_size is None:
        raise ConfigError(f"data={data.name} needs data.image_size, e.g. 224")
    return channels, data.image_size, data.image_size


def build(data: Data, *, seed: int, device: torch.device, dtype: torch.dtype, batch: int | None = None) -> Images:
    """The data set that `data` names.

    seed: the run's, of the order and the augmentation. batch: images per worker, which
    data.labels_per_batch needs to know.

    Raises ConfigError for an option that the data set does not have, for missing files and for
    files it cannot read.
    """
    known = facts.of(data.name)
    check_options(data)
    loader = importlib.import_module(f"{__name__}.{known.loader}")
    images: Images = loader.load(data, seed=seed, device=device, dtype=dtype)
    if not known.class_folders and data.num_classes != images.num_classes:
        raise ConfigError(f"data.num_classes={data.num_classes}: {data.name} has {images.num_classes}; leave it out")
    if data.labels_per_batch is not None:
        assert batch is not None
        _check_labels(images, each=batch // data.labels_per_batch, data=data)
        images.labelled = batch, data.labels_per_batch
    return images


def _check_labels(images: Images, each: int, data: Data) -> None:
    enough = int((np.unique(images.train_labels, return_counts=True)[1] >= each).sum())
    if enough < (data.labels_per_batch or 0):
        raise ConfigError(
            f"data.labels_per_batch={data.labels_per_batch}: only {enough} labels of {data.name} have the {each} training "
            "images that a batch takes of each; use fewer labels with a smaller batch, or more images"
        )
