"""Curves of means over seeds: what a line, its spread and its legend entry look like."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from normbench.study.figures import style
from normbench.study.figures.looks import Look, look_of
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

    size, width: of the markers and of the line, in points.
    """
    found = [at.get(x, stats.summarise([])) for x in xs]
    stroke = look.marker in "x12"  # a marker without a face
    axes.errorbar(
        list(xs), [p.mean for p in found], yerr=[0.0 if math.isnan(p.sd) else p.sd for p in found], color=look.color,
        linestyle=look.line, linewidth=width, marker=look.marker, markersize=size + 2.5 * (look.marker == "*"),
        elinewidth=0.9, capsize=2, markeredgecolor=look.color if stroke else "white",
        markeredgewidth=1.2 if stroke else 0.5, zorder=4,
    )  # fmt: skip


def diverged(axes: Axes, look: Look, x: float) -> None:
    """A cross on the upper edge: the error of a run that diverged has no place on the scale."""
    axes.plot(
        x, 1.0, "x", color=look.color, transform=axes.get_xaxis_transform(), clip_on=False, markersize=5,
        markeredgewidth=1.4,
    )  # fmt: skip


def level(axes: Axes, look: Look, summary: Summary, xs: Sequence[float]) -> None:
    """One value that holds for every x: a line across all, with a band of its sd."""
    axes.axhline(summary.mean, color=look.color, linestyle=look.line, zorder=3)
    axes.plot(
        list(xs), [summary.mean] * len(xs), color=look.color, linestyle="", marker=look.marker, markersize=3, zorder=3
    )
    if summary.n > 1:
        low, high = summary.mean - summary.sd, summary.mean + summary.sd
        axes.axhspan(low, high, color=look.color, alpha=0.18, linewidth=0, zorder=2)


def through_training(axes: Axes, look: Look, curves: pd.DataFrame, x: str, metric: str) -> list[float]:
    """Mean of the seeds' curves with a band of their sd; returns the heights that it takes up.

    curves: epochs of runs that differ in nothing but the seed. The diverged are left out of the
    mean and drawn thin up to the cross where they ended.
    """
    heights: list[float] = []
    done = curves[curves["state"] == "done"]
    if not done.empty:
        by_x = done.groupby(x)[metric]
        mean, sd = by_x.mean(), by_x.std(ddof=1).fillna(0.0)
        axes.plot(
            mean.index, mean, color=look.color, linestyle=look.line, linewidth=1.1, marker=look.marker, markersize=3,
            markevery=(len(mean) // 10, max(1, len(mean) // 5)), zorder=3,
        )  # fmt: skip
        if by_x.count().max() > 1:
            axes.fill_between(mean.index, mean - sd, mean + sd, color=look.color, alpha=0.18, linewidth=0, zorder=2)
        heights += [*mean]
    for _, lost in curves[curves["state"] == "diverged"].groupby("path"):
        axes.plot(lost[x], lost[metric], color=look.color, linestyle=look.line, linewidth=0.7, zorder=2.5)
        axes.plot(lost[x].iloc[-1:], lost[metric].iloc[-1:], "x", color=look.color, markersize=5, zorder=5)
        heights += [*lost[metric]]
    return heights


def paper_points(axes: Axes, theirs: pd.DataFrame, x: str, look: Look, joined: bool, alone: bool) -> None:
    """A paper's numbers: grey beneath ours, coloured where alone; hollow where recalled."""
    if theirs.empty:
        return
    color = look.color if alone else style.GREY
    face = "white" if published.recalled(theirs) else color
    axes.plot(
        theirs[x].astype(float).to_list(), theirs["value"].to_list(), color=color, linestyle="--" if joined else "",
        linewidth=0.9, marker=look.marker, markersize=6 if look.marker == "*" else 3.5, markerfacecolor=face,
        markeredgewidth=0.7, zorder=1.5,
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
