"""What an experiment of conf/experiment asks for: its cells, the runs that belong to it, the commands that fill it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from normbench import paths
from normbench.config import ConfigError
from normbench.study.collect import science_columns
from normbench.study.selection import plain, setting_free

PARTS = {  # a figure or table whose grid is no single product
    "cbn_window": ("cbn_window", "cbn_window_bn"),
    "gn_table3": ("gn_table3", "gn_table3_channels"),
}
FINISHED = ("done", "diverged")


@dataclass(frozen=True)
class Experiment:
    """A grid: every combination of the swept values, under the fixed ones. Values are spelt as plain() spells them."""

    name: str
    fixed: dict[str, str]
    swept: dict[str, list[str]]

    @property
    def norms(self) -> list[str]:
        return self.swept.get("norm", [])

    @property
    def seeds(self) -> list[int]:
        return [int(seed) for seed in self.swept.get("seed", ["0"])]


@dataclass(frozen=True)
class Grid:
    """The cells that a figure of error against batch wants: those of its experiment, and whatever else is on disk."""

    norms: list[str]
    batches: list[int]  # largest first
    seeds: list[int]


def parts(name: str) -> tuple[str, ...]:
    """The experiments that fill a figure or a table."""
    return PARTS.get(name, (name,))


def read(name: str) -> Experiment:
    """conf/experiment/<name>.yaml."""
    loaded = OmegaConf.to_container(OmegaConf.load(paths.conf() / "experiment" / f"{name}.yaml"))
    assert isinstance(loaded, dict)
    settings = {str(key): value for key, value in loaded.items()}
    sweeper = settings.pop("hydra")["sweeper"]["params"]
    settings.pop("defaults", None)
    swept = {key: [plain(value.strip()) for value in str(values).split(",")] for key, values in sweeper.items()}
    return Experiment(name, dict(_dotted(settings)), swept)


def grid(name: str, runs: pd.DataFrame) -> Grid:
    """The cells of an experiment, joined by those on disk."""
    wanted = read(name)
    batches = {int(b) for b in [*wanted.swept.get("batch", []), *runs["batch"].dropna()]}
    seeds = {*wanted.seeds, *(int(seed) for seed in runs["seed"])}
    return Grid(list(dict.fromkeys([*wanted.norms, *runs["norm"]])), sorted(batches, reverse=True), sorted(seeds))


def commands(name: str, settings: list[str] | None = None) -> list[str]:
    """What fills the missing cells; a sweep skips the runs that are done."""
    return [" ".join(["python -m normbench -m", f"experiment={part}", *(settings or [])]) for part in parts(name)]


def none_yet(name: str) -> ConfigError:
    """The error of a figure or table that has nothing to show."""
    return ConfigError(f"no runs for {name} yet; make them with {' and '.join(commands(name))}")


# ---------------------------------------------------------------------------- which runs belong


def belonging(runs: pd.DataFrame, name: str, any_norm: bool = False) -> tuple[pd.DataFrame, list[str]]:
    """The runs that the experiments of a figure would have made, and a remark on the like runs left out.

    The experiment's norms (or all, where any_norm). Where runs differ in a field that the experiment sets, those with its
    value; in one that it does not name, those that have it off. What still differs is for the figure to refuse.
    """
    kept = [_belonging_to(runs, read(part), any_norm) for part in parts(name)]
    own = pd.concat([chosen for chosen, _ in kept])
    own = own[~own["path"].duplicated()].reindex(columns=runs.columns).astype(runs.dtypes)
    return own, list(dict.fromkeys(remark for _, remark in kept if remark))


def _belonging_to(runs: pd.DataFrame, wanted: Experiment, any_norm: bool) -> tuple[pd.DataFrame, str]:
    candidates = runs if any_norm else runs[[is_of(label, wanted) for label in runs["norm"]]]
    free = {*setting_free(candidates), *wanted.swept}
    own, fields = candidates, []
    for field in [*wanted.fixed, *(field for field in science_columns(runs) if field not in wanted.fixed)]:
        if field not in own or field in free or field.split(".")[0] in free:
            continue
        match = own[field].map(plain) == wanted.fixed.get(field, "null")
        if match.any() and not match.all():
            own = own[match]
            fields.append(field)
    left_out = len(candidates) - len(own)
    return own, f"left out: {left_out} runs that differ from these in {', '.join(fields)}" if fields else ""


def is_of(label: str, wanted: Experiment) -> bool:
    """Whether a norm's label is one that the experiment makes: its norm, with no option but those swept."""
    options = [key.partition(".")[2] for key in wanted.swept if key.startswith("norm.")]
    tail = f"(-({'|'.join(options)})[^-]+)*" if options else ""
    return any(re.fullmatch(re.escape(norm) + tail, label) for norm in wanted.norms)


# ---------------------------------------------------------------------------- what is missing


def missing(runs: pd.DataFrame, name: str) -> list[str]:
    """The cells of a figure's experiments with fewer finished seeds than they ask for, in words."""
    return list(dict.fromkeys(text for part in parts(name) for text in _missing(runs, read(part))))


def _missing(runs: pd.DataFrame, wanted: Experiment) -> Iterator[str]:
    keys = [key for key in wanted.swept if key != "seed"]
    for values in product(*(wanted.swept[key] for key in keys)):
        cell = dict(zip(keys, values, strict=True))
        found = _of_cell(runs, cell)
        finished = int(found["state"].isin(FINISHED).sum())
        if finished < len(wanted.seeds):
            yield _in_words(cell, finished, len(wanted.seeds), len(found) - finished, bool(found["batch_free"].any()))


def _of_cell(runs: pd.DataFrame, cell: dict[str, str]) -> pd.DataFrame:
    has_options = any(key.startswith("norm.") for key in cell)
    for key, value in cell.items():
        column = "norm.name" if key == "norm" and has_options else key
        if column not in runs:
            runs = runs if value == "null" else runs[:0]
            continue
        match = runs[column].map(plain) == value
        runs = runs[match | runs["batch_free"] if key == "batch" else match]
    return runs


def _in_words(cell: dict[str, str], finished: int, seeds: int, unfinished: int, batch_free: bool) -> str:
    options = [f"{key.rpartition('.')[2]}={value}" for key, value in cell.items() if key not in ("norm", "batch")]
    batch = f"at {cell['batch']}" if "batch" in cell and not batch_free else ""
    have = [f"{finished} of {seeds} seeds" if finished else "", f"{unfinished} unfinished" if unfinished else ""]
    details = ", ".join(filter(None, have))
    return " ".join(filter(None, [cell.get("norm", ""), *options, batch, f"({details})" if details else ""]))


def _dotted(node: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", plain(json.dumps(value) if isinstance(value, list) else value)
