"""What was read from run folders before, so that each is read once: .collect/runs.npz.

It lies in the folder of runs. An entry counts only while every file it came from has the size,
times and inode it had, and while the code that reads them is the same. A folder that changed within
the last seconds, or that a process holds, is never kept. The file holds JSON and plain arrays, no
code; torn, foreign or gone, it is made anew. Deleting it is always safe.
"""

import contextlib
import hashlib
import json
import os
import time
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from normbench import config, records
from normbench.study.read import folders, one_run, science
from normbench.study.read.folders import Leaf
from normbench.study.read.one_run import Columns

# Two writes within one tick of a file system's clock cannot be told apart afterwards.
SETTLED_SECONDS = 2.0
WHERE = Path(".collect") / "runs.npz"


@dataclass
class Known:
    """Everything that was read before, by the path below the root."""

    stamps: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    epochs: dict[str, Columns] = field(default_factory=dict)

    def holds(self, leaf: Leaf, below: str) -> bool:
        """Whether what is known of a folder is what a reading of it would find."""
        return not leaf.held and self.stamps.get(below) == [list(file) for file in leaf.stamp]


def settled(leaf: Leaf) -> bool:
    """Whether a folder has been left alone for long enough that its next change will show."""
    return not leaf.held and bool(leaf.stamp) and leaf.newest_ns < (time.time() - SETTLED_SECONDS) * 1e9


def load(root: Path, with_epochs: bool) -> Known:
    """What the cache of a folder of runs holds; nothing where there is none to be trusted."""
    unusable = (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile)
    with contextlib.suppress(*unusable), open(root / WHERE, "rb") as f, np.load(f, allow_pickle=False) as stored:
        index = json.loads(stored["index"].tobytes())
        if index["code"] != _code():
            return Known()
        runs = index["runs"]
        known = Known(dict(zip(runs, index["stamps"], strict=True)), dict(zip(runs, index["rows"], strict=True)))
        if with_epochs:
            known.epochs = dict(zip(runs, _runs_of_blocks(stored, index), strict=True))
        return known
    return Known()


def save(root: Path, entries: Iterable[tuple[Leaf, str, dict[str, Any], Columns]]) -> None:
    """Writes aside and renames. A folder that cannot be written to simply has no cache."""
    blocks: dict[tuple[tuple[str, str], ...], list[Columns]] = {}
    index: dict[str, Any] = {"code": _code(), "runs": [], "stamps": [], "rows": [], "at": [], "blocks": []}
    for leaf, below, row, columns in entries:
        if any(column.dtype == object for column in columns.values()):
            continue  # words among the numbers: read anew each time
        shape = tuple((name, column.dtype.str) for name, column in columns.items())
        block = blocks.setdefault(shape, [])
        index["runs"].append(below)
        index["stamps"].append(leaf.stamp)
        index["rows"].append({name: value for name, value in row.items() if name != "path"})
        index["at"].append([list(blocks).index(shape), len(next(iter(columns.values()), []))])
        block.append(columns)
    arrays: dict[str, Any] = {}
    for place, (shape, like) in enumerate(blocks.items()):
        index["blocks"].append([name for name, _ in shape])
        for column, (name, _) in enumerate(shape):
            arrays[f"{place}.{column}"] = np.concatenate([columns[name] for columns in like])
    arrays["index"] = np.frombuffer(json.dumps(index).encode(), dtype=np.uint8)
    aside = root / WHERE.parent / f"{WHERE.name}.{os.getpid()}"
    with contextlib.suppress(OSError):
        aside.parent.mkdir(exist_ok=True)
        with open(aside, "wb") as f:
            np.savez(f, **arrays)
        os.replace(aside, root / WHERE)


def _runs_of_blocks(stored: Any, index: dict[str, Any]) -> list[Columns]:
    """The blocks of equal columns, taken apart into runs again."""
    blocks = [
        {name: stored[f"{place}.{column}"] for column, name in enumerate(names)}
        for place, names in enumerate(index["blocks"])
    ]
    start = [0] * len(blocks)
    found = []
    for block, count in index["at"]:
        first, start[block] = start[block], start[block] + count
        found.append({name: column[first : first + count] for name, column in blocks[block].items()})
    return found


@cache
def _code() -> str:
    """A digest of the code that reads folders: another version may read them differently."""
    sources = [Path(str(module.__file__)).read_bytes() for module in (folders, one_run, science, records, config)]
    return hashlib.sha256(b"".join([*sources, Path(__file__).read_bytes()])).hexdigest()
