"""Claims about verdicts: each follows by rule from paired differences that are worked out by hand."""

import math

import pytest
from scipy import stats as scipy_stats

from normbench.study.claims.claim import Claim, cell
from normbench.study.claims.verdict import AGREES, DISAGREES, NOT_RUN, UNDECIDED, judge, paired

LOST = math.inf  # a run that diverged


def claim(relation: str, margin: float = math.nan) -> Claim:
    sides = (cell("norm=gn batch=2"),), (cell("norm=bn batch=2"),)
    return Claim("gn_2", "group_norm_2018", "Table 2", "", *sides, relation, margin, math.nan, "", "printed", "")


def seeds(*errors: float) -> dict[int, float]:
    return dict(enumerate(errors))


def verdict(relation: str, differences: tuple[float, ...], margin: float = math.nan) -> str:
    """Of errors that differ so from a right side of 10 on every seed."""
    left = seeds(*(10 + difference for difference in differences))
    return judge(claim(relation, margin), [left], [seeds(*[10.0] * len(differences))]).verdict


def test_the_difference_is_taken_seed_by_seed_with_the_interval_of_a_t_test() -> None:
    # left - right: 2, 3, 4 on seeds 0, 1, 2; seed 3 has no partner. Mean 3, half width 4.302653 / sqrt(3)
    left, right = seeds(9.0, 11.0, 10.0, 50.0), {0: 7.0, 1: 8.0, 2: 6.0, 7: 1.0}
    found = judge(claim("<"), [left], [right])
    assert (found.difference.n, found.difference.mean) == (3, 3.0)
    assert found.difference.low == pytest.approx(3 - 2.484138, abs=1e-6)
    assert found.difference.high == pytest.approx(3 + 2.484138, abs=1e-6)
    reference = scipy_stats.ttest_rel([9.0, 11.0, 10.0], [7.0, 8.0, 6.0]).confidence_interval(0.95)
    assert (found.difference.low, found.difference.high) == pytest.approx(tuple(reference))


@pytest.mark.parametrize(
    ("relation", "differences", "expected"),
    [
        ("<", (-2.0, -3.0, -4.0), AGREES),
        ("<", (2.0, 3.0, 4.0), DISAGREES),
        (">", (2.0, 3.0, 4.0), AGREES),
        (">", (-2.0, -3.0, -4.0), DISAGREES),
        ("<", (-0.1, -3.0, -4.0), UNDECIDED),  # mean -2.37, half width 5.03
        (">", (-0.1, 3.0, 4.0), UNDECIDED),
        ("<", (0.0, 0.0, 0.0), UNDECIDED),  # an interval that ends at 0 contains it
        ("<", (-2.0, -2.1), UNDECIDED),  # two seeds never decide
        ("<", (-2.0,), UNDECIDED),
    ],
)
def test_a_claim_of_less_or_more_is_decided_by_an_interval_on_one_side_of_0(
    relation: str, differences: tuple[float, ...], expected: str
) -> None:
    assert verdict(relation, differences) == expected


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ((0.1, 0.0, -0.1), AGREES),  # +-0.25
        ((1.0, 1.0, 1.0), AGREES),  # the margin is still within
        ((-1.0, -1.0, -1.0), AGREES),
        ((1.25, 1.25, 1.25), DISAGREES),
        ((-1.25, -1.25, -1.25), DISAGREES),
        ((0.8, 0.9, 1.0), UNDECIDED),  # 0.9 +- 0.25 crosses 1
        ((-2.0, 0.0, 2.0), UNDECIDED),  # both margins within the interval
        ((0.0, 0.0), UNDECIDED),
    ],
)
def test_a_claim_of_equality_is_decided_by_an_interval_within_the_margin_or_beyond(
    differences: tuple[float, ...], expected: str
) -> None:
    assert verdict("=", differences, margin=1.0) == expected


def test_a_side_of_several_cells_is_their_mean_on_the_seeds_that_all_have() -> None:
    # 5 - (8 + 4) / 2 = -1 on seed 0, 6 - (9 + 1) / 2 = +1 on seed 1; seed 2 lacks a cell
    found = paired([seeds(5.0, 6.0, 7.0)], [seeds(8.0, 9.0, 9.0), seeds(4.0, 1.0)])
    assert found == [-1.0, 1.0]


def test_a_side_that_diverged_loses_its_pair_and_the_signs_decide() -> None:
    fine = seeds(5.0, 5.0, 5.0)
    lost = judge(claim("<"), [fine], [seeds(LOST, 6.0, LOST)])
    assert (lost.verdict, lost.diverged) == (AGREES, (0, 2, 0))
    assert math.isnan(lost.difference.mean)
    assert math.isnan(lost.difference.low)
    assert lost.difference.n == 3
    assert judge(claim("<"), [seeds(LOST, 6.0, LOST)], [fine]).verdict == DISAGREES
    assert judge(claim("<"), [fine], [seeds(LOST, 4.0, LOST)]).verdict == UNDECIDED  # one pair the other way
    assert judge(claim("<"), [seeds(LOST, 5.0, 5.0)], [seeds(5.0, LOST, 9.0)]).verdict == UNDECIDED
    assert judge(claim("=", 1.0), [fine], [seeds(LOST, LOST, LOST)]).verdict == DISAGREES
    assert judge(claim("=", 1.0), [fine], [seeds(LOST, 5.0, 5.0)]).verdict == UNDECIDED
    assert judge(claim("<"), [seeds(5.0, 5.0)], [seeds(LOST, LOST)]).verdict == UNDECIDED  # of two seeds


def test_seeds_on_which_both_diverged_are_no_pairs() -> None:
    found = judge(claim("<"), [seeds(LOST, 1.0, 2.0, 3.0)], [seeds(LOST, 4.0, 4.5, 6.0)])
    assert (found.verdict, found.difference.n, found.diverged) == (AGREES, 3, (0, 0, 1))
    assert found.difference.mean == pytest.approx(-8.5 / 3)
    assert judge(claim("<"), [seeds(LOST)], [seeds(LOST)]).verdict == UNDECIDED


def test_a_mean_with_a_diverged_cell_has_diverged() -> None:
    assert paired([seeds(5.0)], [seeds(LOST), seeds(4.0)]) == [-LOST]


def test_a_side_without_a_run_is_not_run_and_sides_without_a_common_seed_are_undecided() -> None:
    assert judge(claim("<"), [{}], [seeds(1.0, 2.0, 3.0)]).verdict == NOT_RUN
    assert judge(claim("<"), [seeds(1.0)], [seeds(1.0), {}]).verdict == NOT_RUN
    apart = judge(claim("<"), [{0: 1.0}], [{1: 1.0}])
    assert (apart.verdict, apart.difference.n) == (UNDECIDED, 0)
