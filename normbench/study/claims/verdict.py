"""A claim against the runs: the paired difference over seeds, and what it says of the claim."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from normbench.study.claims.cells import Errors
from normbench.study.claims.claim import Claim
from normbench.study.read import stats
from normbench.study.read.stats import Summary

AGREES, DISAGREES, UNDECIDED, NOT_RUN = VERDICTS = ("agrees", "disagrees", "undecided", "not run")
FEWEST = 3  # seeds that decide

DEFINITIONS = {
    "difference": "difference: error of what stands left of − less that of what stands right of it, in points of top-1 "
    "error (median of the last five epochs), seed by seed and then the mean over the n seeds that both sides have, with its "
    "95 % t-interval",
    "verdict": "agrees: the interval lies wholly on the side of 0 that the paper claims, for a claim that two are equal "
    "wholly within the margin (±); disagrees: wholly on the other side, or wholly beyond the margin; undecided: it contains "
    "0, or crosses the margin, or n < 3; not run: a side has no finished run",
    "diverged": "a seed on which one side alone diverged is a pair that this side loses by no number: such a claim has no mean "
    "and no interval, and is decided only where all of its pairs are on one side; a seed on which both diverged is no pair",
}


@dataclass(frozen=True)
class Comparison:
    """Two sides, pair by pair over the seeds that both have."""

    difference: Summary  # n: pairs; NaN in place of a mean and a spread where a side diverged
    diverged: tuple[int, int, int]  # seeds on which the left side alone, the right alone, both did
    spans: tuple[tuple[float, float], ...]  # the interval; where a side diverged, each pair

    @property
    def lower(self) -> int:
        """Which side has the lower error: -1 the left, 1 the right, 0 where nothing is decided."""
        signs = {-1 if high < 0 else 1 if low > 0 else 0 for low, high in self.spans}
        return signs.pop() if len(signs) == 1 and self.difference.n >= FEWEST else 0


@dataclass(frozen=True)
class Outcome:
    """What the runs say of a claim."""

    claim: Claim
    verdict: str
    compared: Comparison

    @property
    def difference(self) -> Summary:
        return self.compared.difference

    @property
    def diverged(self) -> tuple[int, int, int]:
        return self.compared.diverged


def judge(claim: Claim, left: Sequence[Errors], right: Sequence[Errors]) -> Outcome:
    """The verdict over the pairs of errors; left, right: those of each cell of a side."""
    found = compared(left, right)
    sides = {_side(claim, low, high) for low, high in found.spans}
    verdict = sides.pop() if len(sides) == 1 and found.difference.n >= FEWEST else UNDECIDED
    return Outcome(claim, verdict if all(left) and all(right) else NOT_RUN, found)


def compared(left: Sequence[Errors], right: Sequence[Errors]) -> Comparison:
    """Left less right; each side the errors of its cells.

    A side of several cells is their mean on each seed that all of them have; it has diverged
    where one of them has.
    """
    everywhere = paired(left, right)
    pairs = [pair for pair in everywhere if not math.isnan(pair)]
    lost = sum(pair == math.inf for pair in pairs), sum(pair == -math.inf for pair in pairs)
    both = len(everywhere) - len(pairs)
    if any(lost):
        unknown = Summary(len(pairs), math.nan, math.nan, math.nan, math.nan)
        return Comparison(unknown, (*lost, both), tuple((pair, pair) for pair in pairs))
    difference = stats.summarise(pairs)
    return Comparison(difference, (*lost, both), ((difference.low, difference.high),))


def paired(left: Sequence[Errors], right: Sequence[Errors]) -> list[float]:
    """Left less right on each seed that all cells have.

    inf where the left alone diverged, -inf where the right alone, NaN where both did.
    """
    seeds = set.intersection(*(set(errors) for errors in (*left, *right)))
    return [_mean(left, seed) - _mean(right, seed) for seed in sorted(seeds)]


def _mean(cells: Sequence[Errors], seed: int) -> float:
    return sum(errors[seed] for errors in cells) / len(cells)


def _side(claim: Claim, low: float, high: float) -> str:
    """Where an interval lies; that of a single pair is a point."""
    if claim.relation == "=":
        if -claim.margin <= low and high <= claim.margin:
            return AGREES
        return DISAGREES if low > claim.margin or high < -claim.margin else UNDECIDED
    below, above = (AGREES, DISAGREES) if claim.relation == "<" else (DISAGREES, AGREES)
    return below if high < 0 else above if low > 0 else UNDECIDED
