"""Claims about tables: ours beside the published, a difference only between like numbers, three files of one content."""

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from normbench import tables
from normbench.config import ConfigError, Recipe
from normbench.study.read import collected
from normbench.study.tables import table
from normbench.study.tables.by_name import TABLES

PAPER = {
    "data__name": "imagenet",
    "data__num_classes": 1000,
    "data__image_size": 224,
    "model__name": "resnet50",
    "model__options": {},
    "recipe": asdict(Recipe(name="gn2018")),
    "protocol__name": "per_worker",
    "workers": 8,
    "sgd_batch": 256,
}


def rows(made: table.Table) -> dict[str, dict[str, Any]]:
    return {str(row[made.numbers.columns[0]]): row for row in made.numbers.to_dict("records")}


def test_ours_stand_beside_the_papers_with_the_difference(make_run: Any, tmp_path: Path) -> None:
    for seed, error in enumerate((23.7, 23.9)):
        make_run(tmp_path, seed=seed, error=error, **PAPER)
    made = TABLES["gn_table1"](collected.runs(tmp_path)[0])
    bn, gn = rows(made)["BN"], rows(made)["GN"]
    assert (round(bn["ours"], 2), bn["n"], bn["published"], round(bn["difference"], 2)) == (23.8, 2, 23.6, 0.2)
    assert (gn["n"], gn["published"], round(gn["published - BN"], 1)) == (0, 24.1, 0.5)
    assert list(made.text.loc["BN"])[:3] == ["23.80 ± 0.14 (2)", "23.60", "+0.20"]
    assert made.text.loc["GN"]["ours"] == "missing"
    assert made.missing == ["ln at 32", "in at 32", "gn at 32"]


def test_no_difference_is_taken_to_another_network_or_to_a_recalled_number(make_run: Any, tmp_path: Path) -> None:
    make_run(tmp_path / "digits")
    made = TABLES["gn_table1"](collected.runs(tmp_path / "digits")[0])
    assert made.numbers["difference"].isna().all()
    assert "so no difference is taken" in made.caption
    make_run(tmp_path / "r18", error=30.0, **{**PAPER, "model__name": "resnet18"})
    recalled = TABLES["cbn_table"](collected.runs(tmp_path / "r18")[0])
    assert recalled.numbers["difference"].isna().all()
    assert recalled.text.loc["BN"]["published"].endswith("†")


