"""What an experiment of conf/experiment asks for: its grids, and the commands that train it."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from normbench import grids, paths
from normbench.config import ConfigError
from normbench.hints import nearest
from normbench.records import FINISHED
from normbench.study.read.selection import plain


@dataclass(frozen=True)
class Product:
    """Every combination of the swept values, under the fixed ones."""

    fixed: dict[str, str]  # those set outside the sweep, and those of which the sweep has one
    swept: dict[str, list[str]]

    @property
    def norms(self) -> list[str]:
        return self.swept.get("norm", [])

    @property
    def seeds(self) -> list[int]:
        return [int(seed) for seed in self.swept.get("seed", ["0"])]


@dataclass(frozen=True)
class Experiment:
    """The union of some products; most experiments are one."""

    name: str
    products: tuple[Product, ...]

    @property
    def fixed(self) -> dict[str, str]:
        """What all of the products fix, and alike."""
        first, *others = self.products
        return {k: v for k, v in first.fixed.items() if all(other.fixed.get(k) == v for other in others)}

    @property
    def swept(self) -> dict[str, list[str]]:
        """Every key that a product sweeps, with all of its values."""
        found: dict[str, list[str]] = {}
        for product in self.products:
            for key, values in product.swept.items():
                found[key] = list(dict.fromkeys([*found.get(key, []), *values]))
        return found

    @property
    def norms(self) -> list[str]:
        return Product(self.fixed, self.swept).norms

    @property
    def seeds(self) -> list[int]:
        return Product(self.fixed, self.swept).seeds

    def sweeping(self, key: str) -> "Product":
        """The first product that sweeps a key."""
        return next(product for product in self.products if key in product.swept)


@dataclass(frozen=True)
class Grid:
    """What a figure of error against batch wants: its experiment's grid, and more on disk."""

    norms: list[str]
    batches: list[int]  # largest first
    seeds: list[int]


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
    sweeper = settings.pop("hydra", {}).get("sweeper", {})
    settings.pop("defaults", None)
    fixed = dict(_dotted(settings))
    return Experiment(name, tuple(_product(fixed, grid) for grid in grids.union(sweeper)))


@cache
def fields() -> tuple[str, ...]:
    """Every field that an experiment sets or sweeps: what tells the runs of one from another's."""
    products = [product for name in names() for product in read(name).products]
    return tuple(sorted({key for product in products for key in (*product.fixed, *product.swept)}))


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
    return [" ".join(["normbench -m", f"experiment={name}", *map(shlex.quote, settings or [])])]


def none_yet(name: str) -> ConfigError:
    """The error of a figure or table that has nothing to show."""
    return ConfigError(f"no runs for {name} yet; make them with {' and '.join(commands(name))}")


def _product(fixed: dict[str, str], grid: grids.Grid) -> Product:
    swept = {key: grids.values(typed) for key, typed in grid.items()}
    alone = {key: values[0] for key, values in swept.items() if len(values) == 1 and key not in ("norm", "seed")}
    return Product({**{key: value for key, value in fixed.items() if key not in swept}, **alone}, swept)


def _dotted(node: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", plain(json.dumps(value) if isinstance(value, list) else value)
