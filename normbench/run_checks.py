"""The rules on what follows from the typed values.

A broken one is a ConfigError: rule, value, what to type. No torch.
"""

import math
from dataclasses import replace
from pathlib import Path

from normbench import class_folders, facts
from normbench.config import ConfigError, Data
from normbench.hints import divisors
from normbench.runs import Run

MOST_KEPT = 4 << 30  # bytes of past batches in one layer


def check_train_size(run: Run, train_images: int) -> None:
    """An epoch has at least one step. Asked again once a folder's images are counted."""
    if run.data.train_images is not None:
        test_images = facts.of_data(run.data).test_images
        sizes = (("train", "training", run.data.train_images), ("test", "test", test_images))
        for half, word, images in sizes:
            if (size := getattr(run.data, f"{half}_size")) is not None and size > images:
                raise ConfigError(f"data.{half}_size={size} is more than the {images} {word} images of {run.data.name}")
    if run.sgd_batch > train_images:
        raise ConfigError(
            f"sgd_batch={run.sgd_batch} (batch={run.batch} x workers={run.workers}) is larger than the "
            f"training set of {train_images} images; use a smaller batch, workers or sgd_batch"
        )


def check_world_size(run: Run, world_size: int) -> None:
    """Every rank must play the same number of virtual workers."""
    if run.workers % world_size:
        raise ConfigError(
            f"the {world_size} processes must divide workers={run.workers} evenly; start {divisors(run.workers)} of them "
            f"(--nproc_per_node), or choose workers={math.lcm(run.workers, world_size)}"
        )


def check_labels(run: Run) -> None:
    """A worker's batch holds as many images of each of its labels."""
    k, batch, classes = run.data.labels_per_batch, run.batch, run.data.num_classes
    if k is None:
        return
    if batch % k:
        fits = ", ".join(str(d) for d in range(1, min(batch, classes) + 1) if batch % d == 0)
        raise ConfigError(f"data.labels_per_batch={k} must divide batch={batch}, as many images of each; one of {fits}")
    if k > classes:
        raise ConfigError(f"data.labels_per_batch={k} is more than the {classes} classes of {run.data.name}")


def check_window(run: Run) -> None:
    """What a norm keeps of past batches fits into memory."""
    options = run.norm.options
    batches = options.get("window") or max(1, options.get("imitate") or 1)
    size = batches * run.workers * 64 * 4 * 2
    if size > MOST_KEPT:
        key = "window" if options.get("window") else "imitate"
        raise ConfigError(
            f"norm.{key}={options[key]}: {batches:,} batches of {run.workers} workers are {size / 2**30:,.0f} GiB for "
            f"one layer of 64 channels, more than {MOST_KEPT >> 30}; use a smaller one"
        )


def check_checkpoint(path: object) -> None:
    """norm.checkpoint= is a file to start from."""
    if path is not None and not (isinstance(path, str) and Path(path).is_file()):
        raise ConfigError(
            f"norm.checkpoint={path}: no such file; give the path of a run's checkpoint.pt, or leave it out"
        )


def with_classes_counted(data: Data) -> Data:
    """The data with its folders' number of classes and digest, which tell runs on two sets apart.

    Raises ConfigError where data.root lacks the folders that the data set needs, unless they are to
    be downloaded, and for class folders that cannot be trained on.
    """
    known = facts.of_data(data)
    if data.download:
        return data
    root = Path(str(data.root)).expanduser()
    wanted = [("folder", root / folder, Path.is_dir) for folder in known.folders]
    wanted += [("file", root / name, Path.is_file) for name in known.files]
    for kind, path, there in wanted:
        if data.root is None or not there(path):
            seen = f"no {kind} {path}" if data.root is not None else "no folder given"
            raise ConfigError(
                f"data={data.source or data.name} data.root={data.root}: {seen}; "
                f"set data.root=FOLDER that holds {known.layout}"
            )
    if not known.class_folders:
        return data
    found = class_folders.found(root)
    return replace(data, num_classes=len(found.classes), files=found.digest)
