"""Claims about hostile and mixed folders of runs: one trial stops no figure, and no text of a record does anything."""

import copy
import csv
import importlib.util
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from normbench import collect, figures, report, tables
from normbench.config import ConfigError
from normbench.study.figures.by_name import FIGURES
from normbench.study.read import collected, selection
from normbench.study.report import items
from normbench.study.tables.by_name import TABLES


def study_conftest() -> Any:
    """The maker of run folders of tests/study, and more of it."""
    path = Path(__file__).parents[1] / "study" / "conftest.py"
    found = importlib.util.spec_from_file_location("study_conftest", path)
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def make_run() -> Any:
    return study_conftest().write_run


def study(make_run: Any, root: Path, **changed: Any) -> Path:
    """BN, GN and more at every batch, alike but for what is changed."""
    for batch in (32, 16, 8, 4, 2):
        for norm in ("bn", "brn", "mabn", "cbn", "cbn_naive"):
            make_run(root, norm=norm, batch=batch, error=6.0 + 2 / batch, **changed)
    for norm in ("gn", "ln", "in", "frn", "evonorm_b0", "evonorm_s0"):
        make_run(root, norm=norm, error=12.0, batch_free=True, **changed)
    return root


# ---------------------------------------------------------------------------- one trial breaks no study


# What one trial of one cell may differ in. A trial at the batch of an existing one, too.
TRIALS: list[dict[str, Any]] = [
    {"recipe__lr": 0.3},
    {"recipe__epochs": 1},
    {"precision": "bf16"},
    {"data__train_size": 1000},
    {"data__test_size": 1000},
    {"sgd_batch": 128},
    {"protocol__name": "per_worker", "workers": 8, "sgd_batch": 256},
    {"data__name": "cifar10"},
    {"model__name": "cifar_resnet20", "recipe__milestones": [0.5, 0.75]},
    {"norm__eps": 1e-3},
]


