"""Claims about figures: a pure function of the records, with every cell drawn, marked or named as missing."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from normbench import figures
from normbench.config import ConfigError
from normbench.study.figures.by_name import FIGURES
from normbench.study.figures.demo import demo
from normbench.study.figures.drawing import Drawing
from normbench.study.figures.group_norm_2018 import gn_fig1
from normbench.study.figures.looks import looks_of
from normbench.study.read import collected

ERRORS = {32: 7.6, 16: 7.3, 8: 7.2, 4: 7.8, 2: 9.1, 1: 33.4}  # of a prototype


def demo_runs(make_run: Any, root: Path, seeds: int = 2) -> Path:
    for seed in range(seeds):
        for batch, error in ERRORS.items():
            make_run(root, batch=batch, seed=seed, error=error + 0.1 * seed)
        make_run(root, norm="gn", seed=seed, error=10.9 + 0.1 * seed, batch_free=True)
    return root


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def draw(name: str, root: Path) -> Drawing:
    return FIGURES[name](collected.runs(root)[0])


def test_the_same_records_give_the_same_bytes_in_another_process(make_run: Any, tmp_path: Path) -> None:
    runs = demo_runs(make_run, tmp_path / "runs")
    figures.main(["demo", "--runs", str(runs), "--out", str(tmp_path / "one")])
    program = "import sys; from normbench.figures import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", program, "demo", "--runs", str(runs), "--out", str(tmp_path / "two")]
    subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[2])
    assert list(digests(tmp_path / "one")) == ["demo.pdf", "demo.png", "demo.svg"]
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_the_users_own_matplotlib_settings_change_nothing(make_run: Any, tmp_path: Path) -> None:
    import matplotlib

    runs = demo_runs(make_run, tmp_path / "runs")
    figures.main(["demo", "--runs", str(runs), "--out", str(tmp_path / "one")])
    with matplotlib.rc_context({"font.size": 20, "axes.grid": False, "svg.hashsalt": "mine"}):
        figures.main(["demo", "--runs", str(runs), "--out", str(tmp_path / "two")])
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_the_curve_goes_through_the_means_and_the_batch_free_level_across(make_run: Any, tmp_path: Path) -> None:
    drawing = draw("demo", demo_runs(make_run, tmp_path))
    (axes,) = drawing.figure.axes
    heights = [[round(float(y), 2) for y in line.get_ydata()] for line in axes.lines]
    assert [round(error + 0.05, 2) for error in ERRORS.values()] in heights
    assert [10.95, 10.95] in heights
    left, right = axes.get_xlim()
    assert left > 32 > 1 > right  # decreasing to the right
    assert drawing.missing == []
    assert [text.get_text() for text in drawing.figure.legends[0].get_texts()] == [
        "BN (n = 2)",
        "GN, any batch (n = 2)",
    ]


def test_one_blow_up_makes_the_scale_logarithmic_and_nothing_else_does(make_run: Any, tmp_path: Path) -> None:
    assert draw("demo", demo_runs(make_run, tmp_path / "blown")).figure.axes[0].get_yscale() == "log"
    for batch in (32, 2):
        make_run(tmp_path / "flat", batch=batch, error=7.0 + batch / 32)
    assert draw("demo", tmp_path / "flat").figure.axes[0].get_yscale() == "linear"


def test_missing_cells_are_named_with_the_command_and_the_rest_is_drawn(
    make_run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for batch in (32, 2):
        for seed in (0, 1):
            make_run(tmp_path, batch=batch, seed=seed, state="cut" if (batch, seed) == (2, 1) else "done")
    figures.main(["gn_fig1", "data=digits", "--runs", str(tmp_path), "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "missing: bn at 16/8/4, bn at 2 (1 of 2 seeds, 1 unfinished), gn at 32/16/8/4/2" in printed
    assert "fill it: normbench -m experiment=gn_fig1 data=digits model=cifar_resnet8" in printed
    assert (tmp_path / "out" / "gn_fig1.png").stat().st_size > 10_000


def test_a_diverged_cell_is_marked_and_not_missing(make_run: Any, tmp_path: Path) -> None:
    for batch in (32, 16, 8, 4, 2, 1):
        for seed in (0, 1):
            lost = batch == 1
            make_run(
                tmp_path, batch=batch, seed=seed, error=None if lost else 7.5, state="diverged" if lost else "done"
            )
    for seed in (0, 1):
        make_run(tmp_path, norm="gn", seed=seed, error=10.9, batch_free=True)
    drawing = draw("demo", tmp_path)
    assert drawing.missing == []
    assert "diverged" in [text.get_text() for text in drawing.figure.axes[0].texts]
    crosses = [line for line in drawing.figure.axes[0].lines if line.get_marker() == "x"]
    assert [list(map(float, line.get_xdata())) for line in crosses] == [[1.0]]


def test_the_papers_curve_lies_beneath_ours_where_data_network_and_recipe_are_its_own_else_beside(
    make_run: Any, of_the_paper: dict[str, Any], tmp_path: Path
) -> None:
    paper = {**of_the_paper, "protocol__name": "per_worker", "workers": 8}
    for batch in (32, 2):
        make_run(tmp_path / "imagenet", batch=batch, error=24.0, sgd_batch=8 * batch, **paper)
    make_run(tmp_path / "digits")

    def legend(root: Path) -> list[str]:
        return [text.get_text() for text in draw("gn_fig1", root).figure.legends[0].get_texts()]

    assert legend(tmp_path / "imagenet") == ["BN (n = 1)", "Wu & He 2018"]
    assert legend(tmp_path / "digits") == ["BN (n = 1)", "GN, Wu & He 2018"]


def test_without_runs_the_papers_curve_stands_alone(tmp_path: Path) -> None:
    drawing = gn_fig1(collected.no_runs())
    assert [text.get_text() for text in drawing.figure.legends[0].get_texts()] == [
        "BN, Wu & He 2018",
        "GN, Wu & He 2018",
    ]
    with pytest.raises(ConfigError, match="no runs on data=digits yet; make them with normbench -m experiment"):
        demo(collected.no_runs())


def test_of_unlike_runs_the_most_are_drawn_and_strict_refuses_them(make_run: Any, tmp_path: Path) -> None:
    demo_runs(make_run, tmp_path, seeds=1)
    make_run(tmp_path, batch=2, recipe__epochs=1)
    said = "left out: 1 run that differs from these in recipe.epochs; choose with recipe.epochs=1 (1)"
    for name in ("gn_fig1", "demo"):
        with pytest.raises(ConfigError, match=r"differ in recipe.epochs \(1, 15\); choose with recipe.epochs=15"):
            FIGURES[name](collected.runs(tmp_path)[0], strict=True)
        assert draw(name, tmp_path).remarks == [said]


def test_an_unknown_figure_is_one_line_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"gn_fig11: no such figure \(did you mean gn_fig1\?\); one of demo, all_norms"
    ):
        figures.main(["gn_fig11", "--runs", str(tmp_path)])
    with pytest.raises(ConfigError, match="which figure"):
        figures.main([])
    with pytest.raises(ConfigError, match="unrecognized arguments: --nonsense"):
        figures.main(["demo", "--nonsense"])


def test_norms_look_different_and_a_stranger_looks_the_same_every_time() -> None:
    looks = looks_of(["bn", "gn", "ln", "in", "syncbn", "frozen", "none", "gn-groups8", "brandnew"])
    assert len({(look.color, look.marker, look.line) for look in looks.values()}) == len(looks)
    assert looks["gn-groups8"].name == "GN groups8"
    assert looks_of(["gn", "brandnew", "gn-groups8"])["brandnew"] == looks["brandnew"]
