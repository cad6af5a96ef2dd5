"""Claims about the papers' numbers: they are data, complete, plausible, and nowhere else."""

import ast
from pathlib import Path

import pytest

from normbench.study.claims import claim
from normbench.study.read import published

PACKAGE = Path(published.__file__).parents[2]

UNITS = {"top1_error_pct", "top5_error_pct", "train_error_pct", "top1_accuracy_pct", "top5_accuracy_pct"}
UNITS |= {"box_ap", "box_ap50", "box_ap75", "mask_ap", "mask_ap50", "mask_ap75"}
STATISTICS = {"median_last5", "mean5", "final", "best", "unknown"}
READ = {"printed", "digitised", "recalled"}


def test_every_row_is_filled_with_known_words() -> None:
    table = published.load()
    for column in ("paper", "item", "norm", "model", "dataset", "source"):
        assert (table[column].str.strip() != "").all(), column
        assert (table[column] == table[column].str.strip()).all(), column
    assert set(table["unit"]) <= UNITS
    assert set(table["statistic"]) <= STATISTICS
    assert set(table["read"]) <= READ
    assert set(table["protocol"]) <= {"per_worker", "fixed_sgd", ""}
    assert {*table["paper"], *(claim.paper for claim in claim.load())} == set(published.CITATIONS)


def test_values_are_percentages_that_a_trained_network_has() -> None:
    table = published.load()
    assert table["value"].between(0, 100).all()
    errors = table[(table["unit"] == "top1_error_pct") & (table["dataset"] == "imagenet")]
    finals = errors[~errors["item"].str.contains("epoch|domain shift")]
    assert finals["value"].between(20, 36).all()
    accuracies = table[(table["unit"] == "top1_accuracy_pct") & (table["dataset"] == "imagenet")]
    assert accuracies["value"].between(55, 85).all()
    assert table.loc[table["unit"].str.contains("ap"), "value"].between(25, 70).all()


def test_batches_are_powers_of_two_and_fixed_sgd_is_fixed() -> None:
    table = published.load()
    assert all(b & (b - 1) == 0 for b in table["batch"].dropna())
    fixed = table[table["protocol"] == "fixed_sgd"]
    sgd = (fixed["batch"] * fixed["workers"]).groupby(fixed["paper"]).unique()
    assert {paper: list(sizes) for paper, sizes in sgd.items()} == {
        "batch_renorm_2017": [1600],
        "mabn_2020": [256],
        "ws_2019": [256],
        "wu_johnson_2021": [1024],
    }


def test_no_number_stands_twice() -> None:
    keys = ["paper", "item", "norm", "model", "dataset", "batch", "workers", "protocol", "unit", "statistic"]
    table = published.load()
    assert table[table.duplicated(keys, keep=False)].empty


def test_figure_1_of_the_gn_paper_is_what_its_table_2_prints() -> None:
    curve = published.curve("group_norm_2018", "Table 2", "imagenet", "resnet50")
    found = {norm: list(rows["value"]) for norm, rows in curve.groupby("norm")}
    assert found == {"bn": [23.6, 23.7, 24.8, 27.3, 34.7], "gn": [24.1, 24.2, 24.0, 24.2, 24.1]}
    assert list(curve["batch"]) == [32, 16, 8, 4, 2] * 2
    assert set(curve["statistic"]) == {"median_last5"}
    assert published.curve("group_norm_2018", "Table 2", "digits", "resnet50").empty


def test_the_gn_papers_differences_are_those_it_prints() -> None:
    table = published.load()
    first = table[(table["paper"] == "group_norm_2018") & (table["item"] == "Table 1")].set_index("norm")["value"]
    assert [round(first[norm] - first["bn"], 1) for norm in ("ln", "in", "gn")] == [1.7, 4.8, 0.5]
    deep = table[(table["model"] == "resnet101") & (table["paper"] == "group_norm_2018")]
    at_2 = deep[deep["batch"] == 2].set_index("norm")["value"]
    assert round(at_2["bn"] - at_2["gn"], 1) == 8.9


def test_switchable_norms_bn_and_gn_are_the_gn_papers() -> None:
    theirs = published.curve("switchable_norm_2019", "batch-size table", "imagenet", "resnet50")
    theirs = theirs[(theirs["workers"] == 8) & theirs["norm"].isin(["bn", "gn"]) & (theirs["batch"] >= 2)]
    gn_paper = published.curve("group_norm_2018", "Table 2", "imagenet", "resnet50")
    assert [round(100 - value, 1) for value in theirs["value"]] == list(gn_paper["value"])


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_published_number_stands_in_code(path: Path) -> None:
    numbers = {value for value in published.load()["value"] if value != int(value)}
    written = {n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)}
    assert not {value for value in written if isinstance(value, float) and value in numbers}
