"""Run folders on disk, as two tidy tables: one row per run, and one row per epoch.

Columns named like a config key hold that field (`recipe.epochs`, `norm.groups`,
`model.options.width`); `data`, `model`, `recipe` and `protocol` hold the chosen name, `norm` the
norm's label. A field that is off (None or False) is absent, as in a run's identity. A batch-free
run under fixed_sgd has no `batch` and no `workers`: it serves every batch.

reference: the runs that normbench comes with stand in both tables too; column `origin` says which
they are, their path is reference:<identity>, and the folder of runs may be absent where it is the
default one.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from normbench.config import ConfigError
from normbench.study.read import cache, folders, one_run, reference, science
from normbench.study.read.expand import at_every_batch
from normbench.study.read.folders import Leaf
from normbench.study.read.one_run import FIRST, Columns
from normbench.study.read.origin import ORIGIN, REPLACES
from normbench.study.read.reference import Run

COUNTS = ("batch", "workers", "sgd_batch", "seed")  # whole numbers, some of them absent
ABOUT_RUN = ("batch_free", "identity", "experiment", "state", "path")  # columns that are no science
DEFAULT = Path("results/runs")


@dataclass(frozen=True)
class Problem:
    """A folder that could not be read as a run, and why."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Collected:
    """All that a folder of runs holds."""

    runs: pd.DataFrame  # one row per run, whatever its state
    epochs: pd.DataFrame  # one row per epoch; a run that has not finished one has no row here
    problems: list[Problem]


def load(runs: str | Path, reference: bool = False, expand: bool = False) -> pd.DataFrame:
    """Every epoch of every run under a folder, with the run's fields, state and path as columns.

    expand: batch-free runs at every batch that they serve (expand.py). Folders that are not runs
    (torn, empty, foreign, of a newer format) are skipped, each with a warning that names it. Raises
    ConfigError where there is no such folder.
    """
    found = read(runs, reference)
    for problem in found.problems:
        warnings.warn(f"skipped {problem}", stacklevel=2)
    return at_every_batch(found.epochs) if expand else found.epochs


def runs(folder: str | Path, reference: bool = False) -> tuple[pd.DataFrame, list[Problem]]:
    """Every run under a folder, one row each, and what was no run; faster than read()."""
    found = _read(folder, reference, with_epochs=False)
    return found.runs, found.problems


def no_runs() -> pd.DataFrame:
    """A table of no runs, from which a figure of published numbers alone starts."""
    return _table_of_runs([])


def of_cells(cells: list[tuple[dict[str, Any], Path]]) -> pd.DataFrame:
    """The runs of a sweep, one row for each of its cells, whatever became of it.

    cells: each one's config, as in config.yaml, and its folder. A batch-free run has the batch that
    the cell asks for, and a row for every cell that it serves.
    """
    rows = []
    for config, folder in cells:
        row = {"batch": config["batch"], "workers": config["workers"], **one_run.row_of(config, folder)}
        rows.append({**row, "path": str(folder)})
    return _table_of_runs(rows).reset_index(drop=True)


def read(folder: str | Path, reference: bool = False) -> Collected:
    """Everything under a folder of runs; raises ConfigError where there is no such folder."""
    return _read(folder, reference, with_epochs=True)


def epochs(runs: pd.DataFrame) -> pd.DataFrame:
    """The epochs of some runs out of the table of all."""
    columns = [
        reference.epochs(path) if reference.holds(path) else one_run.read_epochs(Path(path)) for path in runs["path"]
    ]
    return _table_of_epochs(runs, columns)


# ---------------------------------------------------------------------------- folders


def _read(folder: str | Path, with_reference: bool, with_epochs: bool) -> Collected:
    root = Path(folder)
    found: list[Run] = []
    problems: list[Problem] = []
    if root.is_dir():
        found, problems = _below(root, with_epochs)
    elif not with_reference or root != DEFAULT:
        raise ConfigError(f"no folder {root}; make runs with normbench, or point --runs at theirs")
    if with_reference:
        found = reference.beside(found, with_epochs)
    table = _table_of_runs([row for row, _ in found])
    of_runs = [found[place][1] for place in table.index]
    return Collected(table, _table_of_epochs(table, of_runs) if with_epochs else pd.DataFrame(), problems)