def shown(name: str, runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The numbers of a figure or a table, and its remarks."""
    if name in FIGURES:
        drawing = FIGURES[name](runs)
        assert drawing.numbers is not None
        return drawing.numbers, drawing.remarks
    table = TABLES[name](runs)
    return table.text, table.remarks


@pytest.fixture(scope="module")
def whole(make_run: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str], dict[str, Any]]:
    """A study without a trial, the paths of its runs, and its numbers."""
    folder = study(make_run, tmp_path_factory.mktemp("whole"))
    runs = collected.runs(folder)[0]
    numbers = {name: shown(name, runs)[0] for name in ("gn_fig1", "demo", "gn_table2", "summary")}
    return folder, {str(Path(path).relative_to(folder)) for path in runs["path"]}, numbers


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: next(iter(trial)))
def test_one_trial_stops_no_figure_and_no_table_and_is_named_with_its_filter(
    make_run: Any, tmp_path: Path, whole: tuple[Path, set[str], dict[str, Any]], trial: dict[str, Any]
) -> None:
    folder, before, numbers = whole
    root = Path(shutil.copytree(folder, tmp_path / "runs"))
    make_run(root, norm="bn", batch=32, error=50.0, **trial)
    runs = collected.runs(root)[0]
    odd = runs[[str(Path(path).relative_to(root)) not in before for path in runs["path"]]]
    for name, were in numbers.items():
        made = shown(name, runs)
        assert made[0].equals(were), name
        found = [text for text in made[1] if "differ" in text]
        if name == "demo" and "data__name" in trial:
            assert not found  # it is of the digits alone
            continue
        (remark,) = found
        assert remark.startswith("left out: 1 run that differs from these in "), remark
        typed = remark.partition("; choose with ")[2].removesuffix(" (1)").split()
        chosen = selection.select(runs[runs["norm"] == "bn"], typed)  # of all norms that it could be of
        assert set(chosen["path"]) == set(odd["path"]), remark
    with pytest.raises(ConfigError, match="cannot share"):
        FIGURES["gn_fig1"](runs, strict=True)


def test_every_figure_and_table_of_a_study_with_a_trial_is_what_it_was(make_run: Any, tmp_path: Path) -> None:
    root = study(make_run, tmp_path)
    profile = tmp_path / "profile.csv"
    before = collected.runs(root)[0]
    make_run(root, norm="bn", batch=8, error=50.0, recipe__lr=0.3)
    make_run(root, norm="gn", error=50.0, batch_free=True, recipe__lr=0.3, precision="bf16")
    after = collected.runs(root)[0]
    for made in (lambda runs: items.figures(runs, profile), items.tables):
        was, is_now = made(before), made(after)
        is_now = [it for it in is_now[0] if it.name != "lr_fig"], is_now[1]  # of which two rates make a figure
        assert [it.name for it in is_now[0]] == [it.name for it in was[0]]
        assert [it.numbers for it in is_now[0]] == [it.numbers for it in was[0]]
        assert not any("cannot share" in it.reason for it in is_now[1])
    assert items.figures(after, profile, strict=True)[1] != items.figures(before, profile, strict=True)[1]


def test_the_largest_set_is_the_one_with_most_results(make_run: Any, tmp_path: Path) -> None:
    for batch in (32, 16, 8, 4, 2):
        make_run(tmp_path, batch=batch, recipe__lr=0.3, state="cut")
    for batch in (32, 2):
        make_run(tmp_path, batch=batch)
    kept, (remark,) = selection.largest_alike(collected.runs(tmp_path)[0])
    assert set(kept["recipe.lr"]) == {0.1}
    assert remark == "left out: 5 runs that differ from these in recipe.lr; choose with recipe.lr=0.3 (5)"


def test_a_mean_is_of_like_runs_though_a_field_is_free_in_the_figure(make_run: Any, tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(tmp_path, seed=seed)
    make_run(tmp_path, seed=2, norm__eps=1e-3)  # its yaml was another
    make_run(tmp_path, seed=2, sgd_batch=128)
    kept, (remark,) = selection.largest_alike(collected.runs(tmp_path)[0], free=("workers", "sgd_batch"))
    assert list(kept["seed"]) == [0, 1]
    assert "2 runs that differ from these in sgd_batch, norm.eps" in remark
    assert "sgd_batch=128 (1)" in remark
    assert "norm.eps=0.001 (1)" in remark


def test_many_settings_are_counted_and_the_largest_of_them_named(make_run: Any, tmp_path: Path) -> None:
    for batch in (32, 16, 8):
        make_run(tmp_path, batch=batch)
    for place in range(1, 9):
        make_run(tmp_path, recipe__lr=0.1 + place / 10)
    _, (remark,) = selection.largest_alike(collected.runs(tmp_path)[0])
    assert remark.startswith("left out: 8 runs that differ from these in recipe.lr; choose with recipe.lr=0.2 (1), ")
    assert remark.endswith(", or 4 more settings")


def test_what_fills_a_figure_is_of_the_runs_that_it_shows(
    make_run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path, data__name="cifar10")  # comes first
    for batch in (32, 2):
        make_run(tmp_path, batch=batch)
    for command, name in ((figures, "gn_fig1"), (tables, "gn_table2")):
        command.main([name, "--runs", str(tmp_path), "--out", str(tmp_path / "out")])
        printed = capsys.readouterr().out
        assert "fill it: normbench -m experiment=gn_fig1 data=digits model=cifar_resnet8" in printed
        assert "left out: 1 run that differs from these in data; choose with data=cifar10 (1)" in printed
        with pytest.raises(ConfigError, match="cannot share"):
            command.main([name, "--strict", "--runs", str(tmp_path), "--out", str(tmp_path / "out")])


def test_the_report_is_strict_where_asked(make_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "FIGURES", {"gn_fig1": items.FIGURES["gn_fig1"]})
    monkeypatch.setattr(items, "TABLES", {})
    for batch in (32, 2):
        make_run(tmp_path / "runs", batch=batch)
    make_run(tmp_path / "runs", recipe__lr=0.3)
    out = tmp_path / "report.html"
    report.main(["--runs", str(tmp_path / "runs"), "--out", str(out)])
    assert "choose with recipe.lr=0.3 (1)" in out.read_text()
    assert "cannot share" not in out.read_text()
    report.main(["--strict", "--runs", str(tmp_path / "runs"), "--out", str(out)])
    assert "cannot share" in out.read_text()


# ---------------------------------------------------------------------------- a paper's curve beneath ours


# Line 6 of the issue: one epoch of three classes at 64 pixels had ImageNet's curve on its axes.
NOT_THE_PAPERS: list[dict[str, Any]] = [
    {"data__num_classes": 3},
    {"data__image_size": 64},
    {"data__train_size": 1000},
    {"data__test_size": 1000},
    {"model__options": {"width": 16}},
    {"recipe__epochs": 1},
    {"recipe__schedule": "cosine"},
    {"recipe__lr": 0.2},
    {"recipe__label_smoothing": 0.1},
]


def paper_runs(make_run: Any, root: Path, **changed: Any) -> pd.DataFrame:
    """Runs of Wu & He's setting, but for what is changed."""
    paper = copy.deepcopy(study_conftest().PAPER)
    for batch in (32, 2):
        for norm in ("bn", "gn"):
            make_run(root, norm=norm, batch=batch, error=24.0, eval_also=["batch"], **{**paper, **changed})
    return collected.runs(root)[0]


def test_the_papers_own_setting_has_the_papers_curve_beneath(make_run: Any, tmp_path: Path) -> None:
    runs = paper_runs(make_run, tmp_path)
    for name in ("gn_fig1", "gn_fig4", "gn_fig5", "wj_fig"):
        assert not FIGURES[name](runs).figure.subfigs, name
    assert TABLES["gn_table1"](runs).numbers["difference"].notna().any()


@pytest.mark.parametrize("changed", NOT_THE_PAPERS, ids=lambda changed: next(iter(changed)))
def test_any_other_setting_has_it_beside_on_a_scale_of_its_own(
    make_run: Any, tmp_path: Path, changed: dict[str, Any]
) -> None:
    runs = paper_runs(make_run, tmp_path, **changed)
    key = next(iter(changed)).replace("__", ".")
    for name in ("gn_fig1", "gn_fig4", "wj_fig"):
        figure = FIGURES[name](runs).figure
        assert len(figure.subfigs) == 2, name
        assert f"Ours differ in {key}" in figure.get_supxlabel(), name
    made = TABLES["gn_table1"](runs)
    assert made.numbers["difference"].isna().all()
    assert "so no difference is taken" in made.caption


def test_three_classes_at_64_pixels_for_one_epoch_are_not_imagenet(make_run: Any, tmp_path: Path) -> None:
    small = {"data__num_classes": 3, "data__image_size": 64, "recipe__epochs": 1}
    figure = FIGURES["gn_fig1"](paper_runs(make_run, tmp_path, **small)).figure
    said = "Ours differ in data.num_classes=3, data.image_size=64, recipe.epochs=1."
    assert said in " ".join(figure.get_supxlabel().split())  # however wide the figure is


# ---------------------------------------------------------------------------- text of a record does nothing


HOSTILE = "gn-\x1b[31m\x07\u202e[/nope][bold]$\\frac{<script>&%_\r"  # a label: what terminals, TeX and HTML act on


def poisoned(make_run: Any, root: Path, label: str = HOSTILE) -> Path:
    """Runs one of which has a label that acts; its folder is named harmlessly."""
    for batch in (32, 2):
        make_run(root, batch=batch)
    make_run(root, norm="gn", label=label, model__name="$(touch x)", error=9.0)
    make_run(root, norm="gn", batch=2, label=label, error=9.0)
    return root


def test_what_is_printed_to_be_copied_is_quoted(
    make_run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "runs", model__name="$(touch x)")
    arguments = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    figures.main(["gn_fig1", *arguments])
    tables.main(["gn_table2", *arguments])
    collect.main(["--missing", "gn_fig1", "model=$(touch x)", "--runs", str(tmp_path / "runs")])
    collect.main(["--missing", "--runs", str(tmp_path / "runs")])
    printed = capsys.readouterr().out
    lines = [line.removeprefix("fill it: ") for line in printed.splitlines() if "normbench" in line]
    assert len(lines) >= 3
    for line in lines:
        typed = "model.name=$(touch x)" if "experiment=" in line else "model=$(touch x)"
        assert typed in shlex.split(line), line
        assert f"'{typed}'" in line
    runs = collected.runs(tmp_path / "runs")[0]
    made = [item for item in items.figures(runs, tmp_path / "none")[0] if item.commands]
    assert made
    assert all("=$(touch x)'" in command for item in made for command in item.commands)
    make_run(tmp_path / "runs", batch=2)
    make_run(tmp_path / "runs", batch=4)
    (remark,) = FIGURES["gn_fig1"](collected.runs(tmp_path / "runs")[0]).remarks
    assert "choose with 'model=$(touch x)'" in remark


def test_control_codes_and_markup_of_a_record_are_shown_as_text(
    make_run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = poisoned(make_run, tmp_path / "runs")
    (root / "bad\x1b[2J[/nope]").mkdir(parents=True)
    arguments = ["--runs", str(root), "--out", str(tmp_path / "out")]
    collect.main(["--runs", str(root), "--out", str(tmp_path / "all.csv")])
    collect.main(["--missing", "--runs", str(root)])
    figures.main(["gn_fig1", "all_norms", "demo", *arguments])
    tables.main(["gn_table2", "summary", *arguments])
    report.main(["--runs", str(root), "--out", str(tmp_path / "report.html")])
    said = capsys.readouterr()
    for text in (
        said.out,
        said.err,
        (tmp_path / "report.html").read_text(),
        (tmp_path / "out" / "summary.md").read_text(),
    ):
        assert not set(text) & set("\x1b\x07\x9b\u202e\r"), text
    assert r"\x1b[31m\x07\u202e[/nope][bold]" in said.out
    assert r"bad\x1b[2J[/nope]: empty folder" in said.err
    assert "skipped 1 in all" in said.err


def test_no_cell_of_a_table_is_a_formula_and_no_label_is_latex(make_run: Any, tmp_path: Path) -> None:
    for place, label in enumerate(("=cmd|' /C calc'!A0", "+1+1", "-2", "@SUM(1)", "[2pt]\\input{/etc/passwd}")):
        make_run(tmp_path / "runs", norm="gn", batch=32 // 2**place, label=label)
        make_run(tmp_path / "runs", norm="gn", batch=32, seed=1 + place, label=label)
    tables.main(["summary", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path)])
    collect.main(["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "all.csv")])
    for name in ("summary.csv", "all.csv"):
        with open(tmp_path / name, newline="") as f:
            cells = [cell for row in csv.reader(f) for cell in row]
        acting = [cell for cell in cells if cell[:1] in tuple("=+-@") and cell]
        assert all(re.fullmatch(r"[+-][\d.e+-]+", cell) for cell in acting), acting
        assert "'=cmd|' /C calc'!A0" in cells
    latex = (tmp_path / "summary.tex").read_text()
    assert r"\input" not in latex
    assert r"\textbackslash{}input\{/etc/passwd\}" in latex
    assert not re.search(r"\\\\\s*(\\midrule\s*)?\[", latex)


# ---------------------------------------------------------------------------- one folder that cannot be read


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


# File by file, what a folder may hold in a file's place; of config.yaml, one line of it.
SPOILT = {
    "result.json": ["[]", "3", '"x"', '{"status": 3}', '{"status": "done", "top1_error_pct": {"median_last5": "x"}}'],
    "epochs.jsonl": [
        '{"epoch": "x"}',
        '{"epoch": null}',
        "[]",
        "3",
        '{"epoch": 1, "top1_error_pct": "x"}',
        '{"epoch": 1, "top1_error_pct": [1]}',
        '{"epoch": 1, "images_seen": {}}',
    ],
    "error.json": ["[]", '"x"', "3"],
    "running.json": ["null", "[]", '"x"', '{"pid": "x"}'],
    "env.json": ["[]", '{"command": 3}', '{"command": "touch x"}', '{"command": [1, null]}'],
    "config.yaml": [
        *('"batch": "x"', '"batch": 1e99', '"batch": -1', '"batch": true', '"seed": 18446744073709551616'),
        *('"label": 3', '"label": [1]', '"data": 3', '"data": {"name": [1]}', '"identity": [1]', '"model": []'),
        *('"norm": null', '"experiment": [1]'),
        '"recipe": {"name": "digits", "lr": "x", "lr_batch": 32, "epochs": 3}',
        '"recipe": {"name": "digits", "lr": 0.1, "lr_batch": 0, "epochs": 3}',
        '"recipe": {"name": "digits", "lr": NaN, "lr_batch": 1, "epochs": 3}',
        '"recipe": {"name": "digits", "lr": 0.1, "lr_batch": 1, "epochs": "x"}',
    ],
}
DEEP = [(name, deep(100_000)) for name in SPOILT if name not in ("config.yaml", "running.json")]
CASES = [*((name, text) for name, texts in SPOILT.items() for text in texts), *DEEP]


def spoil(folder: Path, name: str, text: str) -> None:
    if name == "config.yaml":
        key, _, value = text.partition(": ")
        lines = (folder / name).read_text().splitlines()
        kept = [line for line in lines if not line.startswith(f"{json.loads(key)}: ")]
        text = "\n".join([*kept, f"{json.loads(key)}: {value}"]) + "\n"
    (folder / name).write_text(text)


def test_no_spoilt_folder_takes_down_a_reader(
    make_run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "runs"
    for batch in (32, 2):
        make_run(root, batch=batch)
        make_run(root, norm="gn", batch=batch)
    good = set(collected.runs(root)[0]["path"])
    for place, (name, text) in enumerate(CASES):
        spoil(make_run(root, norm="gn", batch=4, seed=10 + place), name, text)
    files = ("config.yaml", "epochs.jsonl", "result.json", "error.json", "env.json", "running.json")
    for place, name in enumerate(files):
        folder = make_run(root, norm="gn", batch=8, seed=place)
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()
    found = collected.read(root)
    folders = len(good) + len(CASES) + len(files)
    assert good <= set(found.runs["path"])
    assert len(found.runs) + len(found.problems) == folders
    assert all(problem.reason for problem in found.problems)
    arguments = ["--runs", str(root), "--out", str(tmp_path / "out")]
    collect.main(["--runs", str(root), "--out", str(tmp_path / "all.csv")])
    assert f"skipped {len(found.problems)} in all" in capsys.readouterr().err
    collect.main(["--missing", "--runs", str(root)])
    figures.main(["gn_fig1", "gn_fig5", *arguments])
    tables.main(["gn_table2", "summary", *arguments])
    report.main(["--runs", str(root), "--out", str(tmp_path / "report.html")])
