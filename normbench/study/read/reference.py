"""The reference runs that normbench comes with, beside the runs in the user's folders.

They have no folder: their path is reference:<identity>, and their rows are in the files that
reference_files.py writes.
"""

from functools import cache
from pathlib import Path
from typing import Any

from normbench import paths, records
from normbench.study.read import one_run, reference_files
from normbench.study.read.one_run import Columns
from normbench.study.read.origin import ORIGIN, REFERENCE, REPLACES, YOURS
from normbench.study.read.reference_files import EPOCHS, PROBES, RUNS, Line, Rows, Whole

SCHEME = "reference:"

Run = tuple[dict[str, Any], Columns]  # a row with its path, and its epochs


def beside(own: list[Run], with_epochs: bool) -> list[Run]:
    """The user's runs and the reference's, each saying whose it is.

    Of one run that both have, the user's counts if it is finished, else the reference's.
    """
    theirs = runs()
    found: list[Run] = []
    for row, columns in own:
        known = row["identity"] in theirs
        if not known or row["state"] in records.FINISHED:
            found.append(({**row, ORIGIN: YOURS, REPLACES: known}, columns))
    mine = {row["identity"] for row, _ in found}
    for identity, line in theirs.items():
        if identity not in mine:
            path = f"{SCHEME}{identity}"
            row = {**line.row, "path": path, ORIGIN: REFERENCE, REPLACES: False}
            found.append((row, epochs(path) if with_epochs else {}))
    return found


def holds(path: str) -> bool:
    """Whether this is the path of a reference run, not of a folder."""
    return path.startswith(SCHEME) and "/" not in path


def runs() -> dict[str, Line]:
    """Every reference run by its identity; raises ConfigError where there are none."""
    folder = paths.reference()
    return _runs(folder, _stamp(folder / RUNS))


def line(path: str) -> Line:
    """The run of a path, as runs.csv has it."""
    return runs()[path.removeprefix(SCHEME)]


def epochs(path: str) -> Columns:
    """The epochs of a run by column; none where it diverged before the end of the first."""
    return one_run.by_column(_rows_of(path, EPOCHS))


def probes(path: str) -> Rows:
    """What was recorded inside one layer of a run; none where it was not probed."""
    return _rows_of(path, PROBES)


def whole(path: str) -> Whole:
    """Everything of a run that goes into the files."""
    return Whole(line(path), _rows_of(path, EPOCHS), _rows_of(path, PROBES))


# ---------------------------------------------------------------------------- read once


def _rows_of(path: str, name: str) -> Rows:
    folder = paths.reference()
    return _rows(folder / name, _stamp(folder / name)).get(path.removeprefix(SCHEME), [])


@cache
def _runs(folder: Path, stamp: object) -> dict[str, Line]:
    return reference_files.read_runs(folder)


@cache
def _rows(path: Path, stamp: object) -> dict[str, Rows]:
    return reference_files.read_rows(path, runs().keys())


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file does."""
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_size, seen.st_mtime_ns