def _below(root: Path, with_epochs: bool) -> tuple[list[Run], list[Problem]]:
    """The runs below a folder and what is none, read or out of the cache."""
    known = cache.load(root, with_epochs)
    found: list[tuple[Leaf, str, dict[str, Any], Columns]] = []
    problems = []
    fresh = 0  # runs that the cache did not hold and could
    for leaf in folders.leaves(str(root)):
        below = leaf.path[len(str(root)) + 1 :]
        if known.holds(leaf, below):
            found.append((leaf, below, known.rows[below], known.epochs.get(below, {})))
            continue
        try:
            row = one_run.read_run(Path(leaf.path))
            columns = one_run.read_epochs(Path(leaf.path))  # in any case: bad rows show now
            found.append((leaf, below, row, columns))
            fresh += cache.settled(leaf)
        except OSError as error:
            name = Path(error.filename or leaf.path).name
            problems.append(Problem(leaf.path, f"{error.strerror or error} ({name})"))
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            reason = str(error) if isinstance(error, ValueError) else "not a normbench record"
            problems.append(Problem(leaf.path, reason))
    if with_epochs and fresh:
        cache.save(root, (entry for entry in found if cache.settled(entry[0])))
    return [({**row, "path": leaf.path}, columns) for leaf, _, row, columns in found], problems


# ---------------------------------------------------------------------------- tables


def _table_of_runs(found: list[dict[str, Any]]) -> pd.DataFrame:
    names = dict.fromkeys(name for row in found for name in row)
    table = pd.DataFrame({name: [row.get(name) for row in found] for name in names})
    if table.empty:
        table = pd.DataFrame(columns=[*FIRST, "lr", *ABOUT_RUN])
    about = [*ABOUT_RUN[:-1], *(name for name in (ORIGIN, REPLACES) if name in table)]
    settings = [name for name in science.columns(table) if name not in FIRST]
    results = [name for name in table.columns if name not in {*FIRST, *settings, *about, "path", "lr"}]
    table = table.reindex(columns=[*FIRST, "lr", *sorted(settings), *about, *results, "path"])
    for name in COUNTS:
        table[name] = table[name].astype("Int64")
    table["batch_free"] = table["batch_free"].astype(bool)
    # largest batch first, as the papers print it; the order on disk is that of the file system
    order = ["data", "model", "norm", "protocol", "batch", "seed", "path"]
    keys = table[order].assign(batch=-table["batch"])
    return table.loc[keys.sort_values(order, na_position="first").index]


def _table_of_epochs(table: pd.DataFrame, columns: Sequence[Columns]) -> pd.DataFrame:
    """One row per epoch, the runs in the order of the table, each run's fields repeated."""
    counts = [len(run["epoch"]) if "epoch" in run else 0 for run in columns]
    names = dict.fromkeys(name for run in columns for name in run)
    own = {name: _joined([run.get(name) for run in columns], counts) for name in names}
    run_columns = [*science.columns(table), *ABOUT_RUN, *([ORIGIN] if ORIGIN in table else [])]
    repeated = table[run_columns].take(np.repeat(np.arange(len(table)), counts)).reset_index(drop=True)
    return pd.concat([repeated, pd.DataFrame({n: c for n, c in own.items() if n not in run_columns})], axis=1)


def _joined(pieces: list[Any], counts: list[int]) -> Any:
    """One column of all runs; where a run has no such field it is absent."""
    absent = np.float64("nan")
    filled = [np.full(n, absent) if piece is None else piece for piece, n in zip(pieces, counts, strict=True) if n]
    if any(piece.dtype == object for piece in filled):
        return pd.Series([value for piece in filled for value in piece.tolist()])
    return np.concatenate(filled) if filled else []
