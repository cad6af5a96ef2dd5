"""Every two settings at hand against each other, for the report: its script looks a pair up, and
computes nothing.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from normbench.records import FINISHED
from normbench.study.claims.cells import Errors, by_seed
from normbench.study.claims.verdict import FEWEST, compared
from normbench.study.figures.looks import looks_of
from normbench.study.read import stats
from normbench.study.read.coverage import given
from normbench.study.read.selection import differing, plain

# They name a setting by themselves, or what its protocol gives is named in their place.
SAID = ("data", "model", "norm", "batch", "seed", "protocol", "workers", "sgd_batch", "eval_also")


@dataclass(frozen=True)
class Choice:
    """The settings of one network on one data set."""

    data: str
    model: str
    settings: list[tuple[str, str]]  # a name, and its mean over seeds
    pairs: str  # "0,1,-1.55,-1.91,-1.18,5,0,0;...": see _pair


def choices(runs: pd.DataFrame) -> Iterator[Choice]:
    """For every data set and network with two settings or more that share a seed."""
    finished = runs[runs["state"].isin(FINISHED) & ~runs["identity"].duplicated()]
    for (data, model), own in finished.groupby(["data", "model"], sort=False):
        errors = _settings(own)
        both = combinations(enumerate(errors.values()), 2)
        pairs = [_pair(one, other, left, right) for (one, left), (other, right) in both if left.keys() & right.keys()]
        if pairs:
            yield Choice(
                str(data), str(model), [(name, _mean(seeds)) for name, seeds in errors.items()], ";".join(pairs)
            )


def _settings(own: pd.DataFrame) -> dict[str, Errors]:
    """The errors by seed of runs that differ in nothing else, by a name that tells them apart."""
    told = pd.DataFrame({name: own[name].map(plain) for name in differing(own, SAID)}, index=own.index)
    fixed = given(own)
    told = told.assign(given=fixed) if fixed.nunique() > 1 else told
    names = {label: look.name for label, look in looks_of(sorted(own["norm"].unique())).items()}
    at = own["batch"].map(lambda batch: ", any batch" if pd.isna(batch) else f" at {batch}")
    words = pd.DataFrame({"what": own["norm"].map(names) + at})
    for name in told:
        words[name] = told[name] if name == "given" else f"{name}=" + told[name]
    return {str(name): by_seed(group) for name, group in own.groupby(words.agg(", ".join, axis=1), sort=False)}


def _pair(one: int, other: int, left: Errors, right: Errors) -> str:
    """Places of both, mean, both ends of the interval, number of pairs, seeds on which the left
    alone diverged and on which the right alone did; what is not known is empty.
    """
    found = compared([left], [right])
    difference = found.difference
    ends = (difference.low, difference.high) if difference.n >= FEWEST else (math.nan, math.nan)
    numbers = ["" if math.isnan(value) else f"{value:.2f}" for value in (difference.mean, *ends)]
    return ",".join([str(one), str(other), *numbers, str(difference.n), *map(str, found.diverged[:2])])


def _mean(errors: Errors) -> str:
    finite: Sequence[float] = [error for error in errors.values() if math.isfinite(error)]
    lost = len(errors) - len(finite)
    return " ".join(filter(None, [stats.mean_sd(stats.summarise(finite)), f"{lost} diverged" if lost else ""]))
