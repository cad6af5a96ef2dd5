"""The data sets by name: each a loader and a yaml.

Ours are the files of this folder with those of conf/data; an installed package offers its own
through the entry-point group normbench.data (plugins.py).
"""

import importlib
from collections.abc import Callable

import numpy as np
import torch

from normbench import facts, plugins
from normbench.checks import check_options
from normbench.config import ConfigError, Data
from normbench.data.images import Arrays, Batch, Images, InMemory
from normbench.facts import image_shape

__all__ = ["Arrays", "Batch", "Images", "InMemory", "build", "image_shape"]


def build(data: Data, *, seed: int, device: torch.device, dtype: torch.dtype, batch: int | None = None) -> Images:
    """The data set that `data` names.

    seed: the run's, of the order and the augmentation. batch: images per worker, which
    data.labels_per_batch needs to know.

    Raises ConfigError for an option that the data set does not have, for missing files and for
    files it cannot read.
    """
    known = facts.of_data(data)
    check_options(data)
    images = _loader(data, known)(data, seed=seed, device=device, dtype=dtype)
    if not isinstance(images, Images):
        raise ConfigError(
            f"data={data.name}: {known.loader} returned no normbench.data.Images, but {type(images).__name__}"
        )
    if not known.class_folders:
        _check_facts(data, known, images)
    if data.labels_per_batch is not None:
        assert batch is not None
        _check_labels(images, each=batch // data.labels_per_batch, data=data)
        images.labelled = batch, data.labels_per_batch
    return images


def _loader(data: Data, known: facts.Facts) -> Callable[..., Images]:
    name = data.source or data.name
    if name not in plugins.offered("data"):
        ours: Callable[..., Images] = importlib.import_module(f"{__name__}.{known.loader}").load
        return ours
    found = plugins.load(name, "data")
    if not callable(found):
        raise ConfigError(f"data={name}: {known.loader} is no function load(data, *, seed, device, dtype)")
    return found


def _check_facts(data: Data, known: facts.Facts, images: Images) -> None:
    """What was loaded is what a dry run, and every check before loading, took it to be."""
    if data.num_classes != images.num_classes:
        raise ConfigError(f"data.num_classes={data.num_classes}: {data.name} has {images.num_classes}; leave it out")
    stated = image_shape(data), data.train_size or known.train_images, data.test_size or known.test_images
    found = tuple(images.image_shape), images.train_images, images.test_images
    for what, wanted, loaded in zip(("image shape", "training images", "test images"), stated, found, strict=True):
        if wanted != loaded:
            where = plugins.yaml_of(data.source or data.name, "data").name
            raise ConfigError(f"data={data.name}: {what} {loaded} loaded, and {wanted} in the facts of {where}")


def _check_labels(images: Images, each: int, data: Data) -> None:
    enough = int((np.unique(images.train_labels, return_counts=True)[1] >= each).sum())
    if enough < (data.labels_per_batch or 0):
        raise ConfigError(
            f"data.labels_per_batch={data.labels_per_batch}: only {enough} labels of {data.name} have the {each} training "
            "images that a batch takes of each; use fewer labels with a smaller batch, or more images"
        )
