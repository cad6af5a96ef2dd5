"""Run folders one by one: where they are, what tells that one has changed, and what is read out of it."""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normbench import records
from normbench.config import Config

FIRST = ("data", "model", "norm", "protocol", "batch", "workers", "sgd_batch", "seed")  # columns in a reader's order
READ = ("config.yaml", "epochs.jsonl", "error.json", "result.json")  # the files that a run's rows follow from

Columns = dict[str, NDArray[Any]]  # a run's epochs, by field
Stamp = tuple[tuple[str | int, ...], ...]


@dataclass(frozen=True)
class Leaf:
    """A folder that is, or should be, a run."""

    path: str
    stamp: Stamp  # name, size, times and number of each file that is read: another stamp, another content
    newest_ns: int  # when the youngest of them was changed
    held: bool  # by a process that may be alive or not: its state does not follow from the files


def leaves(root: str) -> Iterator[Leaf]:
    """Folders with a config.yaml, and those with no folder below, in the order of their names."""
    files, below = [], []
    with contextlib.suppress(OSError), os.scandir(root) as entries:  # the reading that follows says what is wrong
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):  # a link could lead round in a circle
                below.append(entry)
            elif entry.name in READ or entry.name == "running.json":
                files.append(entry)
    if any(file.name == "config.yaml" for file in files):
        yield _leaf(root, files)
        return
    seen = [entry for entry in below if not entry.name.startswith(".")]  # .hydra and .collect are nobody's runs
    for entry in sorted(seen, key=lambda entry: entry.name):
        inside = list(leaves(entry.path))
        yield from inside or [_leaf(entry.path, [])]


def _leaf(path: str, files: list["os.DirEntry[str]"]) -> Leaf:
    stamp: list[tuple[str | int, ...]] = []
    newest = 0
    for file in sorted((file for file in files if file.name in READ), key=lambda file: file.name):
        try:
            seen = file.stat()
        except FileNotFoundError:  # renamed over or taken away since; to be read anew next time
            newest = 1 << 62
            continue
        stamp.append((file.name, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino))
        newest = max(newest, seen.st_mtime_ns, seen.st_ctime_ns)
    return Leaf(path, tuple(stamp), newest, held=any(file.name == "running.json" for file in files))


# ---------------------------------------------------------------------------- one run


def read_run(path: Path) -> dict[str, Any]:
    """One run as a flat row; raises ValueError with the reason where the folder is no run."""
    try:
        config = records.read_config(path)
    except FileNotFoundError:
        raise ValueError("empty folder" if not any(path.iterdir()) else "no config.yaml in it") from None
    row = dict(_flat(config))
    row["norm"] = config.get("label", row.get("norm.name"))
    missing = [key for key in FIRST if row.get(key) is None]
    if missing:
        raise ValueError(f"config.yaml does not say {', '.join(missing)}")
    row["lr"] = row["recipe.lr"] * row["sgd_batch"] / row["recipe.lr_batch"]  # config.lr, of a run on disk
    row["batch_free"] = bool(config.get("batch_free"))
    if row["batch_free"]:
        del row["batch"], row["workers"]
    experiment = config.get("experiment")
    row["experiment"] = experiment if isinstance(experiment, str) else None
    row["identity"] = config.get("identity")
    row["state"] = records.state(path)
    if row["state"] not in records.STATES:
        raise ValueError(f"result.json says status {row['state']!r}, which is none of {', '.join(records.STATES)}")
    if row["state"] in ("done", "diverged"):
        row.update(_result(records.read_json(path / "result.json")))
    return row


def _result(result: dict[str, Any]) -> dict[str, Any]:
    """A metric {median_last5, final} becomes two columns, the metric of record under the plain name."""
    row: dict[str, Any] = {}
    for key, value in result.items():
        if isinstance(value, dict):
            row[key], row[f"{key}.final"] = value.get("median_last5"), value.get("final")
        elif key != "status":
            row[key] = value
    return row


# ---------------------------------------------------------------------------- its epochs


def read_epochs(path: Path) -> Columns:
    """A run's epochs by column. Arrays, not rows: thousands of dicts kept alive would cost more than the parsing."""
    rows = _read_rows(path)
    names = {name: None for row in rows for name in row}
    return {name: _array([row.get(name) for row in rows]) for name in names}


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """records.read_rows, but a clean file is parsed as one JSON array: thousands of runs in half the time."""
    try:
        text = (path / "epochs.jsonl").read_bytes()
    except FileNotFoundError:
        return []
    try:
        rows = json.loads(b"[" + text.strip().replace(b"\n", b",") + b"]")
        epochs = [row["epoch"] for row in rows]
    except (ValueError, KeyError, TypeError):
        return records.read_rows(path)  # a torn line
    in_order = all(a < b for a, b in pairwise(epochs))
    return rows if in_order else records.read_rows(path)  # an epoch trained twice


def _array(values: list[Any]) -> NDArray[Any]:
    """Whole numbers stay whole, None among numbers is NaN, anything else is kept as it is."""
    kinds = set(map(type, values))
    if kinds == {int}:
        return np.array(values, dtype=np.int64)
    if kinds <= {int, float, type(None)}:
        return np.array(values, dtype=np.float64)  # None becomes NaN
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


# ---------------------------------------------------------------------------- science fields


def _hardware_keys(node: type, prefix: str = "") -> Iterator[str]:
    for f in fields(node):
        if f.metadata.get("hardware"):
            yield prefix + f.name
        elif isinstance(f.type, type) and is_dataclass(f.type):
            yield from _hardware_keys(f.type, f"{prefix}{f.name}.")


_HARDWARE = frozenset(_hardware_keys(Config)) | {"norm.batch_free"}  # a property of the norm, not a choice
SCIENCE = tuple(f.name for f in fields(Config) if f.name not in _HARDWARE)
_CHOSEN = {f"{group}.name": group for group in ("data", "model", "recipe", "protocol")}


def _flat(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """A recorded config's science fields under dotted names; what is off is left out."""
    for name in SCIENCE:
        yield from _flat_field(name, config.get(name))


def _flat_field(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if name in _HARDWARE or value is None or value is False or value == []:
        return
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _flat_field(f"{name}.{key}", below)
    else:
        yield _CHOSEN.get(name, name), json.dumps(value) if isinstance(value, list) else value
