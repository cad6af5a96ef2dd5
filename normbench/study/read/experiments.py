"""What an experiment of conf/experiment asks for: its grid, and the commands that train it."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from normbench import paths
from normbench.config import ConfigError
from normbench.hints import nearest
from normbench.records import FINISHED
from normbench.study.read.selection import plain

PARTS = {  # a figure or table whose grid is no single product
    "cbn_window": ("cbn_window", "cbn_window_bn"),
    "gn_table3": ("gn_table3", "gn_table3_channels"),
}


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
    """What a figure of error against batch wants: its experiment's grid, and more on disk."""

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
    """conf/experiment/<name>.yaml; raises ConfigError where there is none."""
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


@cache
def fields() -> tuple[str, ...]:
    """Every field that an experiment sets or sweeps: what tells the runs of one from another's."""
    return tuple(sorted({key for name in names() for key in (*read(name).fixed, *read(name).swept)}))


def grid(name: str, runs: pd.DataFrame) -> Grid:
    """An experiment's grid, and beyond it what is on disk.

    That is every norm and seed, and each batch size at which every norm has finished all seeds.
    """
    wanted = read(name)
    norms = list(dict.fromkeys([*wanted.norms, *runs["norm"]]))
    seeds = sorted({*wanted.seeds, *(int(seed) for seed in runs["seed"])})
    batches = {int(batch) for batch in wanted.swept.get("batch", [])}
    finished = runs[~runs["batch_free"] & runs["state"].isin(FINISHED)]
    for batch, at_batch in finished.groupby("batch"):
        counts = at_batch["norm"].value_counts()
        if len(counts) == finished["norm"].nunique() and (counts >= len(seeds)).all():
            batches.add(int(str(batch)))
    return Grid(norms, sorted(batches, reverse=True), seeds)


def commands(name: str, settings: list[str] | None = None) -> list[str]:
    """What trains the runs that a figure or table lacks; a sweep skips those that are done."""
    return [
        " ".join(["python -m normbench -m", f"experiment={part}", *map(shlex.quote, settings or [])])
        for part in parts(name)
    ]


def none_yet(name: str) -> ConfigError:
    """The error of a figure or table that has nothing to show."""
    return ConfigError(f"no runs for {name} yet; make them with {' and '.join(commands(name))}")


def _dotted(node: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", plain(json.dumps(value) if isinstance(value, list) else value)
