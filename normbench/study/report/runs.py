"""A run as the report shows it: its labels, curve, config, environment and exact command."""

import math
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from markupsafe import Markup

from normbench import records
from normbench.study.figures.looks import looks_of
from normbench.study.read import reference, science
from normbench.study.read.collected import Collected
from normbench.study.read.coverage import given
from normbench.study.read.origin import ORIGIN, YOURS
from normbench.study.read.stats import METRIC
from normbench.study.report import curve_svg

# The names of a row's fields, at the end of their curves.
NAMES = {METRIC: "validation", "train_error_pct": "training"}


@dataclass(frozen=True)
class RunText:
    """What the page says of one run, mostly as text."""

    anchor: str  # run-<identity>: the page's address of this run
    data: str
    model: str
    norm: str
    yours: bool  # among reference runs
    batch: str  # images per worker, or "any"
    given: str  # what the protocol fixes
    protocol: str
    seed: int
    state: str
    error: str  # of record
    final: str
    epochs: str  # finished of planned
    seconds: str
    lr: str
    commit: str
    failure: str  # the one line of a failed run
    spark: Markup
    curve: Markup
    config: str
    environment: str
    command: str
    path: str


def run_texts(found: Collected) -> list[RunText]:
    """Every run, in the order of the table."""
    rows = {str(path): own for path, own in found.epochs.groupby("path", sort=False)} if len(found.epochs) else {}
    colors = {label: look.color for label, look in looks_of(sorted(set(found.runs["norm"]))).items()}
    fixed = given(found.runs)
    made: list[RunText] = []
    taken: dict[str, int] = {}
    for (_, run), settled in zip(found.runs.iterrows(), fixed, strict=True):
        anchor = f"run-{run['identity']}"
        taken[anchor] = taken.get(anchor, 0) + 1  # one run in two folders is shown twice
        anchor += f"-{taken[anchor]}" if taken[anchor] > 1 else ""
        made.append(_run(run, anchor, str(settled), rows.get(run["path"], pd.DataFrame()), colors[run["norm"]]))
    return made


def _run(run: "pd.Series[Any]", anchor: str, fixed: str, rows: pd.DataFrame, color: str) -> RunText:
    config, env, failure = _described(run["path"])
    planned = int(run["recipe.epochs"])
    curves = {_name(column): _floats(rows[column]) for column in _shown_columns(rows)}
    epochs = [int(epoch) for epoch in rows["epoch"]] if len(rows) else []
    seconds = rows["seconds"].iloc[-1] if "seconds" in rows else None
    return RunText(
        anchor=anchor,
        data=run["data"],
        model=run["model"],
        norm=run["norm"],
        yours=run.get(ORIGIN) == YOURS,
        batch="any" if run["batch_free"] else str(run["batch"]),
        given=fixed,
        protocol=run["protocol"],
        seed=int(run["seed"]),
        state=run["state"],
        error=_number(run.get(METRIC)),
        final=_number(run.get(f"{METRIC}.final")),
        epochs=f"{len(rows)} of {planned}",
        seconds=_duration(seconds),
        lr=f"{run['lr']:g}",
        commit=str(env.pop("commit", None) or "not recorded"),
        failure=failure if run["state"] == "failed" else "",
        spark=curve_svg.spark(next(iter(curves.values()), []), color),
        curve=curve_svg.curve(epochs, curves, planned, color),
        command=shlex.join(map(str, command)) if isinstance(command := env.pop("command", []), list) else "",
        config=_yaml(config),
        environment=_yaml(env),
        path=run["path"],
    )


def _described(path: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The config and the environment of a run, and the line of its failure.

    Of a reference run there are its science fields, and what its numbers come from.
    """
    if not reference.holds(path):
        folder = Path(path)
        failure = str(_read(folder, "error.json").get("error", ""))
        return _read(folder, "config.yaml"), _read(folder, "env.json"), failure
    line = reference.line(path)
    config = {name: line.row[name] for name in line.row if science.is_field(name)}
    env: dict[str, Any] = {name: text for name, text in line.about.items() if text}
    env["command"] = ["normbench", *shlex.split(line.about["command"])]
    return config, env, ""


def _read(folder: Path, name: str) -> dict[str, Any]:
    """A file of the run folder; nothing where it is absent or torn."""
    try:
        value = records.read_config(folder) if name == "config.yaml" else records.read_json(folder / name)
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


# ---------------------------------------------------------------------------- as text


def _shown_columns(rows: pd.DataFrame) -> Iterator[str]:
    """What a learning curve shows: the metric, training error, the metric of other statistics."""
    others = sorted(column for column in map(str, rows) if column.startswith(f"{METRIC}_"))
    for column in (*NAMES, *others):
        if column in rows and rows[column].notna().any():
            yield column


def _name(column: str) -> str:
    return NAMES.get(column, column.removeprefix(f"{METRIC}_"))


def _floats(column: "pd.Series[Any]") -> list[float | None]:
    numbers = pd.to_numeric(column, errors="coerce")
    return [None if math.isnan(value) else float(value) for value in numbers]


def _number(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, (int, float)) and math.isfinite(value) else ""


def _duration(seconds: Any) -> str:
    """Seconds of training in the unit a reader would choose."""
    if not isinstance(seconds, (int, float)) or not math.isfinite(seconds):
        return ""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def _yaml(value: dict[str, Any]) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100) if value else ""
