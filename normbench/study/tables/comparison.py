"""Norms against each other and against themselves, and what each comparison is, in words.

DEFINITIONS are the words; every table that shows one of these numbers has them in its caption.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd

from normbench.study.read.selection import refuse_twins
from normbench.study.read.stats import METRIC, SMALL, Cell, Summary, summarise

POINT = 1.0  # of excess error, in the metric's unit, that makes a batch critical

DEFINITIONS = {
    "mean": "mean ± sd (n): over n seeds, sd with ddof 1, of the median top-1 error of the last five epochs",
    "paired": "paired difference: mean over the seeds that both norms have at the same batch of the difference between their "
    "errors, with its 95 % t-interval",
    "small": f"small batches: the mean error over the {SMALL} smallest sizes, or those of them that are named beside it, a "
    "diverged seed as 100 %",
    "excess": "excess error: a norm's mean error at a batch size less its own least over the sizes",
    "robustness": "robustness: the mean of a norm's excess error over the sizes (0: batch does not matter); not given where a "
    "size is missing or has a diverged seed",
    "critical": "critical batch: the largest batch size at which the error exceeds the norm's own best by 1 point, interpolated "
    "on log2 of the batch; ≥ where that is the largest size, - where none does; a size with a diverged seed exceeds it",
}


@dataclass(frozen=True)
class Critical:
    """A critical batch.

    at: NaN where no size exceeds the best by a point. open: the true one may be larger.
    """

    at: float
    open: bool = False

    def __str__(self) -> str:
        return "-" if math.isnan(self.at) else f"≥ {self.at:.3g}" if self.open else f"{self.at:.2g}"


def caption(*names: str) -> str:
    """The definitions of what a table shows, as its small print."""
    return "; ".join(DEFINITIONS[name] for name in names) + "."


def paired(runs: pd.DataFrame, norm: str, than: str, batch: int, metric: str = METRIC) -> Summary:
    """The error of one norm less that of another, seed by seed at equal batch, as a mean."""
    mine, theirs = _by_seed(runs, norm, batch, metric), _by_seed(runs, than, batch, metric)
    return summarise([mine[seed] - theirs[seed] for seed in sorted(mine.keys() & theirs.keys())])


def excess(cells: list[Cell], batches: list[int]) -> dict[int, float]:
    """One norm's excess error at each size: inf where a seed diverged, NaN without a result."""
    at = {batch: _mean(cells, batch) for batch in batches}
    finite = [value for value in at.values() if math.isfinite(value)]
    best = min(finite, default=math.nan)
    return {batch: value - best for batch, value in at.items()}


def robustness(found: dict[int, float]) -> float:
    """The mean excess error over the sizes; NaN where one is missing or diverged."""
    mean = sum(found.values()) / len(found) if found else math.nan
    return mean if math.isfinite(mean) else math.nan


def critical_batch(found: dict[int, float]) -> Critical:
    """The largest batch size at which the excess error is one point."""
    sizes = sorted((batch for batch, value in found.items() if not math.isnan(value)), reverse=True)
    if sizes and found[sizes[0]] >= POINT:
        return Critical(float(sizes[0]), open=True)
    for larger, batch in pairwise(sizes):
        if found[batch] >= POINT:
            if math.isinf(found[batch]):
                return Critical(float(batch))
            part = (POINT - found[larger]) / (found[batch] - found[larger])
            return Critical(2 ** (math.log2(larger) + part * (math.log2(batch) - math.log2(larger))))
    return Critical(math.nan)


def _mean(cells: list[Cell], batch: int) -> float:
    for cell in cells:
        if cell.batch in (None, batch):
            return math.inf if cell.diverged else cell.over_seeds.mean
    return math.nan


def _by_seed(runs: pd.DataFrame, norm: str, batch: int, metric: str) -> dict[int, float]:
    own = runs[(runs["norm"] == norm) & ((runs["batch"] == batch).fillna(False) | runs["batch_free"])]
    own = own[(own["state"] == "done") & own[metric].notna()] if metric in own else own[:0]
    refuse_twins(own)
    return {int(seed): float(value) for seed, value in zip(own["seed"], own[metric], strict=True)} if len(own) else {}
