"""Claims about a paper's panel beside ours: its own numbers, in the norms' own looks, on a scale of its own."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from normbench.study.figures import layout, scales, style
from normbench.study.figures.by_name import FIGURES
from normbench.study.figures.looks import look_of, looks_of
from normbench.study.figures.sheet import Sheet
from normbench.study.read import collected, experiments, published


def digits(make_run: Any, root: Path, **changed: Any) -> Path:
    for batch, error in ((32, 6.0), (16, 6.5), (8, 6.6), (4, 8.0), (2, 11.0)):
        for norm in ("bn", "brn", "mabn"):
            make_run(root, norm=norm, batch=batch, error=error, epochs=0, **changed)
    make_run(root, norm="gn", error=12.0, batch_free=True, epochs=0, **changed)
    return root


def halves(name: str, root: Path) -> tuple[Figure, list[Axes], list[Axes]]:
    """A figure, our axes and the paper's."""
    figure = FIGURES[name](collected.runs(root)[0], sheet=Sheet(recalled=True)).figure
    left, right = figure.subfigs
    return figure, left.axes, right.axes


def curves(axes: Axes) -> dict[str, list[float]]:
    """Lines by colour, without holes."""
    return {str(line.get_color()): [float(y) for y in line.get_ydata() if not math.isnan(y)] for line in axes.lines}


@pytest.mark.parametrize(
    ("name", "paper", "item", "network", "title"),
    [
        ("gn_fig1", "group_norm_2018", "Table 2", "resnet50", "ImageNet, ResNet-50 (Wu & He 2018)"),
        ("cbn_fig1", "cross_iteration_bn_2021", "Figure 1", "resnet18", "ImageNet, ResNet-18 (Yao et al. 2021)"),
        ("evonorm_fig", "evonorm_2020", "Table 3", "resnet50", "ImageNet, ResNet-50 (Liu et al. 2020)"),
        ("mabn_errors", "mabn_2020", "error against batch size", "resnet50", "ImageNet, ResNet-50 (Yan et al. 2020)"),
    ],
)
def test_the_papers_numbers_stand_beside_ours_in_the_norms_own_colours(
    make_run: Any, tmp_path: Path, name: str, paper: str, item: str, network: str, title: str
) -> None:
    figure, (ours,), (theirs,) = halves(name, digits(make_run, tmp_path))
    table = published.as_errors(published.curve(paper, item, "imagenet", network))
    wanted = {
        look.color: list(table[table["norm"] == norm]["value"])
        for norm, look in looks_of(list(dict.fromkeys(table["norm"]))).items()
        if norm in experiments.read(name).norms
    }
    assert curves(theirs) == wanted
    assert {line.get_linestyle() for line in theirs.lines} == {"--"}
    assert not set(map(tuple, curves(ours).values())) & set(map(tuple, wanted.values()))
    assert [part.get_suptitle() for part in figure.subfigs] == ["digits, cifar_resnet8 (ours)", title]


def test_each_half_has_its_own_range_of_errors_and_both_have_one_span_and_the_sizes_of_either(
    make_run: Any, tmp_path: Path
) -> None:
    _, (ours,), (theirs,) = halves("evonorm_fig", digits(make_run, tmp_path))
    assert ours.get_ylim()[0] < 6.0 < 12.0 < ours.get_ylim()[1] < theirs.get_ylim()[0]
    assert (ours.get_yscale(), theirs.get_yscale()) == ("log", "log")
    ratios = [axes.get_ylim()[1] / axes.get_ylim()[0] for axes in (ours, theirs)]
    assert ratios[0] == pytest.approx(ratios[1])  # equal heights are equal ratios
    for axes in (ours, theirs):
        assert [int(tick) for tick in axes.get_xticks()] == [128, 64, 32, 16, 8, 4, 2]
    assert ours.get_xlim() == theirs.get_xlim()


def test_where_differences_count_equal_heights_are_equal_differences(make_run: Any, tmp_path: Path) -> None:
    for batch, error in ((32, 6.0), (2, 9.0)):
        make_run(tmp_path, batch=batch, error=error)
    _, (ours,), (theirs,) = halves("wj_fig", tmp_path)
    (low, high), (their_low, their_high) = ours.get_ylim(), theirs.get_ylim()
    assert (ours.get_yscale(), theirs.get_yscale()) == ("linear", "linear")
    assert high - low == pytest.approx(their_high - their_low)
    assert low >= 0  # no error is less
    assert ours.get_xlim() == theirs.get_xlim()


def test_the_papers_final_errors_are_in_front_in_their_colours_and_hide_no_other(make_run: Any, tmp_path: Path) -> None:
    _, _, (validation,) = halves("gn_fig4", digits(make_run, tmp_path))
    *finals, log = validation.lines
    assert [line.get_color() for line in finals] == [look_of(norm).color for norm in ("bn", "ln", "in", "gn")]
    assert {line.get_markeredgecolor() for line in finals} == {"black"}
    assert min(line.get_zorder() for line in finals) > log.get_zorder()
    places = [float(line.get_xdata()[0]) for line in finals]
    assert places == sorted(set(places))
    assert validation.get_xlim()[1] > places[-1]


