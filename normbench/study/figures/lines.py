"""Curves of means over seeds: what a line, its spread and its legend entry look like."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from normbench.study.figures import style
from normbench.study.figures.looks import Look, look_of, shaded
from normbench.study.read import published, stats
from normbench.study.read.missing import in_short
from normbench.study.read.stats import Summary


def handle(look: Look, label: str, marker: bool = True) -> Line2D:
    """A legend entry."""
    return Line2D([], [], color=look.color, linestyle=look.line, marker=look.marker if marker else "", label=label)


def seeds(label: str, found: Sequence[Summary]) -> str:
    """A label with the number of seeds behind its points."""
    counts = sorted({summary.n for summary in found if summary.n})
    if not counts:
        return label
    return f"{label} (n = {counts[0]})" if len(counts) == 1 else f"{label} (n = {counts[0]} to {counts[-1]})"


def points(
    axes: Axes, look: Look, at: Mapping[float, Summary], xs: Sequence[float], size: float = 4.5, width: float = 1.4
) -> None:
    """Mean and sd at each x; a hole in the grid stays a hole, with no line across it.

    A point of a single seed is open. The scale of the y axis is set by now: see stats.spread.
    size, width: of the markers and of the line, in points of a paper.
    """
    found = [at.get(x, stats.summarise([])) for x in xs]
    means = [p.mean for p in found]
    # a filled marker for several seeds, and below an open one for a single seed
    several = [place for place, p in enumerate(found) if p.n > 1]
    axes.plot(
        list(xs), means, color=look.color, linestyle=look.line, linewidth=width, marker=look.marker,
        markersize=_size(look, size), markeredgecolor="white", markeredgewidth=0.4, markevery=several, zorder=4,
    )  # fmt: skip
    for x, p in zip(xs, found, strict=True):
        if p.n == 1:
            _open_marker(axes, look, x, p.mean, size)
        elif p.n:
            bars(axes, look, x, p, size)


def bars(axes: Axes, look: Look, x: float, summary: Summary, size: float) -> None:
    """The sd of one mean: darker than its marker and wider, so that even a short bar is seen."""
    down, up = stats.spread(summary, axes.get_yscale() == "log")
    axes.errorbar(
        [x], [summary.mean], yerr=[[down], [up]], fmt="none", ecolor=shaded(look.color, 0.5), elinewidth=1.0,
        capsize=0.5 * _size(look, size) + 1.2, capthick=1.0, zorder=4.5,
    )  # fmt: skip


def spread_text(found: Sequence[Summary], log: bool = False, n: str = "n") -> str:
    """What the points of a figure are, for its small print; n: the number of seeds in words."""
    said = []
    if any(summary.n > 1 for summary in found):
        cut = log and any(summary.n > 1 and summary.mean - summary.sd < summary.least for summary in found)
        said.append(f"Mean ± sd over {n} seeds{', no bar below the least of them' if cut else ''}.")
    if any(summary.n == 1 for summary in found):
        said.append("Open markers: a single seed.")
    return " ".join(said)


def _open_marker(axes: Axes, look: Look, x: float, y: float, size: float) -> None:
    axes.plot(
        [x], [y], color=look.color, linestyle="", marker=look.marker, markersize=_size(look, size),
        markerfacecolor="white", markeredgewidth=1.0, zorder=4.2,
    )  # fmt: skip


def _size(look: Look, size: float) -> float:
    return size + 2.5 * (look.marker == "*")  # a star has little area


def diverged(axes: Axes, look: Look, x: float) -> None:
    """A cross on the upper edge: the error of a run that diverged has no place on the scale."""
    axes.plot(
        x, 1.0, "x", color=look.color, transform=axes.get_xaxis_transform(), clip_on=False, markersize=5,
        markeredgewidth=1.4,
    )  # fmt: skip


def level(axes: Axes, look: Look, summary: Summary, xs: Sequence[float]) -> None:
    """One value that holds for every x: a line across all, with a band of its sd."""
    axes.axhline(summary.mean, color=look.color, linestyle=look.line, zorder=3)
    for x in xs:
        if summary.n == 1:
            _open_marker(axes, look, x, summary.mean, 3)
    if summary.n > 1:
        axes.plot(list(xs), [summary.mean] * len(xs), color=look.color, linestyle="", marker=look.marker, markersize=3)
        down, up = stats.spread(summary, axes.get_yscale() == "log")
        axes.axhspan(summary.mean - down, summary.mean + up, color=look.color, alpha=0.18, linewidth=0, zorder=2)


def through_training(axes: Axes, look: Look, curves: pd.DataFrame, x: str, metric: str) -> None:
    """Mean of the seeds' curves with a band of their sd, on axes whose scale is set.

    curves: epochs of runs that differ in nothing but the seed. The diverged are left out of the
    mean and drawn thin up to the cross where they ended.
    """
    done = curves[curves["state"] == "done"]
    if not done.empty:
        by_x = done.groupby(x)[metric]
        mean, sd = by_x.mean(), by_x.std(ddof=1).fillna(0.0)
        axes.plot(
            mean.index, mean, color=look.color, linestyle=look.line, linewidth=1.1, marker=look.marker, markersize=3,
            markevery=(len(mean) // 10, max(1, len(mean) // 5)), zorder=3,
        )  # fmt: skip
        if by_x.count().max() > 1:
            low = np.maximum(mean - sd, by_x.min()) if axes.get_yscale() == "log" else mean - sd
            axes.fill_between(mean.index, low, mean + sd, color=look.color, alpha=0.18, linewidth=0, zorder=2)
    for _, lost in curves[curves["state"] == "diverged"].groupby("path"):
        axes.plot(lost[x], lost[metric], color=look.color, linestyle=look.line, linewidth=0.7, zorder=2.5)
        axes.plot(lost[x].iloc[-1:], lost[metric].iloc[-1:], "x", color=look.color, markersize=5, zorder=5)


def heights(curves: pd.DataFrame, x: str, metric: str) -> list[float]:
    """What the lines of through_training pass through, for the scale to fit them."""
    done, lost = (curves[curves["state"] == state] for state in ("done", "diverged"))
    return [*done.groupby(x)[metric].mean(), *lost[metric]]


def paper_points(axes: Axes, theirs: pd.DataFrame, x: str, look: Look, joined: bool, alone: bool) -> None:
    """A paper's numbers: grey beneath ours, coloured where alone; hollow where recalled.

    joined: they are a curve. A number that stands by itself is coloured in any case, large, in
    front, with a black edge.
    """
    if theirs.empty:
        return
    single = len(theirs) == 1
    color = look.color if alone or single else style.GREY
    face = "white" if published.recalled(theirs) else color
    axes.plot(
        theirs[x].astype(float).to_list(), theirs["value"].to_list(), color=color, linestyle="--" if joined else "",
        linewidth=0.9, marker=look.marker, markersize=_size(look, 5.5 if single else 3.5), markerfacecolor=face,
        markeredgecolor="black" if single else color, markeredgewidth=0.7, zorder=4.8 if single else 1.5,
        clip_on=not single,
    )  # fmt: skip


def paper_curve(axes: Axes, theirs: pd.DataFrame, sizes: Sequence[int], look: Look, alone: bool) -> None:
    """A paper's numbers against batch; a hole among its sizes stays a hole, as in ours."""
    over = theirs.set_index("batch")[["value", "read"]].reindex(list(sizes)).rename_axis("batch").reset_index()
    paper_points(axes, over, "batch", look, joined=True, alone=alone)


def missing_text(lacking: Sequence[str]) -> str:
    """What a figure lacks, for its small print, with the norms named as in the legend."""
    short = [_named(text) for text in in_short(list(lacking))]
    more = f" and {len(short) - 4} more" if len(short) > 4 else ""
    return f"Missing: {', '.join(short[:4])}{more}." if short else ""


def _named(text: str) -> str:
    """What is missing, "bn at 4/2", with the norm's name for its label."""
    label, space, rest = text.partition(" ")
    return f"{look_of(label).name}{space}{rest}"
