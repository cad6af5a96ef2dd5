"""What is said of a number measured over seeds: mean, standard deviation, n and interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from normbench.records import FINISHED
from normbench.study.read.selection import refuse_twins, refuse_unlike, setting_free

METRIC = "top1_error_pct"  # of record: median over the last 5 epochs
LEVEL = 0.95
SMALL = 3  # batch sizes that are small: the least of a grid
ORDER = f"the norms in the order of their mean error over the {SMALL} smallest batches, or those of them that they have"


@dataclass(frozen=True)
class Summary:
    """Mean over seeds, with n and a spread; NaN where n is too small for it."""

    n: int
    mean: float  # NaN for n = 0
    sd: float  # over seeds, ddof = 1; NaN for n < 2
    low: float  # t-interval of the mean; NaN for n < 2
    high: float
    least: float = math.nan  # of the seeds


@dataclass(frozen=True)
class Cell:
    """The runs of one norm at one batch, which differ in nothing but the seed."""

    norm: str
    batch: int | None  # None: batch-free, it holds for every one
    over_seeds: Summary  # of the finite ones
    diverged: int
    unfinished: int

    @property
    def finished(self) -> int:
        """Seeds with a result; to diverge is one."""
        return self.over_seeds.n + self.diverged


def summarise(values: Sequence[float], level: float = LEVEL) -> Summary:
    """Mean, sd (ddof 1), n, and the two-sided t-interval mean -+ t(n - 1) sd / sqrt(n)."""
    data = np.asarray(values, dtype=float)
    n = len(data)
    if n < 2:
        one = float(data[0]) if n else math.nan
        return Summary(n, one, math.nan, math.nan, math.nan, one)
    mean, sd = float(data.mean()), float(data.std(ddof=1))
    half = float(stdtrit(n - 1, (1 + level) / 2)) * sd / math.sqrt(n)
    return Summary(n, mean, sd, mean - half, mean + half, float(data.min()))


def mean_over_seeds(runs: pd.DataFrame, metric: str = METRIC) -> Summary:
    """Over the runs that are done and have a finite metric.

    Raises ConfigError where runs differ in more than the seed, or one is there twice.
    """
    refuse_unlike(runs, "a mean")
    refuse_twins(runs)
    return summarise(_finite(runs, metric))


def against_batch(runs: pd.DataFrame, metric: str = METRIC) -> list[Cell]:
    """The cells of a figure of error against batch, norm by norm, largest batch first.

    Raises ConfigError where runs differ in more than norm, batch, seed and what the protocol
    derives from the batch.
    """
    refuse_unlike(runs, "a figure", setting_free(runs))
    found = []
    for _, cell in runs.groupby(["norm", "batch"], dropna=False, sort=False):
        norm, batch = cell["norm"].iloc[0], cell["batch"].iloc[0]
        unfinished = int((~cell["state"].isin(FINISHED)).sum())
        diverged = int((cell["state"] == "diverged").sum())
        at = None if pd.isna(batch) else int(batch)
        found.append(Cell(norm, at, mean_over_seeds(cell, metric), diverged, unfinished))
    return found


def spread(summary: Summary, log: bool = False) -> tuple[float, float]:
    """How far a mean's bar reaches down and up: its sd, and nothing where there is one seed.

    log: on a logarithmic scale no lower than the least of the seeds. There mean - sd may lie far
    below anything that was measured, or have no place at all.
    """
    sd = 0.0 if math.isnan(summary.sd) else summary.sd
    return (min(sd, summary.mean - summary.least) if log else sd), sd


def ends(found: Sequence[Summary], log: bool = False) -> list[float]:
    """The heights that means with their bars take up in a figure."""
    reach = [(summary.mean, *spread(summary, log)) for summary in found if summary.n]
    return [end for mean, down, up in reach for end in (mean - down, mean + up)]


def at_small_batches(cells: Sequence[Cell], batches: Sequence[int]) -> tuple[float, list[int]]:
    """The mean error of one norm over the SMALL least batch sizes, and those of them that it has.

    A seed that diverged counts as an error of 100 %; NaN where the norm has none of the sizes.
    """
    errors = {}
    for batch in sorted(batches)[:SMALL]:
        for cell in cells:
            if cell.batch in (None, batch) and cell.finished:
                finite = cell.over_seeds.mean * cell.over_seeds.n if cell.over_seeds.n else 0.0
                errors[batch] = (finite + 100 * cell.diverged) / cell.finished
    return (sum(errors.values()) / len(errors) if errors else math.nan), sorted(errors, reverse=True)


def by_small_batches(cells: Sequence[Cell], batches: Sequence[int]) -> list[str]:
    """The norms in the order that ORDER says; those without a small batch last."""
    norms = dict.fromkeys(cell.norm for cell in cells)
    errors = {norm: at_small_batches([cell for cell in cells if cell.norm == norm], batches)[0] for norm in norms}
    return sorted(norms, key=lambda norm: (math.isnan(errors[norm]), errors[norm], norm))


def mean_sd(summary: Summary) -> str:
    """7.61 ± 0.12 (3): mean, sd, n; without a spread where there is one seed."""
    if not summary.n:
        return ""
    spread = f" ± {summary.sd:.2f}" if summary.n > 1 else ""
    return f"{summary.mean:.2f}{spread} ({summary.n})"


def in_words(cell: Cell) -> str:
    """7.61 ± 0.12 (3) 1 diverged; or how many are unfinished."""
    diverged = f"{cell.diverged} diverged" if cell.diverged else ""
    return " ".join(filter(None, (mean_sd(cell.over_seeds), diverged))) or f"{cell.unfinished} unfinished"


def _finite(runs: pd.DataFrame, metric: str) -> list[float]:
    if metric not in runs:
        return []
    values = runs.loc[runs["state"] == "done", metric].dropna()
    return [float(value) for value in values if math.isfinite(value)]
