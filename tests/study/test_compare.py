"""Claims about the comparison of two settings: paired over seeds, against scipy, and careful with few of them."""

import math
from pathlib import Path
from typing import Any

import pytest
from scipy import stats as scipy_stats

from normbench import tables
from normbench.config import ConfigError
from normbench.study.read import collected
from normbench.study.tables import pairs
from normbench.study.tables.compare import NO_INTERVAL, compare
from normbench.study.tables.table import Table

GN, GN_WS = (9.0, 11.0, 10.0), (7.0, 8.0, 6.0)


@pytest.fixture
def root(make_run: Any, tmp_path: Path) -> Path:
    """Three seeds of GN and GN with standardized weights, a fourth of GN, and BN at two sizes."""
    for seed, (gn, gn_ws) in enumerate(zip(GN, GN_WS, strict=True)):
        make_run(tmp_path, "gn", seed=seed, error=gn, batch_free=True)
        make_run(tmp_path, "gn_ws", seed=seed, error=gn_ws, batch_free=True)
        for batch in (32, 2):
            make_run(tmp_path, "bn", batch, seed, error=12.0 - batch / 8 + seed)
    make_run(tmp_path, "gn", seed=3, error=50.0, batch_free=True)
    return tmp_path


def made(root: Path, *typed: str, **options: Any) -> Table:
    return compare(collected.runs(root)[0], typed, **options)


def test_the_difference_is_that_of_a_paired_t_test_on_the_seeds_that_both_have(root: Path) -> None:
    table = made(root, "norm=gn,gn_ws", "batch=2")
    (row,) = table.numbers.to_dict("records")
    interval = scipy_stats.ttest_rel(GN, GN_WS).confidence_interval(0.95)
    assert (row["difference"], row["n"]) == (3.0, 3)
    assert (row["low"], row["high"]) == pytest.approx(tuple(interval))
    assert (row["left n"], row["right n"]) == (4, 3)  # seed 3 of GN has no partner
    assert list(table.text.loc["batch=2"]) == [
        "20.00 ± 20.02 (4)", "7.00 ± 1.00 (3)", "+3.00 [+0.52, +5.48]", "3", "norm=gn_ws lower",
    ]  # fmt: skip
    assert table.remarks == []
    assert table.missing == []


def test_turned_around_the_difference_has_the_other_sign(root: Path) -> None:
    one, other = (made(root, f"norm={norms}", "batch=2").numbers.iloc[0] for norms in ("gn,gn_ws", "gn_ws,gn"))
    assert (one["difference"], one["low"], one["high"]) == (-other["difference"], -other["high"], -other["low"])


def test_two_seeds_have_no_interval_and_one_line_says_why(root: Path) -> None:
    table = made(root, "norm=gn,gn_ws", "batch=2", "seed=0,1")
    (row,) = table.numbers.to_dict("records")
    assert (row["difference"], row["n"], row["low"], row["high"]) == (2.5, 2, None, None)
    assert (table.text.iloc[0]["difference"], table.text.iloc[0]["error"]) == ("+2.50", "undecided")
    assert table.remarks == ["warning: batch=2: 2 seeds in common, and fewer than 3 decide nothing", NO_INTERVAL]
    (command,) = table.fill["batch=2"]
    assert command.endswith("batch=2 norm=gn,gn_ws seed=0,1,2")
    # the 9 sd of that line: 12.706 / sqrt(2)
    assert scipy_stats.t.ppf(0.975, 1) / math.sqrt(2) == pytest.approx(9, abs=0.02)


def test_a_batch_that_is_not_typed_is_a_row_for_each_and_what_is_batch_free_one_row(root: Path) -> None:
    assert list(made(root, "norm=bn,gn").text.index) == ["batch=32", "batch=2"]
    assert list(made(root, "norm=gn,gn_ws").text.index) == ["batch=any"]
    assert list(made(root, "batch=32,2").text.index) == ["norm=bn", "norm=gn", "norm=gn_ws"]
    (row,) = made(root, "batch=32,2", "norm=bn").numbers.to_dict("records")
    assert (row["left"], row["right"], row["difference"], row["low"]) == ("batch=32", "batch=2", -3.75, -3.75)


