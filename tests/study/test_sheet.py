"""Claims about what a figure is drawn on: each option acts on each figure, and a reader is told what the points are."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from filling import fill, profile
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from normbench import figures
from normbench.config import ConfigError
from normbench.study.figures import style
from normbench.study.figures.by_name import FIGURES, draw
from normbench.study.figures.looks import look_of, looks_of, shades
from normbench.study.figures.sheet import STYLES, Sheet
from normbench.study.read import collected, experiments, stats


def letters(figure: Figure) -> set[float]:
    """The sizes of all that is written."""
    return {round(text.get_fontsize(), 3) for text in figure.findobj(Text) if text.get_text()}  # type: ignore[attr-defined]


def widths(figure: Figure) -> list[float]:
    return [float(line.get_linewidth()) for axes in figure.axes for line in axes.lines]


@pytest.mark.parametrize("name", FIGURES)
def test_every_option_acts_on_every_figure_and_each_names_data_network_and_sgd_batch(
    make_run: Any, tmp_path: Path, name: str
) -> None:
    fill(make_run, tmp_path / "runs", name)
    runs = collected.runs(tmp_path / "runs")[0]

    def drawn(**options: Any) -> Figure:
        return draw(name, runs, profile(tmp_path), sheet=Sheet(**options)).figure

    plain, small, slides = drawn(), drawn(width=5, height=4, font_size=10), drawn(style="slides")
    assert tuple(small.get_size_inches()) == (5, 4)
    assert drawn(width=5).get_figheight() > plain.get_figheight() * 5 / 7  # in proportion
    wide = plain.get_figwidth() == style.PAGE_WIDTH
    assert slides.get_figwidth() == (STYLES["slides"].page if wide else STYLES["slides"].column)
    assert sorted(letters(small)) == pytest.approx([size * 10 / 7.5 for size in sorted(letters(plain))], abs=0.01)
    assert widths(slides) == pytest.approx([1.8 * width for width in widths(plain)])
    said = " ".join([plain.get_supxlabel(), *(part.get_suptitle() for part in plain.subfigs)])
    assert "digits, cifar_resnet8" in said
    assert "SGD batch" in said


def test_the_command_writes_the_files_asked_for_in_the_size_asked_for(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    where = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path)]
    figures.main(["gn_fig1", "--format", "pdf", "--width", "6.75", "--height", "3", *where])
    assert [path.name for path in tmp_path.glob("gn_fig1.*")] == ["gn_fig1.pdf"]
    assert b"/MediaBox [ 0 0 486 216 ]" in (tmp_path / "gn_fig1.pdf").read_bytes()  # 72 points an inch


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--format", "pdf,jpg"], "--format is one or more of svg,png,pdf, got 'jpg'"),
        (["--style", "poster"], "--style is one of paper, slides, got poster"),
        (["--width", "0"], "--width is from 1 to 50 inches, got 0"),
        (["--font-size", "nan"], "--font-size is from 3 to 60 points, got nan"),
        (["--height", "1", "--font-size", "20"], "have no room for this figure and its letters"),
    ],
)
def test_what_cannot_be_drawn_is_one_line_and_nothing_is_written(options: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises(ConfigError, match=said):
        figures.main(["gn_fig1", *options, "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
    assert not list((tmp_path / "out").glob("*"))


def test_numbers_from_memory_are_off_until_asked_for(make_run: Any, tmp_path: Path) -> None:
    make_run(tmp_path, batch=2)
    runs = collected.runs(tmp_path)[0]
    without, with_them = (FIGURES["cbn_fig1"](runs, sheet=Sheet(recalled=asked)) for asked in (False, True))
    assert (len(without.figure.subfigs), len(with_them.figure.subfigs)) == (0, 2)
    assert [text for text in without.remarks if "recalled from memory; --recalled draws them" in text]
    assert not with_them.remarks


# ---------------------------------------------------------------------------- what points are


def bars(figure: Figure) -> list[tuple[float, float]]:
    """Both ends of every error bar."""
    found = [collection.get_segments() for axes in figure.axes for collection in axes.collections]
    return [(float(low), float(high)) for segments in found for ((_, low), (_, high)) in segments]


def test_on_a_log_scale_no_bar_ends_below_the_least_seed_and_on_a_linear_one_it_is_the_sd(
    make_run: Any, tmp_path: Path
) -> None:
    for seed, error in enumerate((1.0, 1.0, 9.0)):  # mean 3.67, sd 4.62: mean - sd is below 0
        make_run(tmp_path / "log", batch=2, seed=seed, error=error)
        make_run(tmp_path / "linear", batch=2, seed=seed, error=7 + error / 9)
    drawn = {kind: FIGURES["demo"](collected.runs(tmp_path / kind)[0]).figure for kind in ("log", "linear")}
    assert [figure.axes[0].get_yscale() for figure in drawn.values()] == ["log", "linear"]
    expected = stats.summarise([1.0, 1.0, 9.0])
    assert bars(drawn["log"]) == [pytest.approx((1.0, expected.mean + expected.sd))]
    scaled = stats.summarise([7 + 1 / 9, 7 + 1 / 9, 8.0])
    assert bars(drawn["linear"]) == [pytest.approx((scaled.mean - scaled.sd, scaled.mean + scaled.sd))]
    assert scaled.mean - scaled.sd < scaled.least
    assert "no bar below the least of them" in drawn["log"].get_supxlabel().replace("\n", " ")
    assert "least of them" not in drawn["linear"].get_supxlabel()


def test_a_single_seed_is_an_open_marker_and_a_bar_is_wider_than_its_marker(make_run: Any, tmp_path: Path) -> None:
    for batch, seeds in ((32, 2), (2, 1)):
        for seed in range(seeds):
            make_run(tmp_path, batch=batch, seed=seed, error=6.0 + seed / 8)
    figure = FIGURES["demo"](collected.runs(tmp_path)[0]).figure
    (axes,) = figure.axes
    opened = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert [list(map(float, line.get_xdata())) for line in opened] == [[2.0]]
    curve = next(line for line in axes.lines if line.get_linestyle() == "-")
    caps = [line for line in axes.lines if line.get_marker() == "_"]
    assert all(cap.get_markersize() > curve.get_markersize() for cap in caps)
    assert all(cap.get_zorder() > curve.get_zorder() for cap in caps)
    assert caps[0].get_color() != curve.get_color()
    assert "Open markers: a single seed." in figure.get_supxlabel()


# ---------------------------------------------------------------------------- colours


def test_no_two_norms_and_no_two_batches_share_a_colour() -> None:
    labels = experiments.read("all_norms").norms
    colors = [look.color for look in looks_of(labels).values()]
    assert len(labels) == 28
    assert min(apart(one, other) for one, other in combinations(colors, 2)) > 0.16
    batches = [look.color for look in shades([str(batch) for batch in (32, 16, 8, 4, 2, 1)])]
    for color in batches:
        red, green, blue = to_rgb(color)
        assert max(red, green, blue) - min(red, green, blue) > 0.2  # and none is grey
    assert min(apart(one, other) for one, other in combinations(batches, 2)) > 0.15


@pytest.mark.parametrize("name", ["demo", "gn_fig1", "gn_fig4", "cbn_fig1", "mabn_errors", "evonorm_fig", "cost"])
def test_the_norms_of_a_figure_are_told_apart_by_colour(name: str) -> None:
    norms = [*experiments.read(name).norms]
    assert min(apart(look_of(a).color, look_of(b).color) for a, b in combinations(norms, 2)) > 0.2
    assert apart(look_of("gn").color, look_of("gn_ws").color) > 0.2


def apart(one: str, other: str) -> float:
    """The distance of two colours in red, green and blue, each from 0 to 1."""
    return float(sum((a - b) ** 2 for a, b in zip(to_rgb(one), to_rgb(other), strict=True)) ** 0.5)
