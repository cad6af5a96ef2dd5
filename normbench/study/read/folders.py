"""Where the run folders below a root are, and what tells that one has changed since it was read."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from normbench.config import ConfigError

# What a run's rows follow from.
FILES = ("config.yaml", "epochs.jsonl", "error.json", "result.json")

Stamp = tuple[tuple[str | int, ...], ...]


@dataclass(frozen=True)
class Leaf:
    """A folder that is, or should be, a run."""

    path: str
    stamp: Stamp  # name, size, times and inode of each of FILES that is there
    newest_ns: int  # when the youngest of them was changed
    held: bool  # by a process that may be alive or not: its state does not follow from the files


def leaves(root: str) -> Iterator[Leaf]:
    """Folders with a config.yaml, and those with no folder below, in the order of their names."""
    files, below = [], []
    # What is wrong is said by the reading that follows.
    with contextlib.suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):  # a link could lead round in a circle
                below.append(entry)
            elif entry.name in FILES or entry.name == "running.json":
                files.append(entry)
    if any(file.name == "config.yaml" for file in files):
        yield _leaf(root, files)
        return
    # .hydra and .collect are nobody's runs.
    seen = [entry for entry in below if not entry.name.startswith(".")]
    for entry in sorted(seen, key=lambda entry: entry.name):
        inside = list(leaves(entry.path))
        yield from inside or [_leaf(entry.path, [])]


def _leaf(path: str, files: list["os.DirEntry[str]"]) -> Leaf:
    stamp: list[tuple[str | int, ...]] = []
    newest = 0
    for file in sorted((file for file in files if file.name in FILES), key=lambda file: file.name):
        try:
            seen = file.stat()
        except FileNotFoundError:  # renamed over or removed since: read anew next time
            newest = 1 << 62
            continue
        stamp.append((file.name, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino))
        newest = max(newest, seen.st_mtime_ns, seen.st_ctime_ns)
    return Leaf(path, tuple(stamp), newest, held=any(file.name == "running.json" for file in files))


def find(run: str, runs: Path) -> Path:
    """The folder of a run: `run` itself, or the one below `runs` whose identity begins so.

    Raises ConfigError where there is none or several.
    """
    if (folder := Path(run)).is_dir():
        if (folder / "config.yaml").exists():
            return folder
        inside = sum(bool(leaf.stamp) for leaf in leaves(str(folder)))
        raise ConfigError(f"{run} is not the folder of one run: {inside} runs are below it, and it has no config.yaml")
    found = [path for leaf in leaves(str(runs)) if (path := Path(leaf.path)).name.rpartition("-")[2].startswith(run)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError(f"{run!r}: no such folder, and no run below {runs} whose identity begins so")
    raise ConfigError(
        f"{run}: {len(found)} runs below {runs} begin so, {found[0]} and {found[1]} among them; give more"
    )