def test_table_2_has_the_paired_difference_of_each_size(make_run: Any, tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(tmp_path, batch=2, seed=seed, error=12.0 + seed)
        make_run(tmp_path, norm="gn", seed=seed, error=10.0 + seed, batch_free=True)
    made = TABLES["gn_table2"](collected.runs(tmp_path)[0])
    at_2 = rows(made)["2"]
    assert (at_2["GN - BN"], at_2["GN - BN low"], at_2["GN - BN high"]) == (-2.0, -2.0, -2.0)
    assert round(at_2["published GN - BN"], 1) == -10.6
    assert "missing" not in str(made.numbers)


def test_table_3_without_runs_is_the_papers(tmp_path: Path) -> None:
    made = TABLES["gn_table3"](collected.no_runs())
    found = rows(made)
    assert (found["32 groups"]["published"], found["32 groups"]["published - best"]) == (24.1, 0.0)
    assert round(found["1 channel per group"]["published - best"], 1) == 4.2
    assert len(found) == 14


def test_table_3_shows_the_papers_groups_that_our_network_cannot_have_but_misses_none_of_them(
    make_run: Any, tmp_path: Path
) -> None:
    make_run(tmp_path, norm="gn-groups8", norm__groups=8, error=10.0, batch_free=True)
    made = TABLES["gn_table3"](collected.runs(tmp_path)[0])
    ours, theirs, *_ = made.text.columns
    assert (made.text.loc["32 groups", ours], made.text.loc["32 groups", theirs]) == ("", "24.10")
    assert (made.text.loc["16 groups", ours], made.text.loc["8 groups", ours]) == ("missing", "10.00 (1)")


def test_a_table_says_of_each_column_and_row_what_it_is_of(make_run: Any, tmp_path: Path) -> None:
    make_run(tmp_path)
    made = TABLES["gn_table2"](collected.runs(tmp_path)[0])
    assert list(made.text.columns)[:2] == ["BN ours, digits", "BN published, ImageNet"]
    assert not any("difference" in column for column in made.text)
    assert "ours: digits, cifar_resnet8, SGD batch of 64" in made.caption
    assert "published: Wu & He 2018, ImageNet, ResNet-50, 8 workers, so the SGD batch shrinks" in made.caption
    row = rows(made)["32"]
    assert (row["our data"], row["our model"]) == ("digits", "cifar_resnet8")
    assert (row["published data"], row["published model"]) == ("imagenet", "resnet50")


def test_a_wide_table_spans_both_columns_and_none_is_wider_than_its_line(make_run: Any, tmp_path: Path) -> None:
    make_run(tmp_path)
    runs = collected.runs(tmp_path)[0]
    assert r"\begin{table*}[t]" in TABLES["gn_table2"](runs).latex()
    narrow = table.Table(
        "t", pd.DataFrame({"norm": ["BN"], "1": ["7.5"]}).set_index("norm"), pd.DataFrame(), "c", "demo"
    )
    assert r"\begin{table}[t]" in narrow.latex()
    assert narrow.latex().count(r"\resizebox{\ifdim\width>\linewidth") == narrow.latex().count(r"\end{tabular}}") == 1


def test_the_summary_puts_the_most_robust_first_and_leaves_variants_out(make_run: Any, tmp_path: Path) -> None:
    for batch, error in ((32, 7.0), (2, 11.0)):
        make_run(tmp_path, batch=batch, error=error)
        make_run(tmp_path, norm="bn-momentum0.5", batch=batch, error=error)
    make_run(tmp_path, norm="gn", error=10.0, batch_free=True)
    make_run(tmp_path, norm="frn", error=9.0, batch_free=True)
    made = TABLES["summary"](collected.runs(tmp_path)[0])
    assert list(made.text.index) == ["FRN", "GN", "BN"]  # of equals the better
    assert made.text.loc["GN"]["robustness"] == "0.00"


def test_no_norm_of_a_high_error_stands_above_one_of_a_low_error_however_robust_it_is(
    make_run: Any, tmp_path: Path
) -> None:
    make_run(tmp_path, norm="in", error=53.0, batch_free=True)
    for batch, error in ((32, 6.0), (4, 8.0), (2, 8.5), (1, 9.0)):
        make_run(tmp_path, batch=batch, error=error)
    make_run(tmp_path, batch=1, seed=1, error=None, state="diverged")
    make_run(tmp_path, norm="mabn", batch=2, error=7.0)
    made = TABLES["summary"](collected.runs(tmp_path)[0])
    assert list(made.text.index) == ["MABN", "BN", "IN"]
    # of sizes 4, 2 and 1: (8 + 8.5 + (9 + 100) / 2) / 3; MABN has one of them, and says so
    assert [made.text.loc[norm]["small batches"] for norm in ("MABN", "BN", "IN")] == ["7.00 at 2", "23.67", "53.00"]
    assert made.text.loc["IN"]["robustness"] == "0.00"


def test_three_files_hold_one_table_and_two_writings_the_same_bytes(make_run: Any, tmp_path: Path) -> None:
    make_run(tmp_path / "runs")
    for out in ("one", "two"):
        tables.main(
            ["gn_table1", "summary", "data=digits", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / out)]
        )
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == [f"{name}.{kind}" for name in ("gn_table1", "summary") for kind in ("csv", "md", "tex")]
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)
    read = list(csv.DictReader((tmp_path / "one" / "gn_table1.csv").read_text(encoding="utf-8").splitlines()))
    assert (read[0]["norm"], float(read[0]["ours"])) == ("BN", 7.5)
    assert "| BN | 7.50 (1) | 23.60 |" in (tmp_path / "one" / "gn_table1.md").read_text(encoding="utf-8")
    latex = (tmp_path / "one" / "gn_table1.tex").read_text(encoding="utf-8")
    assert r"\toprule" in latex
    assert r"BN & 7.50 (1) & 23.60 &" in latex
    assert r"cifar\_resnet8" in latex


def test_latex_reads_its_own_characters_as_letters() -> None:
    assert table.tex("50% of a_b & c ± d") == r"50\% of a\_b \& c $\pm$ d"
    assert table.tex(r"\x{}") == r"\textbackslash{}x\{\}"


def test_an_unknown_table_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"gn_table: no such table \(did you mean gn_table"):
        tables.main(["gn_table"])
