"""Photos in train/<class>/ and val/<class>/: which there are, and the digest that tells two apart.

No torch, and no image is decoded: names and sizes are read by one scandir walk, of a few images
the first bytes.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from normbench.config import ConfigError
from normbench.hints import one_line

# what torchvision's ImageFolder takes for an image
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
SPLITS = ("train", "val")
OPENED, BYTES = 256, 65_536  # images of each half of which the digest has the first bytes
THREADS = 16  # that wait for a network drive: a million sizes, one after the other, take minutes


@dataclass(frozen=True)
class Found:
    """What lies under one data.root.

    digest: of class names, of the sizes of each class's images in the order of their names, and of
    the bytes of a few images spread over each half. It follows the images to another folder; one
    image more or less makes another. Not seen: an image outside those few, changed at its old size.
    """

    classes: tuple[str, ...]
    images: dict[str, int]  # of train and of val
    digest: str


_found: dict[str, tuple[dict[str, int], Found]] = {}  # by root, with the times of its folders


def found(root: Path) -> Found:
    """What lies under root, walked once a process unless a folder has changed since.

    Raises ConfigError where train/ and val/ have not the same classes, and for whatever is no image
    although its name says so.
    """
    seen = _found.get(str(root.absolute()))
    if seen is None or seen[0] != _times(seen[0]):
        folders: dict[str, int] = {}
        splits = {split: _walk(root / split, folders) for split in SPLITS}
        train, val = (list(splits[split]) for split in SPLITS)
        if train != val:
            odd = sorted(set(train) ^ set(val))
            raise ConfigError(
                f"data.root={root}: train/ has {len(train)} class folders and val/ {len(val)}; "
                f"only one of the two has {', '.join(odd[:5])}{', ...' if len(odd) > 5 else ''}"
            )
        if len(train) < 2:
            raise ConfigError(f"data.root={root}: train/ has 1 class folder, {train[0]}; a network needs at least 2")
        counts = {split: sum(map(len, classes.values())) for split, classes in splits.items()}
        seen = _found[str(root.absolute())] = folders, Found(tuple(train), counts, _digest(splits))
    return seen[1]


def images(folder: Path) -> dict[str, list[tuple[str, int]]]:
    """The images of each class, path and bytes, in the order of torchvision's ImageFolder."""
    return _walk(folder, {})


def _digest(splits: dict[str, dict[str, list[tuple[str, int]]]]) -> str:
    state = hashlib.sha256()
    for split, classes in splits.items():
        for name, files in classes.items():
            state.update(b"%s/%s %d:" % (split.encode(), os.fsencode(name), len(files)))
            state.update(",".join(str(size) for _, size in files).encode() + b"\n")
        everything = [path for files in classes.values() for path, _ in files]
        with ThreadPoolExecutor(THREADS) as pool:
            for start in pool.map(_start, everything[:: -(-len(everything) // OPENED)]):
                state.update(start)
    return state.hexdigest()[:16]


def _start(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(BYTES)
    except OSError as error:
        raise ConfigError(f"data.root: {one_line(error)}; every image must be readable") from None


def _times(folders: dict[str, int]) -> dict[str, int]:
    """When each folder was changed last; -1 for one that is gone."""
    times = {}
    for folder in folders:
        try:
            times[folder] = os.stat(folder).st_mtime_ns
        except OSError:
            times[folder] = -1
    return times


# ---------------------------------------------------------------------------- the walk


def _walk(folder: Path, folders: dict[str, int]) -> dict[str, list[tuple[str, int]]]:
    """The images by class; adds every folder passed, with its time, to `folders`."""
    try:
        folders[str(folder)] = os.stat(folder).st_mtime_ns
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir())
        if not names:
            raise ConfigError(f"data.root: no class folder in {folder}; expected is {folder}/<class>/*.JPEG")
        with ThreadPoolExecutor(THREADS) as pool:
            listed = list(pool.map(lambda name: _class(os.path.join(folder, name)), names))
    except OSError as error:
        raise ConfigError(f"data.root: {one_line(error)}; expected is {folder}/<class>/*.JPEG") from None
    for _, passed in listed:
        folders |= passed
    empty = [name for name, (files, _) in zip(names, listed, strict=True) if not files]
    if empty:
        raise ConfigError(
            f"data.root: Found no valid file for the classes {', '.join(empty[:5])}{', ...' if len(empty) > 5 else ''} "
            f"in {folder}: remove a folder without images, or add some ({', '.join(SUFFIXES)})"
        )
    return {name: files for name, (files, _) in zip(names, listed, strict=True)}


def _class(folder: str) -> tuple[list[tuple[str, int]], dict[str, int]]:
    """A class's images, folders within it too, and the times of all these folders."""
    passed: dict[str, int] = {}
    files = sorted(_files(folder, passed, ()))
    return [(os.path.join(at, name), size) for at, name, size in files], passed


def _files(folder: str, passed: dict[str, int], above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, str, int]]:
    here = os.stat(folder)
    passed[folder] = here.st_mtime_ns
    if (key := (here.st_dev, here.st_ino)) in above:
        raise ConfigError(f"{folder}: a link to a folder above it, so the walk would never end; remove the link")
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _files(entry.path, passed, (*above, key))
            elif entry.name.lower().endswith(SUFFIXES):
                yield folder, entry.name, _size(entry)


def _size(entry: "os.DirEntry[str]") -> int:
    try:
        status = entry.stat()
    except FileNotFoundError:
        raise ConfigError(f"{entry.path}: a link to a file that is not there; mend or remove it") from None
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{entry.path}: a pipe, socket or device under an image's name; remove it")
    return status.st_size
