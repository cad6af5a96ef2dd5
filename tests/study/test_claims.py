"""Claims about the table of claims: whose runs a side takes, what it says of them, and what trains the rest."""

import csv
import html
import io
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filling import finished

from normbench import paths, records, tables
from normbench.compose import runs_of
from normbench.config import ConfigError
from normbench.study.claims import claim as claims
from normbench.study.claims import commands, common
from normbench.study.claims.cells import Shelf
from normbench.study.read import collected, published
from normbench.study.tables.by_name import TABLES

BY_NAME = {claim.claim: claim for claim in claims.load()}


def shelf(root: Path) -> Shelf:
    runs, _ = collected.runs(root)
    return Shelf(runs, common.choose(runs, [cell for claim in claims.load() for cell in claim.cells])[0])


def errors(root: Path, text: str) -> dict[int, float]:
    return dict(shelf(root).find(claims.cell(text)).errors)


def row(root: Path, name: str, **options: Any) -> dict[str, Any]:
    table = TABLES["claims"](collected.runs(root)[0], **options)
    return next(row for row in table.numbers.to_dict("records") if row["claim"] == name)


# ---------------------------------------------------------------------------- whose runs


def test_a_side_takes_runs_that_differ_in_the_seed_alone(make_run: Callable[..., Path], tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        make_run(tmp_path, batch=2, seed=seed, error=9.0 + seed)
        make_run(tmp_path, batch=2, seed=seed, error=6.0 + seed, recipe__freeze_from=0.8)
        make_run(tmp_path, batch=2, seed=seed, error=20.0, data__labels_per_batch=2)
    make_run(tmp_path, batch=2, seed=3, error=1.0, recipe__lr=0.4)
    make_run(tmp_path, batch=2, seed=4, error=1.0, state="cut")
    make_run(tmp_path, norm="bn-momentum0.5", batch=2, seed=5, error=1.0)
    assert errors(tmp_path, "norm=bn batch=2") == {0: 9.0, 1: 10.0, 2: 11.0}
    assert errors(tmp_path, "norm=bn batch=2 recipe.freeze_from=0.8") == {0: 6.0, 1: 7.0, 2: 8.0}
    assert errors(tmp_path, "norm=bn batch=2 data.labels_per_batch=2") == {0: 20.0, 1: 20.0, 2: 20.0}
    assert errors(tmp_path, "norm=bn batch=4") == {}
    found = row(tmp_path, "frozen_below_bn_at_2")
    assert (found["ours"], found["n"], found["verdict"], found["published"]) == (-3.0, 3, "agrees", -7.3)


def test_a_run_at_another_learning_rate_is_left_out_and_named_or_refused(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    for seed in (0, 1):
        make_run(tmp_path, batch=2, seed=seed)
    make_run(tmp_path, batch=2, seed=2, recipe__lr=0.4)
    runs, _ = collected.runs(tmp_path)
    assert "left out: 1 run that differs from these in recipe.lr; choose with recipe.lr=0.4 (1)" in (
        TABLES["claims"](runs).remarks
    )
    with pytest.raises(ConfigError, match=r"they differ in recipe\.lr"):
        TABLES["claims"](runs, strict=True)


def test_a_run_of_other_defaults_under_the_same_label_is_left_out_and_named(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    for seed in (0, 1):
        make_run(tmp_path, batch=2, seed=seed, error=9.0, norm__momentum=0.1)
    make_run(tmp_path, batch=2, seed=2, error=1.0, norm__momentum=0.2)
    assert errors(tmp_path, "norm=bn batch=2") == {0: 9.0, 1: 9.0}
    remark = "left out: 1 run that differs from these in norm.momentum; choose with norm.momentum=0.2 (1)"
    assert remark in TABLES["claims"](collected.runs(tmp_path)[0]).remarks


def test_a_batch_free_run_serves_every_batch_and_under_per_worker_none_is(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    make_run(tmp_path, norm="gn", error=5.0, batch_free=True)
    make_run(tmp_path, seed=0)
    per_worker = {"protocol__name": "per_worker", "workers": 8}
    for batch, error in ((32, 6.0), (2, 7.0)):
        make_run(tmp_path, norm="gn", batch=batch, error=error, sgd_batch=8 * batch, **per_worker)
    assert errors(tmp_path, "norm=gn batch=32") == errors(tmp_path, "norm=gn batch=2") == {0: 5.0}
    assert errors(tmp_path, "norm=gn batch=32 protocol=per_worker workers=8") == {0: 6.0}
    assert errors(tmp_path, "norm=gn batch=2 protocol=per_worker workers=8") == {0: 7.0}
    assert errors(tmp_path, "norm=gn batch=2 protocol=per_worker workers=4") == {}
    # they are no strangers: claims ask for them
    assert not [remark for remark in TABLES["claims"](collected.runs(tmp_path)[0]).remarks if "left out" in remark]


def test_options_of_a_norm_are_other_runs_and_its_defaults_are_not(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    make_run(tmp_path, norm="cbn", batch=4, error=6.0, norm__window=4)
    make_run(tmp_path, norm="cbn-window16", batch=4, error=7.0, norm__window=16)
    assert errors(tmp_path, "norm=cbn batch=4") == errors(tmp_path, "norm=cbn norm.window=4 batch=4") == {0: 6.0}
    assert errors(tmp_path, "norm=cbn norm.window=16 batch=4") == {0: 7.0}


def evaluated(folder: Path, values: list[float], stats: str = "batch") -> None:
    """Gives a run's epochs a column of further statistics."""
    (folder / "epochs.jsonl").unlink()
    for epoch, value in enumerate(values, start=1):
        line = {"epoch": epoch, "images_seen": 8000 * epoch, "top1_error_pct": 50.0, f"top1_error_pct_{stats}": value}
        records.append_row(folder, line)


def test_other_statistics_are_read_from_runs_that_have_them_beside_their_own(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    for seed in (0, 1):
        both = make_run(tmp_path, batch=2, seed=seed, error=9.0 + seed, epochs=6, eval_also=["precise", "batch"])
        evaluated(both, [90.0, 6.1, 6.5, 6.2, 6.4, 6.3 + seed])  # the median of the last five
    make_run(tmp_path, batch=2, seed=2, error=7.0, eval_stats="batch")
    make_run(tmp_path, batch=2, seed=3, error=9.5, eval_also=["precise"])
    assert errors(tmp_path, "norm=bn batch=2 eval_stats=batch") == {0: 6.3, 1: 6.4, 2: 7.0}
    assert errors(tmp_path, "norm=bn batch=2 eval_stats=precise") == {}  # asked for, and no epoch has it
    assert errors(tmp_path, "norm=bn batch=2") == {0: 9.0, 1: 10.0, 3: 9.5}


def test_a_column_of_the_runs_is_taken_where_there_is_one(make_run: Callable[..., Path], tmp_path: Path) -> None:
    make_run(tmp_path, batch=2, error=9.0, eval_also=["batch"])
    runs = collected.runs(tmp_path)[0].assign(top1_error_pct_batch=6.25, path="gone")
    found = Shelf(runs, common.choose(runs, [])[0]).find(claims.cell("norm=bn batch=2 eval_stats=batch"))
    assert found.errors == {0: 6.25}


def test_one_training_evaluated_twice_is_one_seed_and_one_run_in_two_folders_is_refused(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    make_run(tmp_path, batch=2, error=9.0)
    make_run(tmp_path, batch=2, error=9.0, eval_also=["batch"])
    make_run(tmp_path, batch=2, seed=1, error=8.0, eval_also=["batch"])
    assert errors(tmp_path, "norm=bn batch=2") == {0: 9.0, 1: 8.0}
    make_run(tmp_path / "again", batch=2, error=9.0)
    with pytest.raises(ConfigError, match="are one run"):
        errors(tmp_path, "norm=bn batch=2")


def test_a_run_that_diverged_is_a_result_without_a_number(make_run: Callable[..., Path], tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        make_run(tmp_path, batch=1, seed=seed, error=None, state="diverged")
        make_run(tmp_path, norm="cbn", batch=1, seed=seed, error=6.0)
    made = TABLES["claims"](collected.runs(tmp_path)[0])
    found = made.text.loc["bn_above_cbn_at_1"]
    assert (found["ours"], found["n"], found["verdict"]) == ("left diverged on 3 of 3", "3", "agrees")


# ---------------------------------------------------------------------------- the table


def test_the_table_counts_its_verdicts_and_its_caption_defines_them(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    for seed, (at_32, at_2) in enumerate([(5.0, 7.0), (6.0, 9.0), (5.0, 9.0)]):
        make_run(tmp_path, seed=seed, error=at_32)
        make_run(tmp_path, batch=2, seed=seed, error=at_2)
    make_run(tmp_path, norm="gn", error=5.0, batch_free=True)
    made = TABLES["claims"](collected.runs(tmp_path)[0])
    assert list(made.text.loc["bn_2_above_32"])[1:] == [
        "agrees", "+11.1", "+3.00 [+0.52, +5.48]", "3", "bn at 2 − bn at 32", "Wu & He 2018, Table 2",
    ]  # fmt: skip
    assert list(made.text.loc["gn_below_bn_at_2"])[1:5] == ["undecided", "-10.6", "-2.00", "1"]
    assert made.text.loc["cbn_below_bn_at_2"]["published"] == "< 0 †"
    assert made.text.loc["mabn_2_as_bn_32"]["published"] == "+0.26 ± 1"
    assert (
        made.remarks[0] == f"{len(made.text)} claims: 1 agrees, 0 disagrees, 2 undecided, {len(made.text) - 3} not run"
    )
    for word in ("agrees:", "disagrees:", "undecided:", "not run:", "95 % t-interval", "diverged", "recalled"):
        assert word in made.caption
    assert not {"bn_2_above_32", "bn_2_above_32 (3 of 3 seeds)"} & set(made.missing)
    assert "gn_below_bn_at_2 (1 of 3 seeds)" in made.missing


def test_the_commands_of_what_is_not_run_stand_in_all_that_is_written(
    make_run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "runs", batch=2)
    tables.main(["claims", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
    made = TABLES["claims"](collected.runs(tmp_path / "runs")[0])
    (line,) = made.fill["mabn_below_bn_at_2"]
    assert line.endswith("norm=mabn,bn batch=2 seed=0,1,2")
    assert f"- mabn_below_bn_at_2: `{line}`\n" in (tmp_path / "out" / "claims.md").read_text()
    with open(tmp_path / "out" / "claims.csv", encoding="utf-8", newline="") as f:
        written = {row["claim"]: row for row in csv.DictReader(f)}
    assert (written["mabn_below_bn_at_2"]["fill"], written["mabn_below_bn_at_2"]["verdict"]) == (line, "not run")
    printed = capsys.readouterr().out  # in a terminal one command for all, and no row without a verdict
    assert printed.count("\nfill it: normbench -m experiment=claims ") == printed.count("fill it: ") == 1
    assert line not in printed
    assert "MABN is better than BN at 2" not in printed
    assert r"\begin{table*}" in (tmp_path / "out" / "claims.tex").read_text()


def test_without_runs_there_is_one_line_that_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"make them with normbench -m experiment=claims$"):
        TABLES["claims"](collected.no_runs())


# ---------------------------------------------------------------------------- what trains the rest


SETTINGS = [
    ["data=digits"],
    ["data=digits", "recipe.lr=0.2", "recipe.schedule=cosine", "recipe.zero_last_gamma=false", "recipe.fc_std=null",
     "data.train_size=512", "model.options.width=8", "precision=bf16"],
    ["data=digits", "model=resnet18", "recipe=cifar", "protocol=fixed_sgd", "sgd_batch=128", "recipe.milestones=[0.25,0.5]"],
    ["data=cifar10", "data.augment=none", "eval_stats=precise"],
    ["data=imagenet", "model=torchvision", "model.name=regnet_y_400mf"],
    ["data=imagenet", "workers=4"],
]  # fmt: skip
TRICKY = ("gn_flat_per_worker", "most_of_bn_2_is_evaluation", "syncbn_2_as_bn_of_sgd_batch", "frozen_below_bn_at_2",
          "cbn_worse_with_long_window", "micro_bcn_below_gn_at_2", "few_labels_break_bn")  # fmt: skip


@pytest.mark.parametrize("setting", SETTINGS, ids=" ".join)
def test_what_is_lacking_is_found_once_its_command_has_run(setting: list[str], tmp_path: Path) -> None:
    finished(tmp_path, [*setting, "norm=brn", "batch=16", "seed=7"])
    here = shelf(tmp_path)
    also = commands.statistics(claims.load(), here.common)
    lines = set()
    for name in TRICKY:
        cells, seeds = commands.lacking(BY_NAME[name], [here.find(cell).errors for cell in BY_NAME[name].cells])
        assert (cells, seeds) == (list(BY_NAME[name].cells), [0, 1, 2])
        lines |= set(commands.commands(cells, seeds, here.common, also))
    for line in sorted(lines):
        words = shlex.split(line)
        assert words[:2] == ["normbench", "-m"]
        finished(tmp_path, words[2:])
    trained = shelf(tmp_path)
    # a field that no run has on is no column yet
    on = {key: value for key, value in trained.common.fields.items() if value != "null" or key in here.common.fields}
    assert on == here.common.fields
    for name in TRICKY:
        for cell in BY_NAME[name].cells:
            assert sorted(trained.find(cell).errors) == [0, 1, 2], (name, str(cell), lines)


def test_a_command_names_the_seeds_that_the_other_side_has() -> None:
    claim = BY_NAME["gn_below_bn_at_2"]
    assert commands.lacking(claim, [{}, {100: 1.0, 101: 1.0, 102: 1.0}]) == ([claim.left[0]], [100, 101, 102])
    assert commands.lacking(claim, [{0: 1.0, 5: 1.0}, {0: 1.0}]) == (list(claim.cells), [0, 1, 5])


# ---------------------------------------------------------------------------- the file


def written(monkeypatch: pytest.MonkeyPatch, folder: Path, **changed: str) -> tuple[claims.Claim, ...]:
    line = dict.fromkeys(claims.COLUMNS, "x")
    line |= {"left": "norm=gn batch=2", "right": "norm=bn batch=2", "relation": "<", "margin": "", "published": "-1"}
    text = io.StringIO()
    writer = csv.DictWriter(text, claims.COLUMNS)
    writer.writeheader()
    writer.writerow({**line, "unit": "top1_error_pct", "read": "printed", **changed})
    (folder / "claims.csv").write_text(text.getvalue() + changed.get("more", ""))
    monkeypatch.setattr(paths, "published", lambda: folder)
    claims.load.cache_clear()
    try:
        return claims.load()
    finally:
        claims.load.cache_clear()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"relation": "<="}, r"relation is one of <, >, =, got '<='"),
        ({"read": "seen"}, "read is one of printed, digitised, recalled"),
        ({"unit": "top1_accuracy_pct"}, "unit is one of top1_error_pct"),
        ({"relation": "="}, "a margin above 0 goes with the relation = and with no other"),
        ({"margin": "1"}, "a margin above 0 goes with the relation ="),
        ({"published": "much"}, "published is a number or empty, got 'much'"),
        ({"left": "norm=gn"}, "a side is typed as a run, norm=NAME batch=N"),
        ({"left": "norm=gn batch=2 batch=4"}, "and no key twice"),
        ({"right": "norm=bn batch=2 recipe=cifar"}, "recipe is of all runs alike"),
    ],
)
def test_a_line_that_is_no_claim_is_refused(
    changed: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(written(monkeypatch, tmp_path)) == 1
    with pytest.raises(ConfigError, match=f"claims.csv, line 2: .*{said}"):
        written(monkeypatch, tmp_path, **changed)


def test_the_claims_are_no_published_numbers_and_their_papers_are_cited() -> None:
    assert set(published.load().columns) == set(published.COLUMNS)
    assert {claim.paper for claim in claims.load()} <= set(published.CITATIONS)
    assert len(BY_NAME) == len(claims.load())
    for claim in claims.load():
        assert not claim.says.endswith(".")
        assert all((claim.item, claim.source, claim.says, claim.claim.isidentifier()))
        assert claim.read != "recalled" or "from memory" in claim.note or "not at hand" in claim.note


def test_each_cell_composes_on_the_digits_and_is_labelled_as_its_run_is() -> None:
    for cell in {cell for claim in claims.load() for cell in claim.cells}:
        (run,) = runs_of(["data=digits", *str(cell).split()], files=False)
        assert run.norm.label == cell.label, cell
        assert str(run.batch) == cell.batch


NUMBERS = [  # of the claims whose two numbers a paper prints side by side: item, left and right as (norm, batch)
    ("bn_8_above_32", "Table 2", ("bn", 8), ("bn", 32)),
    ("bn_4_above_32", "Table 2", ("bn", 4), ("bn", 32)),
    ("bn_2_above_32", "Table 2", ("bn", 2), ("bn", 32)),
    ("gn_below_bn_at_2", "Table 2", ("gn", 2), ("bn", 2)),
    ("gn_below_bn_at_4", "Table 2", ("gn", 4), ("bn", 4)),
    ("gn_above_bn_at_32", "Table 2", ("gn", 32), ("bn", 32)),
    ("gn_flat_per_worker", "Table 2", ("gn", 2), ("gn", 32)),
    ("bn_2_above_32_per_worker", "Table 2", ("bn", 2), ("bn", 32)),
    ("gn_below_bn_at_2_per_worker", "Table 2", ("gn", 2), ("bn", 2)),
    ("ln_above_gn_at_32", "Table 1", ("ln", 32), ("gn", 32)),
    ("in_above_gn_at_32", "Table 1", ("in", 32), ("gn", 32)),
    ("ln_above_bn_at_32", "Table 1", ("ln", 32), ("bn", 32)),
    ("in_above_bn_at_32", "Table 1", ("in", 32), ("bn", 32)),
    ("one_group_worse", "Table 3, groups", ("gn-groups1", 32), ("gn-groups32", 32)),
    ("most_groups_worse", "Table 3, groups", ("gn-groups64", 32), ("gn-groups32", 32)),
    ("one_channel_a_group_worse", "Table 3, channels per group", ("gn-channels_per_group1", 32),
     ("gn-channels_per_group8", 32)),
    ("brn_above_gn_at_4", "Batch Renorm comparison", ("brn", 4), ("gn", 4)),
    ("brn_below_bn_at_4", "Figure 2", ("brn", 4), ("bn", 4)),
    ("brn_as_bn_at_32", "Figure 1", ("brn", 32), ("bn", 32)),
    ("brn_below_bn_with_few_labels", "Figure 3, non-i.i.d.", ("brn", 32), ("bn", 32)),
    ("mabn_2_as_bn_32", "ImageNet table", ("mabn", 2), ("bn", 32)),
    ("mabn_1_as_bn_32", "error against batch size", ("mabn", 1), ("bn", 32)),
    ("mabn_below_bn_at_2", "ImageNet table", ("mabn", 2), ("bn", 2)),
    ("mabn_below_brn_at_2", "ImageNet table", ("mabn", 2), ("brn", 2)),
    ("brn_below_bn_at_2", "ImageNet table", ("brn", 2), ("bn", 2)),
    ("cbn_below_bn_at_4", "Figure 1", ("cbn", 4), ("bn", 4)),
    ("cbn_4_as_bn_32", "Figure 1", ("cbn", 4), ("bn", 32)),
    ("cbn_as_bn_at_32", "feature normalization table", ("cbn", 32), ("bn", 32)),
    ("ws_helps_gn", "Table 1", ("gn-ws", 1), ("gn", 1)),
    ("ws_helps_ln", "Table 1", ("ln-ws", 1), ("ln", 1)),
    ("ws_helps_in", "Table 1", ("in-ws", 1), ("in", 1)),
    ("ws_helps_bn", "Table 1", ("bn-ws", 64), ("bn", 64)),
    ("gn_ws_below_bn_at_32", "Table 1", ("gn-ws", 1), ("bn", 64)),
    ("frn_below_bn_at_32", "large batch", ("frn", None), ("bn", None)),
    ("frn_above_bn_at_32", "cosine learning rate", ("frn", 32), ("bn", 32)),
    ("frn_below_bn_at_4", "Table 3", ("frn", 4), ("bn", 4)),
    ("evonorm_s0_below_bn_at_32", "Table 3", ("evonorm_s0", 32), ("bn", 32)),
    ("evonorm_s0_below_gn_at_32", "Table 3", ("evonorm_s0", 32), ("gn", 32)),
    ("evonorm_s0_below_bn_at_4", "Table 3", ("evonorm_s0", 4), ("bn", 4)),
    ("evonorm_b0_below_bn_at_32", "Table 2", ("evonorm_b0", None), ("bn", None)),
    ("sn_below_bn_at_32", "batch-size table", ("sn", 32), ("bn", 32)),
    ("sn_below_gn_at_32", "batch-size table", ("sn", 32), ("gn", 32)),
    ("sn_below_bn_at_2", "batch-size table", ("sn", 2), ("bn", 2)),
    ("sn_above_gn_at_2", "batch-size table", ("sn", 2), ("gn", 2)),
    ("bgn_below_bn_at_2", "abstract", ("bgn", 2), ("bn", 2)),
    ("batch_statistics_below_moving_at_2", "mini-batch statistics", ("bn", 2), ("population statistics", 2)),
    ("batch_statistics_above_moving_at_32", "mini-batch statistics", ("bn", 32), ("population statistics", 32)),
    ("frozen_below_bn_at_2", "FrozenBN in the last 20 epochs", ("bn", 2), ("population statistics", 2)),
    ("frozen_above_bn_at_32", "FrozenBN in the last 20 epochs", ("bn", 32), ("population statistics", 32)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "item", "left", "right"), NUMBERS, ids=[numbers[0] for numbers in NUMBERS])
def test_a_published_effect_is_the_difference_of_the_papers_numbers(
    name: str, item: str, left: tuple[str, int | None], right: tuple[str, int | None]
) -> None:
    claim = BY_NAME[name]
    numbers = published.as_errors(published.load())
    numbers = numbers[(numbers["paper"] == claim.paper) & (numbers["unit"] == "top1_error_pct")]
    numbers = numbers[~numbers["model"].isin(["resnet101", "mobilenet_v2"]) & numbers["workers"].ne(1).fillna(True)]

    def value(norm: str, batch: int | None) -> float:
        of = item if not norm.endswith("statistics") else norm
        found = numbers[(numbers["item"] == of) & (numbers["norm"] == ("bn" if of == norm else norm))]
        found = found[found["batch"].isna() if batch is None else found["batch"].eq(batch).fillna(False)]
        return float(found["value"].iloc[0])

    assert item == claim.item
    assert claim.published == pytest.approx(value(*left) - value(*right), abs=1e-6)


def test_every_cell_is_in_the_experiment_and_the_experiment_has_no_other() -> None:
    from itertools import product

    from omegaconf import OmegaConf

    loaded: Any = OmegaConf.to_container(OmegaConf.load(paths.conf() / "experiment" / "claims.yaml"))
    sweeper = loaded["hydra"]["sweeper"]
    assert sweeper["params"] == {"seed": "0,1,2"}
    trained = set()
    for grid in sweeper["grids"]:
        texts = [str(value).lower() if isinstance(value, bool) else str(value) for value in grid.values()]
        values = [[text] if text.startswith("[") else text.split(",") for text in texts]
        trained |= {frozenset(zip(grid, one, strict=True)) for one in product(*values)}
    also = ("eval_also", "[precise,batch]")
    cells = {cell for claim in claims.load() for cell in claim.cells}
    for cell in cells:
        asked = frozenset(cell.trained.items())
        assert asked | {also} in trained or (not cell.eval_stats and asked in trained), cell
    assert {runs - {also} for runs in trained} == {frozenset(cell.trained.items()) for cell in cells}
    assert len(trained) == len({runs - {also} for runs in trained})


def test_a_table_of_claims_is_a_section_of_the_report_with_verdicts_in_words(
    make_run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from normbench import report
    from normbench.study.report import items

    monkeypatch.setattr(items, "FIGURES", {})
    monkeypatch.setattr(items, "TABLES", {"claims": TABLES["claims"]})
    for seed in (0, 1, 2):
        make_run(tmp_path / "runs", seed=seed, error=5.0 + 0.1 * seed)
        make_run(tmp_path / "runs", batch=2, seed=seed, error=8.0)
    report.main(["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "report.html")])
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    section = text[text.index('<h2 id="claims">') : text.index('<h2 id="figures">')]
    assert '<span class="verdict agrees">agrees</span>' in section
    assert '<span class="verdict not-run">not run</span>' in section
    line = TABLES["claims"](collected.runs(tmp_path / "runs")[0]).fill["ws_helps_gn"][0]
    assert f"<dt>ws_helps_gn</dt><dd><code>{line}</code></dd>" in html.unescape(section)
