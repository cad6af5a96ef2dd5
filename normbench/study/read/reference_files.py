"""Runs as data, outside of any run folder: runs.csv, epochs.jsonl.gz and probes.jsonl.gz.

runs.csv has a line for every finished run, under the names of the table of runs; a number stands
there as Python writes it, so that it is read as the same double. The other two have a line for
every run that has epochs or probes: its identity, and its rows as its folder has them, of the
probed steps at most 20. The same runs give the same bytes, wherever they lie.
"""

import csv
import gzip
import io
import json
import os
import shlex
import statistics
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normbench import records
from normbench.config import ConfigError
from normbench.study.read import one_run, science
from normbench.study.read.stats import METRIC

RUNS, EPOCHS, PROBES = FILES = "runs.csv", "epochs.jsonl.gz", "probes.jsonl.gz"
WORDS = ("data", "model", "norm", "protocol", "identity", "experiment", "state")  # never numbers
ABOUT = ("commit", "versions.normbench", "versions.torch", "versions.python", "device", "command")
PROBED = 20  # steps of a run, of which a folder may have one a step
LAST_EPOCHS = 5  # the median over them, as in the metric of record

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Line:
    """One run, as runs.csv has it."""

    row: dict[str, Any]  # what one_run.read_run gives
    about: dict[str, str]  # where its numbers come from, by the names of ABOUT


@dataclass(frozen=True)
class Whole:
    """One run with all its rows."""

    line: Line
    epochs: Rows
    probes: Rows


def whole(folder: Path) -> Whole:
    """Everything of a finished run that goes into the files."""
    env = records.read_object(folder / "env.json")
    versions = env.get("versions")
    about = {"commit": env.get("commit"), "device": env.get("device"), "command": _science_command(env.get("command"))}
    about |= {f"versions.{name}": text for name, text in (versions if isinstance(versions, dict) else {}).items()}
    said = {name: str(about.get(name) or "") for name in ABOUT}
    return Whole(Line(one_run.read_run(folder), said), one_run.read_rows(folder), _some(records.read_probes(folder)))


