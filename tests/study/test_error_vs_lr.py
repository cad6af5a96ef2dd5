"""Claims about lr_fig: every norm with several rates has its curve, its best and the recipe's rate."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from omegaconf import OmegaConf

from normbench import paths
from normbench.config import ConfigError
from normbench.study.figures.drawing import Drawing
from normbench.study.figures.error_vs_lr import lr_fig
from normbench.study.read import collected

RATES = (0.05, 0.1, 0.4)
BN_32, BN_2, GN, CBN = (5.0, 4.5, 4.8), (8.0, 7.0, 9.0), (6.0, 5.5, 5.0), (5.2, 6.0, None)


@pytest.fixture
def root(make_run: Any, tmp_path: Path) -> Path:
    """Two seeds of each, a tenth apart; CBN diverges at the highest rate, in one of them."""
    for norm, batch, errors in (("bn", 32, BN_32), ("bn", 2, BN_2), ("gn", 2, GN), ("cbn", 2, CBN)):
        for lr, error in zip(RATES, errors, strict=True):
            for seed in (0, 1):
                lost = error is None and seed == 1
                at = None if lost else (1.0 if error is None else error) + 0.1 * seed
                state = "diverged" if lost else "done"
                make_run(tmp_path, norm, batch, seed, at, state=state, recipe__lr=lr, batch_free=norm == "gn")
    return tmp_path


def draw(root: Path) -> Drawing:
    return lr_fig(collected.runs(root)[0])


def panel(drawing: Drawing, title: str) -> Axes:
    return next(axes for axes in drawing.figure.axes if axes.get_title() == title)


def heights(axes: Axes) -> list[list[float]]:
    return [[round(float(y), 6) for y in line.get_ydata()] for line in axes.lines]


def means(errors: tuple[Any, ...]) -> list[float]:
    return [round(error + 0.05, 6) for error in errors]


def test_a_curve_goes_through_the_means_of_its_rates_and_the_ring_is_at_the_least(root: Path) -> None:
    drawing = draw(root)
    assert [axes.get_title() for axes in drawing.figure.axes if axes.lines] == ["BN", "CBN", "GN"]
    bn, gn = panel(drawing, "BN"), panel(drawing, "GN")
    assert means(BN_32) in heights(bn)
    assert means(BN_2) in heights(bn)
    assert means(GN) in heights(gn)
    rings = [line for line in [*bn.lines, *gn.lines] if line.get_markerfacecolor() == "none"]
    assert [(*map(float, r.get_xdata()), *map(float, r.get_ydata())) for r in rings] == [
        (0.1, pytest.approx(4.55)), (0.1, pytest.approx(7.05)), (0.4, pytest.approx(5.05)),
    ]  # fmt: skip


def test_bn_lies_beneath_every_other_norm_at_its_largest_and_its_smallest_batch(root: Path) -> None:
    drawing = draw(root)
    grey = [line for line in panel(drawing, "GN").lines if line.get_color() == "#8c8c8c" and len(line.get_xdata()) > 2]
    assert [[round(float(y), 6) for y in line.get_ydata()] for line in grey] == [means(BN_32), means(BN_2)]
    assert "BN at 32 and 2" in [text.get_text() for text in drawing.figure.legends[0].get_texts()]


def test_the_recipes_own_rate_is_marked_in_every_panel_as_its_yaml_has_it(root: Path) -> None:
    usual = OmegaConf.load(paths.conf() / "recipe" / "digits.yaml").lr
    drawing = draw(root)
    for title in ("BN", "CBN", "GN"):
        assert [usual, usual] in [list(map(float, line.get_xdata())) for line in panel(drawing, title).lines]


def test_a_rate_at_which_a_seed_diverged_has_a_cross_and_is_never_the_best(root: Path) -> None:
    drawing = draw(root)
    cbn = panel(drawing, "CBN")
    assert [list(map(float, line.get_xdata())) for line in cbn.lines if line.get_marker() == "x"] == [[0.4]]
    numbers = drawing.numbers
    assert numbers is not None
    assert list(numbers.index) == ["BN at 32", "BN at 2", "CBN at 2", "GN, any batch"]
    shown = ["5.25 ± 0.07 (2)", "6.05 ± 0.07 (2)", "1.00 (1) 1 diverged", "0.05"]
    assert list(numbers.loc["CBN at 2", ["0.05", "0.1", "0.4", "best lr"]]) == shown


def test_what_the_recipes_rate_costs_is_the_difference_to_the_best(make_run: Any, tmp_path: Path) -> None:
    usual = OmegaConf.load(paths.conf() / "recipe" / "digits.yaml").lr
    for lr, error in ((usual, 6.5), (4 * usual, 5.0)):
        make_run(tmp_path, batch=2, error=error, recipe__lr=lr)
    numbers = draw(tmp_path).numbers
    assert numbers is not None
    assert numbers.loc["BN at 2", "recipe's lr costs"] == "1.50"
    assert numbers.loc["BN at 2", "best lr"] == f"{4 * usual:g}"


def test_a_norm_that_nobody_asked_for_is_drawn_and_one_with_a_single_rate_is_not(make_run: Any, root: Path) -> None:
    for lr in RATES[:2]:
        make_run(root, "brandnew", 2, recipe__lr=lr)
    make_run(root, "ln", 2, recipe__lr=0.1)
    titles = [axes.get_title() for axes in draw(root).figure.axes if axes.lines]
    assert "brandnew" in titles
    assert "LN" not in titles


def test_one_rate_alone_is_no_figure_of_rates(make_run: Any, tmp_path: Path) -> None:
    make_run(tmp_path, batch=32)
    make_run(tmp_path, batch=2)
    with pytest.raises(ConfigError, match="no runs for lr_fig yet; make them with normbench -m experiment=lr_f"):
        draw(tmp_path)
