"""Claims about comparisons of norms, against numbers worked out by hand."""

import math
from pathlib import Path
from typing import Any

import pytest

from normbench.study.read import collected, stats
from normbench.study.tables import comparison
from normbench.study.tables.by_name import TABLES


def cells(errors: dict[int | None, float | None]) -> list[stats.Cell]:
    """A norm's cells of one seed; None: it diverged."""
    return [
        stats.Cell("bn", batch, stats.summarise([] if error is None else [error]), int(error is None), 0)
        for batch, error in errors.items()
    ]


def test_paired_differences_are_taken_seed_by_seed(make_run: Any, tmp_path: Path) -> None:
    # gn - bn: 2, 3, 4 on seeds 0, 1, 2; seed 3 has no partner. mean 3, sd 1, half width 4.302653 / sqrt(3)
    for seed, (bn, gn) in enumerate([(7.0, 9.0), (8.0, 11.0), (6.0, 10.0)]):
        make_run(tmp_path, batch=2, seed=seed, error=bn)
        make_run(tmp_path, norm="gn", seed=seed, error=gn, batch_free=True)
    make_run(tmp_path, batch=2, seed=3, error=50.0)
    make_run(tmp_path, batch=4, seed=0, error=1.0)
    found = comparison.paired(collected.runs(tmp_path)[0], "gn", "bn", 2)
    assert (found.n, found.mean, found.sd) == (3, 3.0, 1.0)
    assert found.low == pytest.approx(3 - 2.484138, abs=1e-6)
    assert comparison.paired(collected.runs(tmp_path)[0], "gn", "cbn", 2).n == 0


def test_excess_is_over_the_norms_own_best_and_robustness_its_mean() -> None:
    found = comparison.excess(cells({32: 7.5, 16: 7.0, 8: 8.0, 4: 10.0}), [32, 16, 8, 4])
    assert found == {32: 0.5, 16: 0.0, 8: 1.0, 4: 3.0}
    assert comparison.robustness(found) == 1.125  # (0.5 + 0 + 1 + 3) / 4


def test_a_batch_free_norm_is_perfectly_robust_and_has_no_critical_batch() -> None:
    found = comparison.excess(cells({None: 10.9}), [32, 2])
    assert comparison.robustness(found) == 0.0
    assert str(comparison.critical_batch(found)) == "-"


def test_the_critical_batch_is_interpolated_on_log2() -> None:
    # excess 0 at 8 and 4 at 4: one point is a quarter of the way, 2^(3 - 0.25) = 6.7272
    critical = comparison.critical_batch({32: 0.2, 16: 0.1, 8: 0.0, 4: 4.0, 2: 9.0})
    assert critical.at == pytest.approx(2**2.75)
    assert (str(critical), critical.open) == ("6.7", False)
    assert comparison.critical_batch({8: 0.0, 4: 1.0}).at == 4.0


def test_the_largest_size_may_be_critical_itself() -> None:
    assert str(comparison.critical_batch({64: 1.5, 32: 0.0, 2: 8.0})) == "≥ 64"


def test_a_missing_size_gives_no_robustness_and_a_diverged_one_is_critical() -> None:
    holed = comparison.excess(cells({32: 7.0, 2: 9.0}), [32, 8, 2])
    assert math.isnan(holed[8])
    assert math.isnan(comparison.robustness(holed))
    assert comparison.critical_batch(holed).at == pytest.approx(2 ** (5 - 4 / 2))  # halfway from 32 to 2 on log2
    lost = comparison.excess(cells({32: 7.0, 2: 7.5, 1: None}), [32, 2, 1])
    assert lost[1] == math.inf
    assert math.isnan(comparison.robustness(lost))
    assert comparison.critical_batch(lost).at == 1.0


def test_every_table_has_the_definitions_of_its_numbers_in_its_caption(make_run: Any, tmp_path: Path) -> None:
    for batch in (32, 2):
        make_run(tmp_path, batch=batch, error=7.0 if batch == 32 else 9.0)
    made = TABLES["summary"](collected.runs(tmp_path)[0])
    for name in ("mean", "excess", "robustness", "critical"):
        assert comparison.DEFINITIONS[name] in made.caption