def _some(probes: Rows) -> Rows:
    """At most PROBED of the probed steps, evenly apart, the last among them."""
    apart = max(1, -(-len(probes) // PROBED))
    return probes[(len(probes) - 1) % apart :: apart]


def _science_command(typed: Any) -> str:
    """What was typed for a run, less what says where and how fast: a path is nobody else's."""
    words = [word for word in typed if isinstance(word, str)] if isinstance(typed, list) else []
    keys = [word.partition("=")[0].lstrip("+") for word in words]
    kept = [word for word, key in zip(words, keys, strict=True) if key == "experiment" or science.is_field(key)]
    return shlex.join([word for word in kept if "=" in word])


# ---------------------------------------------------------------------------- writing


def write(folder: Path, runs: Collection[Whole]) -> list[Path]:
    """Writes the three files, each aside and renamed; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    runs = sorted(runs, key=_place)
    records.write_text(folder / RUNS, _csv(runs))
    _write_bytes(folder / EPOCHS, _packed((run.line.row["identity"], run.epochs) for run in runs))
    _write_bytes(folder / PROBES, _packed((run.line.row["identity"], run.probes) for run in runs))
    return [folder / RUNS, folder / EPOCHS, folder / PROBES]


def _place(run: Whole) -> tuple[Any, ...]:
    """The order of the table of runs, in which the largest batch comes first."""
    row = run.line.row
    words = [str(row[name]) for name in ("data", "model", "norm", "protocol")]
    return (*words, -row.get("batch", 2**63), row["seed"], row["identity"])


def _csv(runs: list[Whole]) -> str:
    lines = [{**run.line.row, **_medians(run.epochs), **run.line.about} for run in runs]
    names = list(dict.fromkeys(name for line in lines for name in line))
    settings = sorted(name for name in names if science.is_field(name) and name not in one_run.FIRST)
    measured = sorted(name for name in names if _is_median(name))
    rest = [name for name in names if name not in {*one_run.FIRST, *settings, *measured, *ABOUT}]
    text = io.StringIO()
    table = csv.DictWriter(text, [*one_run.FIRST, *settings, *rest, *measured, *ABOUT], lineterminator="\n")
    table.writeheader()
    table.writerows({name: _cell(name, value) for name, value in line.items()} for line in lines)
    return text.getvalue()


def _cell(name: str, value: Any) -> str:
    """A value as text, of which _value makes the same value again."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return json.dumps(value, allow_nan=False)
    plainly = name in WORDS or name in ABOUT or _value(name, value) == value
    return value if plainly else json.dumps(value)


def _medians(rows: Rows) -> dict[str, float]:
    """The training error and the error under other statistics, over the last epochs of a run.

    For a reader of the file; the figures take them from the epochs.
    """
    found = {}
    for name in sorted({name for row in rows for name in row if _is_median(name)}):
        values = [row[name] for row in rows if row.get(name) is not None]
        if values:
            found[name] = float(statistics.median(values[-LAST_EPOCHS:]))
    return found


def _is_median(name: str) -> bool:
    return name == "train_error_pct" or name.startswith(f"{METRIC}_")


def _packed(lines: Iterable[tuple[str, Rows]]) -> bytes:
    packed = io.BytesIO()
    # Neither a time nor a file's name goes into the head of the archive.
    with gzip.GzipFile("", "wb", compresslevel=9, fileobj=packed, mtime=0) as f:
        for identity, rows in lines:
            if rows:
                f.write((json.dumps({"identity": identity, "rows": rows}, separators=(",", ":")) + "\n").encode())
    return packed.getvalue()


def _write_bytes(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_bytes(content)
    os.replace(aside, path)


# ---------------------------------------------------------------------------- reading


def read_runs(folder: Path) -> dict[str, Line]:
    """The lines of runs.csv by identity; raises ConfigError where there is none, or it is torn."""
    path = folder / RUNS
    if not path.is_file():
        raise ConfigError(f"no {path}: this normbench comes without reference runs")
    try:
        with open(path, newline="", encoding="utf-8") as f:
            found = [_line(cells) for cells in csv.DictReader(f, strict=True)]
    except (OSError, ValueError, LookupError, TypeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read ({error}); take it from the release anew") from None
    lines = {line.row["identity"]: line for line in found}
    if len(lines) < len(found):
        raise ConfigError(f"{path} has one run twice; take it from the release anew")
    return lines


def _line(cells: dict[str, str]) -> Line:
    if None in cells or None in cells.values():
        raise ValueError("a line has more or fewer cells than the first")
    row = {name: _value(name, cell) for name, cell in cells.items() if name not in ABOUT and not _is_median(name)}
    given = {name: value for name, value in row.items() if value is not None or not science.is_field(name)}
    if missing := [name for name in ("identity", "state", *WORDS[:4]) if not given.get(name)]:
        raise ValueError(f"a line does not say {', '.join(missing)}")
    return Line(given, {name: cells.get(name, "") for name in ABOUT})


def _value(name: str, cell: str) -> Any:
    """The value that _cell wrote: a list stays text, as in the table of runs."""
    if not cell:
        return None
    if name in WORDS or cell.startswith("["):
        return cell
    try:
        value = json.loads(cell)
    except ValueError:
        return cell
    return value if isinstance(value, (bool, int, float, str)) else cell


def read_rows(path: Path, known: Collection[str]) -> dict[str, Rows]:
    """The rows of every run by its identity; known: those of runs.csv, to which they belong.

    Raises ConfigError where the file is torn, or of other runs.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as f:
            found = {line["identity"]: line["rows"] for line in map(json.loads, f)}
    except (OSError, EOFError, ValueError, LookupError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); take it from the release anew") from None
    if strangers := found.keys() - set(known):
        raise ConfigError(f"{path} has rows of {len(strangers)} runs that {RUNS} beside it has not; take both anew")
    return found