def test_an_option_a_learning_rate_and_other_statistics_are_compared(make_run: Any, tmp_path: Path) -> None:
    for seed in range(3):
        for groups in (8, 4):
            label = f"gn-groups{groups}"
            make_run(tmp_path, label, seed=seed, error=groups + seed, batch_free=True, norm__groups=groups)
        make_run(tmp_path, "bn", 2, seed, error=7.0 + seed)
        make_run(tmp_path, "bn", 2, seed, error=9.0 + 2 * seed, recipe__lr=0.4)
        make_run(tmp_path, "bn", 2, seed, error=5.0 + seed, eval_stats="precise")
    for typed, expected in {
        "norm=gn norm.groups=8,4": 4.0, "norm=gn-groups8,gn-groups4": 4.0,
        "norm=bn recipe.lr=0.1,0.4": -3.0, "norm=bn eval_stats=worker0,precise": 2.0,
    }.items():  # fmt: skip
        (row,) = made(tmp_path, *typed.split(), "batch=2").numbers.to_dict("records")
        assert (row["difference"], row["n"]) == (expected, 3), typed


def test_a_side_that_diverged_has_no_mean_and_loses_where_it_lost_every_pair(make_run: Any, tmp_path: Path) -> None:
    for seed in range(3):
        make_run(tmp_path, "bn", 2, seed, error=7.0)
        make_run(tmp_path, "brn", 2, seed, error=None, state="diverged")
    found = made(tmp_path, "norm=bn,brn", "batch=2").text.iloc[0]
    assert (found["norm=brn"], found["difference"], found["error"]) == (
        "3 diverged", "right diverged on 3 of 3", "norm=bn lower",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("batch=2", "compare takes two settings, and no key has two values; give one key two values"),
        ("norm=bn,gn,gn_ws batch=2", "compare takes two settings, and norm=bn,gn,gn_ws makes 3"),
        ("norm=bn,gn batch=32,2", "compare takes two settings, and norm=bn,gn batch=32,2 makes 4"),
        ("norm=bn,gnn", r"norm=gnn: no such run \(did you mean gn\?\); there is norm=bn,gn,gn_ws"),
        ("nrom=bn,gn", r"nrom: no run has that field \(did you mean norm\?\)"),
        ("norm=bn norm=gn", "norm stands there twice"),
        ("data=digits,cifar10 norm=bn", "both settings have one data, for seeds pair no others"),
        ("norm=bn,gn batch=2 recipe.lr=7", "no finished run of either setting"),
    ],
)
def test_anything_but_two_settings_at_hand_is_one_line(root: Path, typed: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as found:
        made(root, *typed.split())
    assert "\n" not in str(found.value)


def test_unlike_runs_are_left_out_and_named_or_refused(make_run: Any, root: Path) -> None:
    make_run(root, "bn", 2, seed=7, recipe__epochs=1)
    said = "left out: 1 run that differs from these in recipe.epochs; choose with recipe.epochs=1 (1)"
    assert made(root, "norm=bn,gn", "batch=2").remarks == [said]
    with pytest.raises(ConfigError, match=r"differ in recipe\.epochs"):
        made(root, "norm=bn,gn", "batch=2", strict=True)


def test_what_both_settings_have_chooses_what_else_they_share(root: Path, make_run: Any) -> None:
    """A filter of the remark on runs left out leads to these runs, though they differ in more fields."""
    watched = {"probe__layer": "last", "probe__every": 25}
    for seed in range(3):
        for norm, error in (("gn", 9.0), ("gn_ws", 7.0)):
            make_run(root, norm, seed=seed, error=error + seed, batch_free=True, **watched)
    assert "probe.every=25 (6)" in " ".join(made(root, "norm=gn,gn_ws", "batch=2").remarks)
    (row,) = made(root, "norm=gn,gn_ws", "batch=2", "probe.every=25").numbers.to_dict("records")
    assert (row["left mean"], row["right mean"], row["difference"], row["n"]) == (10.0, 8.0, 2.0, 3)


def test_the_command_writes_and_prints_it_and_takes_no_other_table_beside(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--runs", str(root), "--out", str(tmp_path / "out")]
    tables.main(["compare", "norm=gn,gn_ws", "batch=2", *where])
    assert "+3.00 [+0.52, +5.48]" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["compare.csv", "compare.md", "compare.tex"]
    with pytest.raises(ConfigError, match="compare is asked for alone"):
        tables.main(["compare", "summary", "norm=gn,gn_ws", *where])


def test_the_choice_of_two_in_the_report_has_every_pair_that_shares_a_seed(root: Path) -> None:
    (choice,) = pairs.choices(collected.runs(root)[0])
    assert choice.settings == [
        ("BN at 32", "9.00 ± 1.00 (3)"), ("BN at 2", "12.75 ± 1.00 (3)"),
        ("GN, any batch", "20.00 ± 20.02 (4)"), ("GN + WS, any batch", "7.00 ± 1.00 (3)"),
    ]  # fmt: skip
    found = dict(zip(((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)), choice.pairs.split(";"), strict=True))
    assert found[2, 3] == "2,3,3.00,0.52,5.48,3,0,0"
    assert found[0, 1] == "0,1,-3.75,-3.75,-3.75,3,0,0"
