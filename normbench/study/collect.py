"""Run folders on disk, as two tidy tables: one row a run, and one row an epoch.

Columns named like a config key hold that field (`recipe.epochs`, `norm.groups`, `model.options.width`); `data`,
`model`, `recipe` and `protocol` hold the chosen name, `norm` the norm's label. A field that is off (None or False) is
absent, as in a run's identity. A batch-free run under fixed_sgd has no `batch` and no `workers`: it serves every batch.
"""

import json
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from normbench import records
from normbench.config import Config, ConfigError

FIRST = (
    "data",
    "model",
    "norm",
    "protocol",
    "batch",
    "workers",
    "sgd_batch",
    "seed",
)  # columns in the order of a reader
COUNTS = ("batch", "workers", "sgd_batch", "seed")  # whole numbers, some of them absent
ABOUT_RUN = ("batch_free", "identity", "experiment", "state", "path")  # columns that are no science


@dataclass(frozen=True)
class Problem:
    """A folder that could not be read as a run, and why."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Collected:
    runs: pd.DataFrame  # one row a run, whatever its state
    epochs: pd.DataFrame  # one row an epoch; a run that has not finished one has no row here
    problems: list[Problem]


def load(runs: str | Path) -> pd.DataFrame:
    """Every epoch of every run under a folder: science fields, state and path as columns beside the epoch's own fields.

    Folders that are not runs (torn, empty, foreign, of a newer format) are skipped, each with a warning that names it.
    """
    found = read(runs)
    for problem in found.problems:
        warnings.warn(f"skipped {problem}", stacklevel=2)
    return found.epochs


def runs(folder: str | Path) -> tuple[pd.DataFrame, list[Problem]]:
    """Every run under a folder, one row each, and what was no run. Much faster than read(): it opens no epochs."""
    found = _read(folder, with_epochs=False)
    return found.runs, found.problems


def no_runs() -> pd.DataFrame:
    """The table of runs where there are none: figures of published numbers alone start from it."""
    return _table_of_runs([])


def read(folder: str | Path) -> Collected:
    """Everything under a folder of runs."""
    return _read(folder, with_epochs=True)


# ---------------------------------------------------------------------------- folders


def _read(folder: str | Path, with_epochs: bool) -> Collected:
    root = Path(folder)
    if not root.is_dir():
        raise ConfigError(f"no folder {root}; make runs with python -m normbench, or point --runs at theirs")
    found, epochs, problems = [], [], []
    for path in _leaves(root):
        try:
            run = _read_run(path)
            own_epochs = _columns(_read_rows(path)) if with_epochs else {}
        except OSError as error:
            problems.append(Problem(str(path), f"{error.strerror or error} ({Path(error.filename or path).name})"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problems.append(
                Problem(str(path), str(error) if isinstance(error, ValueError) else "not a normbench record")
            )
        else:
            found.append(run)
            epochs.append(own_epochs)
    table = _table_of_runs(found)
    return Collected(table, _table_of_epochs(table, epochs) if with_epochs else pd.DataFrame(), problems)


def _leaves(root: Path) -> Iterator[Path]:
    """Folders that are, or should be, runs: those with a config.yaml, and those with no folder below."""
    for path, below, files in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))  # .hydra is nobody's run
        if "config.yaml" in files:
            below.clear()
            yield Path(path)
        elif not below and Path(path) != root:
            yield Path(path)


def _read_run(path: Path) -> dict[str, Any]:
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
    row["identity"], row["path"] = config.get("identity"), str(path)
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


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """A run's epochs by column: thousands of dicts kept alive would cost the collector more than the parsing."""
    names = {name: None for row in rows for name in row}
    return {name: [row.get(name) for row in rows] for name in names}


# ---------------------------------------------------------------------------- science fields


