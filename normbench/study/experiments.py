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
from normbench.hints import nearest
from normbench.study.collect import science_columns
from normbench.study.selection import ANY_BATCH, plain, setting_free

PARTS = {  # a figure or table whose grid is no single product
    "cbn_window": ("cbn_window", "cbn_window_bn"),
    "gn_table3": ("gn_table3", "gn_table3_channels"),
}
FINISHED = ("done", "diverged")


@dataclass(frozen=True)
class Experiment:
    """A grid: every combination of the swept values, under the fixed ones."""

    name: str
    fixed: dict[str, str]  # those set outside the sweep, and those of which the sweep has one
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


def names() -> list[str]:
    """Every experiment."""
    return sorted(path.stem for path in (paths.conf() / "experiment").glob("*.yaml"))


def read(name: str) -> Experiment:
    """conf/experiment/<name>.yaml."""
    if name not in names():
        raise ConfigError(f"{name}: no such experiment{nearest(name, names())}; one of {', '.join(names())}")
    loaded = OmegaConf.to_container(OmegaConf.load(paths.conf() / "experiment" / f"{name}.yaml"))
    assert isinstance(loaded, dict)
    settings = {str(key): value for key, value in loaded.items()}
    sweeper = settings.pop("hydra")["sweeper"]["params"]
    settings.pop("defaults", None)
    swept = {key: [value.strip() for value in str(values).split(",")] for key, values in sweeper.items()}
    alone = {key: values[0] for key, values in swept.items() if len(values) == 1 and key not in ("norm", "seed")}
    return Experiment(name, {**dict(_dotted(settings)), **alone}, swept)


def grid(name: str, runs: pd.DataFrame) -> Grid:
    """The cells of an experiment, the norms and seeds on disk, and a further size where every norm has all its seeds."""
    wanted = read(name)
    norms = list(dict.fromkeys([*wanted.norms, *runs["norm"]]))
    seeds = sorted({*wanted.seeds, *(int(seed) for seed in runs["seed"])})
    batches = {int(batch) for batch in wanted.swept.get("batch", [])}
    cut = runs[~runs["batch_free"] & runs["state"].isin(FINISHED)]
    for batch, cell in cut.groupby("batch"):
        counts = cell["norm"].value_counts()
        if len(counts) == cut["norm"].nunique() and (counts >= len(seeds)).all():
            batches.add(int(str(batch)))
    return Grid(norms, sorted(batches, reverse=True), seeds)


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
    candidates = runs if any_norm else runs.loc[[is_of(label, wanted) for label in runs["norm"]]]
    free = {*setting_free(candidates), *wanted.swept}
    others = [field for field in science_columns(runs) if not {field, field.split(".")[0]} & free]
    own, left_out = candidates, []  # a value that the experiment sets itself needs no remark
    for field in dict.fromkeys([*wanted.fixed, *others]):
        if field not in own:
            continue
        match = own[field].map(plain) == plain(wanted.fixed.get(field, "null"))
        if field in ANY_BATCH:
            match |= own["batch_free"]
        if match.any() and not match.all():
            own = own[match]
            left_out += [] if field in wanted.fixed else [field]
    count = len(candidates) - len(own)
    return own, f"left out: {count} runs that differ from these in {', '.join(left_out)}" if left_out else ""


def of_norms_as_they_come(runs: pd.DataFrame) -> pd.DataFrame:
    """Without variants (gn-groups8), which have their own figures; all where there is nothing else."""
    plainly = runs.loc[["-" not in label for label in runs["norm"]]]
    return plainly if len(plainly) else runs


def is_of(label: str, wanted: Experiment) -> bool:
    """Whether a norm's label is one that the experiment makes: its norm, with no option but those swept."""
    options = [key.partition(".")[2] for key in wanted.swept if key.startswith("norm.")]
    tail = f"(-({'|'.join(options)})[^-]+)*" if options else ""
    return any(re.fullmatch(re.escape(norm) + tail, label) for norm in wanted.norms)


# ---------------------------------------------------------------------------- what is missing


def in_short(lacking: list[str]) -> list[str]:
    """Cells in words with those of one norm that lack the same together: "bn at 4" and "bn at 2" are "bn at 4/2"."""
    batches: dict[tuple[str, str], list[str]] = {}  # by what stands before the batch, and what behind
    for text in lacking:
        found = re.fullmatch(r"(.*?) at (\d+)(.*)", text)
        head, batch, tail = found.groups() if found else (text, "", "")
        batches.setdefault((head, tail), []).append(batch)
    return [f"{head} at {'/'.join(sizes)}{tail}" if sizes[0] else head for (head, tail), sizes in batches.items()]


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
            runs = runs if plain(value) == "null" else runs[:0]
            continue
        match = runs[column].map(plain) == plain(value)
        runs = runs[match | runs["batch_free"] if key == "batch" else match]
    return runs


def _in_words(cell: dict[str, str], finished: int, seeds: int, unfinished: int, batch_free: bool) -> str:
    shown = {key: value for key, value in cell.items() if value != "null"}  # what is off goes without saying
    options = [f"{key.rpartition('.')[2]}={value}" for key, value in shown.items() if key not in ("norm", "batch")]
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