def test_what_is_recalled_is_hollow_and_a_hole_in_the_papers_sizes_stays_one(make_run: Any, tmp_path: Path) -> None:
    figure, _, (theirs,) = halves("cbn_fig1", digits(make_run, tmp_path))
    assert {line.get_markerfacecolor() for line in theirs.lines} == {"white"}
    brn = next(line for line in theirs.lines if line.get_color() == look_of("brn").color)
    assert [int(x) for x, y in zip(brn.get_xdata(), brn.get_ydata(), strict=True) if math.isnan(y)] == [16, 8]
    assert "recalled from memory" in figure.get_supxlabel()


def test_the_small_print_says_how_the_protocols_differ(make_run: Any, tmp_path: Path) -> None:
    figure, _, _ = halves("gn_fig1", digits(make_run, tmp_path))
    said = figure.get_supxlabel()
    assert said.startswith("Left: SGD batch of 64. Right: 8 workers, so the SGD batch shrinks with the batch.")


def test_curves_through_training_stand_beside_the_papers_points(make_run: Any, tmp_path: Path) -> None:
    _, ours, (bn, gn) = halves("gn_fig5", digits(make_run, tmp_path))
    assert [ax.get_title() for ax in (*ours, bn, gn)] == ["BN", "GN", "BN", "GN"]
    assert not any(ax.lines for ax in ours)  # runs without an epoch
    at_2 = [float(y) for y in bn.lines[-1].get_ydata()]
    assert (at_2, [float(x) for x in bn.lines[-1].get_xdata()]) == ([58.5, 43.0, 36.0, 34.7], [30.0, 60.0, 90.0, 100.0])
    assert [float(line.get_ydata()[0]) for line in gn.lines] == [24.1, 24.2, 24.0, 24.2, 24.1]
    _, _, (validation,) = halves("gn_fig4", tmp_path)
    assert [float(line.get_ydata()[-1]) for line in validation.lines[:4]] == [23.6, 25.3, 28.4, 24.1]
    assert len(validation.lines[4].get_xdata()) == len(published.at_epochs(published.load().query("norm == 'gn'")))


def test_batch_renorms_own_accuracies_are_marks_without_a_curve(make_run: Any, tmp_path: Path) -> None:
    for norm in ("bn", "brn"):
        make_run(tmp_path, norm=norm)
    figure, _, (marks,) = halves("brn_fig", tmp_path)
    found = [[float(y) for y in line.get_ydata()] for line in marks.lines]
    assert found == [[78.3, 74.2, 67.0], [78.5, 76.5, 78.6]]
    assert {line.get_linestyle() for line in marks.lines} == {"None"}
    assert [label.get_text().replace("\n", " ") for label in marks.get_xticklabels()] == [
        "32 images, i.i.d.",
        "4 images, i.i.d.",
        "32 images, few labels",
    ]
    assert figure.subfigs[1].get_suptitle() == "ImageNet, Inception-v3 (Ioffe 2017)"


def test_on_the_papers_own_data_network_and_recipe_there_is_one_panel(
    make_run: Any, of_the_paper: dict[str, Any], tmp_path: Path
) -> None:
    runs = collected.runs(digits(make_run, tmp_path, **of_the_paper))[0]
    assert len(FIGURES["evonorm_fig"](runs).figure.subfigs) == 2  # trained by another recipe, of 90 epochs
    for name in ("gn_fig1", "mabn_errors"):
        figure = FIGURES[name](runs).figure
        assert (len(figure.subfigs), len(figure.axes), figure.get_figwidth()) == (0, 1, style.COLUMN_WIDTH)


@pytest.mark.parametrize("high", [8.0, 12.0, 31.0, 90.0, 900.0])
def test_ticks_on_a_log_scale_never_crowd(high: float) -> None:
    with style.paper():
        _, axes = layout.new_axes()
        scales.value_axis(axes, [3.0, high])
    low, top = axes.get_ylim()
    places = [math.log(tick / low) / math.log(top / low) for tick in axes.get_yticks()]
    assert len(places) >= 3
    assert min(above - below for below, above in pairwise(places)) >= 0.1


def test_a_figure_settles_on_round_numbers_for_the_last_bits_of_the_layout_differ_between_processes(
    make_run: Any, tmp_path: Path
) -> None:
    figure, _, _ = halves("gn_fig5", digits(make_run, tmp_path))
    with style.paper():
        style.settle(figure)
    places = [axes.get_position().get_points() for axes in figure.axes]
    places += [part.bbox_relative.get_points() for part in figure.subfigs]
    assert len(places) == 6
    assert all((np.round(place, 9) == place).all() for place in places)
    assert places[0][1][0] < places[1][0][0]  # and is laid out: one panel beside the other
