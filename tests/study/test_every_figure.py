"""Claims about every figure alike: filled by its experiment it is complete, and the same records give the same bytes."""

import hashlib
import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from normbench import figures, named, plugins, records
from normbench.config import ConfigError
from normbench.study.figures import style
from normbench.study.figures.by_name import FIGURES
from normbench.study.figures.cost import cost
from normbench.study.read import collected, experiments, published

ROOT = Path(__file__).parents[2]
OF_A_PAPER = ["gn_fig1", "gn_fig4", "gn_fig5", "cbn_fig1", "brn_fig", "mabn_errors", "wj_fig", "evonorm_fig"]


def fill(make_run: Any, root: Path, name: str) -> None:
    """Every run that the experiments of a figure ask for, with what they make a run record."""
    for wanted in experiments.read(name).products:
        norms = wanted.norms[:5]  # a few will do for all_norms
        others = {key: values for key, values in wanted.swept.items() if key not in ("norm", "seed")}
        for norm, values in itertools.product(norms, itertools.product(*others.values())):
            one_run(make_run, root, norm, wanted.fixed | dict(zip(others, values, strict=True)))


def one_run(make_run: Any, root: Path, norm: str, cell: dict[str, str]) -> None:
    batch = int(cell.pop("batch", "32"))
    probed = "probe.layer" in cell
    changed: dict[str, Any] = {"batch_free": plugins.schema(norm)["batch_free"] and not probed}
    label = norm
    for key, value in cell.items():
        if value == "null":
            continue
        changed[key.replace(".", "__")] = (
            ["batch", "precise"] if key == "eval_also" else float(value) if _number(value) else value
        )
        if key.startswith("norm.") and str(plugins.schema(norm)[key[5:]]) != value:
            label += f"-{key[5:]}{value}"
    if changed["batch_free"]:
        batch = 32  # one run serves every size
    try:
        made = make_run(root, norm=label, batch=batch, error=5 + 20 / batch, epochs=6, **changed)
    except FileExistsError:  # the same one for another size, or of another grid
        return
    (made / "epochs.jsonl").unlink()
    for epoch in range(1, 7):
        row = {
            "epoch": epoch,
            "images_seen": 8000 * epoch,
            "train_error_pct": 3.0 + 9 / epoch,
            "top1_error_pct": 7.0 + 9 / epoch,
        }
        more = {f"top1_error_pct_{stats}": 7.5 + 8 / epoch for stats in ("batch", "precise")}
        records.append_row(made, row | more)
    for step in range(10, 100, 10) if probed else ():
        spread = {str(p): (p - 50) / 20 for p in (1, 20, 80, 99)}
        row = {"step": step, "epoch": 1 + step // 50, "images_seen": 64 * step, "percentiles": spread}
        numbers = {"mean": 0.1, "var": 1.0 + step / 99, "grad_mean": 1e-4 * step, "grad_product": None}
        window = {
            "moved_square": 0.3,
            "missed_square": 0.1,
            "apart_square": 0.4,
            "filter_norms": {"bn1": 1 + step / 99},
        }
        records.append_probe(made, row | numbers | window)


def _number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def profile(root: Path) -> Path:
    """What python -m normbench.profile leaves."""
    lines = ["norm,data,model,batch,workers,device,train_img_per_s,infer_img_per_s,saved_bytes"]
    norms = experiments.read("cost").norms
    lines += [
        f"{norm},digits,cifar_resnet8,2,32,CPU,{900 + 10 * i},{2000 + i},{10**7 + i}" for i, norm in enumerate(norms)
    ]
    (root / "profile.csv").write_text("\n".join(lines) + "\n")
    return root / "profile.csv"


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
    with pytest.raises(
        ConfigError, match=f"no runs for {name} yet; make them with python -m normbench -m experiment={name}"
    ):
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
        (axes,) = FIGURES[name](collected.no_runs()).figure.axes
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
