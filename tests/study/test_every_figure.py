"""Claims about every figure alike: filled by its experiment it is complete, and the same records give the same bytes."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filling import fill, profile

from normbench import figures, named
from normbench.config import ConfigError
from normbench.study.figures import style
from normbench.study.figures.by_name import FIGURES
from normbench.study.figures.cost import cost
from normbench.study.figures.sheet import Sheet
from normbench.study.read import collected, experiments, published

ROOT = Path(__file__).parents[2]
OF_A_PAPER = ["gn_fig1", "gn_fig4", "gn_fig5", "brn_fig", "mabn_errors", "wj_fig", "evonorm_fig"]


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("name", sorted({*FIGURES} - {"all_norms", "cost"}))
def test_filled_by_its_experiment_a_figure_is_complete(make_run: Any, tmp_path: Path, name: str) -> None:
    fill(make_run, tmp_path, name)
    runs, problems = collected.runs(tmp_path)
    drawing = FIGURES[name](runs)
    wanted_seeds = len(experiments.read(name).seeds)
    assert problems == []
    if wanted_seeds == 1:
        assert drawing.missing == []
        assert drawing.remarks == []
    beside_a_paper = name in OF_A_PAPER
    assert drawing.figure.get_figwidth() == (style.PAGE_WIDTH if beside_a_paper else style.COLUMN_WIDTH)
    assert any(axes.has_data() for axes in drawing.figure.axes)


@pytest.mark.parametrize("name", ["all_norms", "cost"])
def test_figures_of_many_norms_are_drawn_from_some(make_run: Any, tmp_path: Path, name: str) -> None:
    fill(make_run, tmp_path, name)
    runs = collected.runs(tmp_path)[0]
    drawing = cost(runs, profile(tmp_path)) if name == "cost" else FIGURES[name](runs)
    assert any(axes.has_data() for axes in drawing.figure.axes)
    assert drawing.missing != []


@pytest.mark.parametrize("name", ["gn_fig5", "brn_fig", "mabn_fig", "cbn_gradient", "lr_fig", "cost"])
def test_the_same_records_give_the_same_bytes(make_run: Any, tmp_path: Path, name: str) -> None:
    fill(make_run, tmp_path / "runs", name)
    where = ["--runs", str(tmp_path / "runs"), "--profile", str(profile(tmp_path))]
    figures.main([name, *where, "--out", str(tmp_path / "one")])
    figures.main([name, *where, "--out", str(tmp_path / "two")])
    assert list(digests(tmp_path / "one")) == [f"{name}.pdf", f"{name}.png", f"{name}.svg"]
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


@pytest.mark.parametrize("name", [name for name in OF_A_PAPER if name != "brn_fig"])
def test_without_runs_the_published_curves_stand_alone(name: str) -> None:
    drawing = FIGURES[name](collected.no_runs())
    assert any(axes.has_data() for axes in drawing.figure.axes)
    assert drawing.missing != []


NEED_RUNS = [
    "cbn_fig1",
    "gn_fig6",
    "cbn_window",
    "cbn_burnin",
    "cbn_gradient",
    "brn_fig",
    "mabn_fig",
    "wj_ema",
    "lr_fig",
    "all_norms",
]


@pytest.mark.parametrize("name", NEED_RUNS)
def test_a_figure_with_nothing_to_draw_says_which_runs_to_make(name: str) -> None:
    with pytest.raises(ConfigError, match=f"no runs for {name} yet; make them with normbench -m experiment={name}"):
        FIGURES[name](collected.no_runs())


def test_a_figure_of_other_data_without_its_norms_is_not_the_papers_alone(make_run: Any, tmp_path: Path) -> None:
    make_run(tmp_path, norm="ebn")
    runs = collected.runs(tmp_path)[0]
    for name in ("gn_fig1", "gn_fig4", "wj_fig", "evonorm_fig"):
        with pytest.raises(ConfigError, match=f"no runs for {name} yet"):
            FIGURES[name](runs)


def test_a_filter_for_a_papers_data_without_runs_draws_the_paper_alone(make_run: Any, tmp_path: Path) -> None:
    make_run(tmp_path)
    assert named.runs_of(str(tmp_path), ["data=imagenet", "norm=bn"]).empty
    with pytest.raises(ConfigError, match="data=imagnet: no such run"):
        named.runs_of(str(tmp_path), ["data=imagnet"])


def test_recalled_numbers_are_hollow_and_read_ones_are_not() -> None:
    def faces(name: str) -> set[str]:
        (axes,) = FIGURES[name](collected.no_runs(), sheet=Sheet(recalled=True)).figure.axes
        return {str(line.get_markerfacecolor()) for line in axes.lines}

    assert faces("cbn_fig1") == {"white"}
    assert "white" not in faces("gn_fig1")


def test_accuracies_become_errors() -> None:
    theirs = published.as_errors(published.curve("evonorm_2020", "Table 3", "imagenet", "resnet50"))
    assert list(theirs[theirs["norm"] == "bn"]["value"]) == [23.9, 23.8, 23.9, 24.4, 25.7, 29.3]
    assert set(theirs["unit"]) == {"top1_error_pct"}


NO_TORCH = """
import importlib.abc, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision"):
            raise ImportError(f"{name} is not installed here")
sys.meta_path.insert(0, Refuse())
from normbench import collect, figures, tables
runs, out = sys.argv[1:]
collect.main(["--runs", runs, "--out", out])
figures.main(["demo", "gn_fig4", "all_norms", "--runs", runs, "--out", out])
tables.main(["gn_table1", "summary", "--runs", runs, "--out", out])
"""


def test_everything_works_where_torch_is_not_installed(make_run: Any, tmp_path: Path) -> None:
    fill(make_run, tmp_path / "runs", "demo")
    command = [sys.executable, "-W", "error", "-c", NO_TORCH, str(tmp_path / "runs"), str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"collected.csv", "demo.pdf", "gn_fig4.svg", "all_norms.png", "gn_table1.tex", "summary.csv"} <= written


@pytest.mark.parametrize("name", FIGURES)
def test_one_run_of_another_grid_is_drawn_or_the_figure_says_what_it_lacks(
    name: str, make_run: Any, tmp_path: Path
) -> None:
    make_run(tmp_path, batch=2)
    try:
        FIGURES[name](collected.runs(tmp_path)[0])
    except ConfigError as e:
        assert "make them with" in str(e) or "goes on" in str(e) or "profile" in str(e), str(e)