def _hardware_keys(node: type, prefix: str = "") -> Iterator[str]:
    for f in fields(node):
        if f.metadata.get("hardware"):
            yield prefix + f.name
        elif isinstance(f.type, type) and is_dataclass(f.type):
            yield from _hardware_keys(f.type, f"{prefix}{f.name}.")


_HARDWARE = frozenset(_hardware_keys(Config)) | {"norm.batch_free"}  # a property of the norm, not a choice
_SCIENCE = tuple(f.name for f in fields(Config) if f.name not in _HARDWARE)
_CHOSEN = {f"{group}.name": group for group in ("data", "model", "recipe", "protocol")}


def science_columns(table: pd.DataFrame) -> list[str]:
    """The columns that fix a run's numbers."""
    return [column for column in table.columns if column.split(".")[0] in _SCIENCE]


def _flat(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """A recorded config's science fields under dotted names; what is off is left out."""
    for name in _SCIENCE:
        yield from _flat_field(name, config.get(name))


def _flat_field(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if name in _HARDWARE or value is None or value is False:
        return
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _flat_field(f"{name}.{key}", below)
    else:
        yield _CHOSEN.get(name, name), json.dumps(value) if isinstance(value, list) else value


# ---------------------------------------------------------------------------- tables


def _table_of_runs(found: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(found)
    if table.empty:
        table = pd.DataFrame(columns=[*FIRST, "lr", *ABOUT_RUN])
    science = [name for name in science_columns(table) if name not in FIRST]
    results = [name for name in table.columns if name not in {*FIRST, *science, *ABOUT_RUN, "lr"}]
    table = table.reindex(columns=[*FIRST, "lr", *sorted(science), *ABOUT_RUN[:-1], *results, "path"])
    for name in COUNTS:
        table[name] = table[name].astype("Int64")
    table["batch_free"] = table["batch_free"].astype(bool)
    # largest batch first, as the papers print it; the order on disk is that of the file system
    order = ["data", "model", "norm", "protocol", "batch", "seed", "path"]
    keys = table[order].assign(batch=-table["batch"])
    return table.loc[keys.sort_values(order, na_position="first").index]


def _table_of_epochs(table: pd.DataFrame, columns: list[dict[str, list[Any]]]) -> pd.DataFrame:
    own: dict[str, list[Any]] = {}
    counts = []
    done = 0
    for place in table.index:  # the epochs follow the order of the table
        run = columns[place]
        count = len(run.get("epoch", []))
        for name in run:
            if name not in own:
                own[name] = [None] * done
        for name, column in own.items():
            column.extend(run.get(name) or [None] * count)
        counts.append(count)
        done += count
    run_columns = [*science_columns(table), *ABOUT_RUN]
    repeated = table[run_columns].take(np.repeat(np.arange(len(table)), counts)).reset_index(drop=True)
    epochs = pd.DataFrame(own)
    return pd.concat([repeated, epochs[[name for name in epochs.columns if name not in repeated.columns]]], axis=1)


# ---------------------------------------------------------------------------- the command


def main(arguments: list[str] | None = None) -> None:
    """Prints the coverage grid and writes the tidy table of all epochs."""
    from normbench.study import command, coverage  # they read tables, and so import this module

    reader = command.parser("collect", "Shows what runs there are, and writes all their epochs as one CSV table.")
    reader.add_argument("--out", default="results/collected.csv", metavar="FILE", help="the table (%(default)s)")
    options = reader.parse_args(arguments)
    found = read(options.runs)
    console = command.terminal()
    for problem in found.problems:
        print(f"skipped {problem}", file=sys.stderr)
    for table in coverage.as_text(coverage.grid(found.runs)):
        console.print(table)
    out = Path(options.out)
    if out.is_dir() or not out.suffix:
        out = out / "collected.csv"  # --out DIR, as the other commands take it
    out.parent.mkdir(parents=True, exist_ok=True)
    found.epochs.to_csv(out, index=False)
    console.print(f"wrote {out}: {len(found.epochs)} epochs of {len(found.runs)} runs", markup=False)
