"""The runs on disk that a claim's cell asks for, and their errors by seed."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from normbench.records import FINISHED
from normbench.study.claims.claim import Cell
from normbench.study.claims.common import Common
from normbench.study.read import collected, science
from normbench.study.read.selection import largest_alike, plain, refuse_twins
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

    def _find(self, cell: Cell) -> Found:
        match = (self.runs["norm"] == cell.label) & self.runs["state"].isin(FINISHED)
        match &= (self._plain["batch"] == plain(cell.batch)) | self.runs["batch_free"]
        for name, value in self.common.wanted(cell).items():
            match &= self._plain[name] == value if name in self._plain else value == "null"
        stats, usual = cell.eval_stats or self.common.eval_stats, self.common.eval_stats
        directly = match & (self._column("eval_stats", usual) == stats)
        beside = match & (self._column("eval_stats", usual) == usual) & self.runs.index.isin(self._with(stats))
        own, remarks = largest_alike(self.runs[directly | beside], swept=("eval_stats", "eval_also"))
        refuse_twins(own)
        # of two that were trained alike, the one that was evaluated with the least
        order = pd.DataFrame(
            {"beside": ~directly[own.index], "also": self._column("eval_also", "null")[own.index].str.len()}
        )
        own = own.loc[order.sort_values(["beside", "also"], kind="stable").index]
        own = own[~own["seed"].duplicated()]
        errors = _errors(own[directly[own.index]], METRIC) | _errors(own[~directly[own.index]], f"{METRIC}_{stats}")
        return Found(errors, own, remarks)

    def _column(self, name: str, absent: str) -> "pd.Series[str]":
        return self._plain[name] if name in self._plain else pd.Series(absent, index=self.runs.index)

    def _with(self, stats: str) -> list[object]:
        """The runs that were evaluated with these statistics beside their own."""
        also = self.runs["eval_also"].dropna() if "eval_also" in self.runs else pd.Series(dtype=str)
        return [index for index, names in also.items() if stats in json.loads(names)]


def _errors(runs: pd.DataFrame, metric: str) -> dict[int, float]:
    """Of runs that ended the metric, the median over the last epochs; inf where one diverged."""
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
