"""Claims about means over seeds, against numbers worked out by hand and by scipy.stats."""

import math
from pathlib import Path
from typing import Any

import pytest

from normbench.config import ConfigError
from normbench.study.read import collected, selection, stats


def test_mean_sd_and_interval_are_those_worked_out_by_hand() -> None:
    # 7, 8, 9: mean 8, sd 1 (ddof 1); t(0.975, 2) = 4.302653, half width 4.302653 / sqrt(3) = 2.484138
    found = stats.summarise([7.0, 8.0, 9.0])
    assert (found.n, found.mean, found.sd) == (3, 8.0, 1.0)
    assert found.low == pytest.approx(8 - 2.484138, abs=1e-6)
    assert found.high == pytest.approx(8 + 2.484138, abs=1e-6)


def test_the_interval_is_scipys() -> None:
    import scipy.stats

    values = [7.61, 7.43, 7.9, 7.2, 8.05]
    mean, sd = sum(values) / 5, stats.summarise(values).sd
    low, high = scipy.stats.t.interval(0.9, df=4, loc=mean, scale=sd / math.sqrt(5))
    found = stats.summarise(values, level=0.9)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_one_seed_has_no_spread_and_none_has_no_mean() -> None:
    one, none = stats.summarise([7.5]), stats.summarise([])
    assert (one.n, one.mean) == (1, 7.5)
    assert math.isnan(one.sd)
    assert math.isnan(one.low)
    assert none.n == 0
    assert math.isnan(none.mean)
    assert stats.mean_sd(one) == "7.50 (1)"
    assert stats.mean_sd(none) == ""
    assert stats.mean_sd(stats.summarise([7.0, 8.0, 9.0])) == "8.00 ± 1.00 (3)"


def test_runs_that_differ_in_more_than_the_seed_share_no_mean(make_run: Any, tmp_path: Path) -> None:
    make_run(tmp_path, seed=0)
    make_run(tmp_path, seed=1)
    make_run(tmp_path, seed=0, recipe__epochs=30)
    make_run(tmp_path, seed=1, precision="bf16")
    runs, _ = collected.runs(tmp_path)
    with pytest.raises(ConfigError) as error:
        stats.mean_over_seeds(runs)
    assert str(error.value) == (
        "these 4 runs cannot share a mean: they differ in precision (bf16, fp32), recipe.epochs (15, 30); "
        "choose with precision=fp32 recipe.epochs=15"
    )
    chosen = selection.select(runs, ["precision=fp32", "recipe.epochs=15"])
    assert stats.mean_over_seeds(chosen).n == 2


def test_what_is_off_does_not_differ_from_what_was_not_there_yet(make_run: Any, tmp_path: Path) -> None:
    make_run(tmp_path, seed=0)
    make_run(tmp_path, seed=1, recipe__of_a_later_version=False)
    assert stats.mean_over_seeds(collected.runs(tmp_path)[0]).n == 2
    make_run(tmp_path, seed=2, recipe__of_a_later_version=True)
    with pytest.raises(ConfigError, match=r"recipe.of_a_later_version \(1, null\)|recipe.of_a_later_version"):
        stats.mean_over_seeds(collected.runs(tmp_path)[0])


def test_one_run_in_two_folders_is_refused(make_run: Any, tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    make_run(tmp_path / "b")
    with pytest.raises(ConfigError, match="are one run"):
        stats.mean_over_seeds(collected.runs(tmp_path)[0])


def test_diverged_and_unfinished_runs_are_counted_and_not_averaged(make_run: Any, tmp_path: Path) -> None:
    make_run(tmp_path, batch=1, seed=0, error=30.0)
    make_run(tmp_path, batch=1, seed=1, error=None, state="diverged")
    make_run(tmp_path, batch=1, seed=2, error=99.0, state="cut")
    make_run(tmp_path, norm="gn", seed=0, error=10.0, batch_free=True)
    bn, gn = stats.against_batch(collected.runs(tmp_path)[0])
    assert (bn.norm, bn.batch, bn.over_seeds.mean, bn.diverged, bn.unfinished, bn.finished) == ("bn", 1, 30.0, 1, 1, 2)
    assert (gn.norm, gn.batch, gn.over_seeds.mean) == ("gn", None, 10.0)


def test_a_figure_may_vary_what_the_protocol_derives_and_nothing_else(make_run: Any, tmp_path: Path) -> None:
    per_worker = {"protocol__name": "per_worker", "workers": 8}
    make_run(tmp_path, batch=4, sgd_batch=32, **per_worker)
    make_run(tmp_path, batch=2, sgd_batch=16, **per_worker)
    assert [cell.batch for cell in stats.against_batch(collected.runs(tmp_path)[0])] == [4, 2]
    make_run(tmp_path, batch=1)  # of the other protocol
    with pytest.raises(ConfigError, match=r"cannot share a figure: they differ in protocol \(fixed_sgd, per_worker\)"):
        stats.against_batch(collected.runs(tmp_path)[0])


def test_filters_are_written_as_on_the_command_line_of_a_run(make_run: Any, tmp_path: Path) -> None:
    make_run(tmp_path, batch=4)
    make_run(tmp_path, batch=2, recipe__nesterov=True)
    make_run(tmp_path, norm="gn", batch_free=True)
    runs, _ = collected.runs(tmp_path)

    def batches(*filters: str) -> list[int]:
        return list(selection.select(runs, filters)["batch"].fillna(0))

    assert batches("norm=bn", "batch=4,2") == [4, 2]
    assert batches("batch=2") == [2, 0]  # a batch-free run serves every batch
    assert batches("recipe.milestones=[0.3]", "norm=bn", "recipe.nesterov=false") == [4]
    assert batches("norm.eps=0.00001", "norm.name=gn") == [0]
    with pytest.raises(ConfigError, match=r"recipe.epoch: no run has that field \(did you mean recipe.epochs\?\)"):
        batches("recipe.epoch=3")
    with pytest.raises(ConfigError, match=r"recipe.epochs=3: no such run; there is recipe.epochs=15"):
        batches("recipe.epochs=3")
    with pytest.raises(ConfigError, match="key=value"):
        batches("digits")


def test_the_commonest_setting_is_the_one_with_most_runs(make_run: Any, tmp_path: Path) -> None:
    make_run(tmp_path, batch=4, recipe__epochs=1)
    for batch in (4, 2):
        make_run(tmp_path, batch=batch)
    kept, remarks = selection.largest_alike(collected.runs(tmp_path)[0])
    assert list(kept["recipe.epochs"]) == [15, 15]
    assert remarks == ["left out: 1 run that differs from these in recipe.epochs; choose with recipe.epochs=1 (1)"]
