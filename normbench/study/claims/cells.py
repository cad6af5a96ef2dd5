"""The runs on disk that a claim's cell asks for, and their errors by seed."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from normbench.records import FINISHED
from normbench.study.claims.claim import Cell
from normbench.study.claims.common import Common, switched_off
from normbench.study.read import collected, science
from normbench.study.read.selection import (
    differing,
    largest_alike,
    left_out,
    plain,
    refuse_twins,
    refuse_unlike,
    setting_free,
)
from normbench.study.read.stats import METRIC

LAST_EPOCHS = 5  # the median over them, as for the metric of record

Errors = Mapping[int, float]  # by seed, in points; inf: that run diverged


@dataclass(frozen=True)
class Found:
    """What is on disk of a cell."""

    errors: Errors
    runs: pd.DataFrame
    remarks: list[str]


class Shelf:
    """The runs under one common setting, by cell."""

    def __init__(self, runs: pd.DataFrame, common: Common) -> None:
        self.runs, self.common = runs, common
        self._known: dict[Cell, Found] = {}

    def find(self, cell: Cell) -> Found:
        """The finished runs of a cell, one a seed, and those that differ in what no cell says.

        A batch-free run serves every batch. A run that evaluated with several statistics serves
        each of them, for evaluation leaves no trace in training. Raises ConfigError where one run
        lies in two folders.
        """
        if cell not in self._known:
            self._known[cell] = self._find(cell)
        return self._known[cell]

    @cached_property
    def _plain(self) -> pd.DataFrame:
        """The science fields in one spelling."""
        return pd.DataFrame({name: self.runs[name].map(plain) for name in science.columns(self.runs)})

    def remarks(self, cells: Iterable[Cell], alike: pd.DataFrame, strict: bool = False) -> list[str]:
        """On the runs that differ from the common setting, and that no cell asks for.

        alike: the runs that have it. Raises ConfigError where strict and there are such runs.
        """
        cells = list(cells)
        found = [self.find(cell) for cell in cells]
        plain = switched_off(self.runs, cells)
        used = {index for cell in found for index in cell.runs.index}
        unasked = plain[plain.index.isin(alike.index) | ~plain.index.isin(used)]
        free = (*setting_free(alike), "eval_also")
        if strict:
            refuse_unlike(unasked, "a table", free)
        # one norm's options, too, can differ: a yaml changes between versions
        within = [
            name for _, own in unasked.groupby("norm") for name in differing(own, [k for k in free if k != "norm"])
        ]
        fields = list(
            dict.fromkeys([*differing(unasked, free), *(name for name in within if name.startswith("norm."))])
        )
        said = left_out(unasked, alike, fields) if fields else []
        return list(dict.fromkeys([*said, *(remark for cell in found for remark in cell.remarks)]))

    def _find(self, cell: Cell) -> Found:
        match = (self.runs["norm"] == cell.label) & self.runs["state"].isin(FINISHED)
        match &= (self._plain["batch"] == plain(cell.batch)) | self.runs["batch_free"]
        wanted, usual = self.common.wanted(cell), self.common.eval_stats
        stats = cell.eval_stats or usual
        # by run, whether its own statistics are others than these, and how many it has beside
        beside: dict[Any, tuple[bool, int]] = {}
        for at, row in zip(self.runs.index[match], self._plain[match].to_dict("records"), strict=True):
            own, also = row.get("eval_stats", usual), self._also(at)
            alike = all(row.get(name, "null") == value for name, value in wanted.items())
            if alike and (own == stats or (own == usual and stats in also)):
                beside[at] = (own != stats, len(also))
        found = self.runs.loc[list(beside)]
        kept, remarks = _of_one_norm(found)
        refuse_twins(kept)
        # of two that were trained alike, the one that was evaluated with the least
        order = sorted(kept.index, key=lambda at: beside[at])
        kept = kept.loc[order]
        kept = kept[~kept["seed"].duplicated()]
        others = pd.Series([beside[at][0] for at in kept.index], index=kept.index, dtype=bool)
        errors = by_seed(kept[~others], METRIC) | by_seed(kept[others], f"{METRIC}_{stats}")
        return Found(errors, kept, remarks)

    def _also(self, at: Any) -> list[str]:
        """The statistics that a run was evaluated with beside its own."""
        names = self.runs.at[at, "eval_also"] if "eval_also" in self.runs else None
        return json.loads(names) if isinstance(names, str) else []


def _of_one_norm(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The largest set whose norm has the same options: a yaml can change between versions."""
    options = [name for name in science.columns(runs) if name.startswith("norm.")]
    if all(runs[name].map(plain).nunique() < 2 for name in options):
        return runs, []
    return largest_alike(runs, swept=("eval_stats", "eval_also"))


def by_seed(runs: pd.DataFrame, metric: str = METRIC) -> dict[int, float]:
    """Of runs that ended, one a seed, the metric, a median over the last epochs; inf where one
    diverged.
    """
    found = {int(seed): math.inf for seed in runs.loc[runs["state"] == "diverged", "seed"]}
    done = runs[runs["state"] == "done"]
    values = done[metric] if metric in done else pd.Series(math.nan, index=done.index)
    if values.isna().any():
        values = values.fillna(_medians(done[values.isna()], metric))
    numbers = zip(done["seed"], values, strict=True)
    return found | {int(seed): float(value) for seed, value in numbers if math.isfinite(value)}


def _medians(runs: pd.DataFrame, metric: str) -> "pd.Series[float]":
    """Of a column that only the epochs have."""
    table = collected.epochs(runs)
    if metric not in table:
        return pd.Series(math.nan, index=runs.index)
    last = table.dropna(subset=[metric]).groupby("path")[metric].apply(lambda run: run.tail(LAST_EPOCHS).median())
    return runs["path"].map(last)
