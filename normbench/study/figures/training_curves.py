"""Error through training: curves in panels, a paper's numbers beneath them or beside."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from normbench.study.figures import beside, layout, lines, scales, style
from normbench.study.figures.drawing import Drawing
from normbench.study.figures.looks import Look
from normbench.study.read import experiments, origin, setting
from normbench.study.read.missing import missing
from normbench.study.read.stats import METRIC

Points = list[tuple[pd.DataFrame, Look]]  # published numbers, with their place in column "at"


@dataclass(frozen=True)
class Curve:
    """The seeds of one setting, as one line."""

    epochs: pd.DataFrame
    look: Look
    metric: str = METRIC


@dataclass(frozen=True)
class Panel:
    """One plot of several that have one scale."""

    title: str
    curves: list[Curve]
    theirs: Points = field(default_factory=list)
    ticks: list[str] = field(default_factory=list)  # of the places 0, 1, ... if not epochs


@dataclass(frozen=True)
class Apart:
    """A paper's panels beside ours, on a scale of their own: of other data, network or recipe."""

    panels: list[Panel]
    theirs: pd.DataFrame


def draw(
    panels: Sequence[Panel], own: pd.DataFrame, name: str, handles: list[Line2D], remarks: list[str], alone: bool,
    x: str = "epoch", y: str = "error (%)", ncols: int = 2, source: str = "", apart: Apart | None = None,
) -> Drawing:  # fmt: skip
    """The panels in rows of two, with the legend and what has to be said of them.

    own: the runs of the figure `name`. alone: there are none, only a paper's numbers. x, y: the
    column that the curves are drawn over, and the name of the other axis. source: of the paper's
    numbers. Raises ConfigError where there is no panel.
    """
    if not panels:
        raise experiments.none_yet(name)
    columns = 2 if len(panels) > 1 else 1
    height = 1.5 * -(-len(panels) // columns) if len(panels) > 2 else 2.0
    lacking = missing(own, name)
    with style.paper():
        if apart is None:
            figure, left = layout.new_part(height)
        else:
            ratio = columns / len(apart.panels)
            figure, left, right = layout.new_halves(height + 0.25, beside.titles(own, apart.theirs), ratio)
            _draw_panels(right, apart.panels, len(apart.panels), x, y, alone=True)
        _draw_panels(left, panels, columns, x, y, alone)
        layout.legend(
            figure, [line for line in handles if alone or line.get_label() not in _absent(panels, apart)], ncols
        )
        counts = sorted({count for panel in panels for curve in panel.curves if (count := _seeds(curve))})
        n = " to ".join(map(str, dict.fromkeys([*counts[:1], *counts[-1:]])))
        spread = f"Mean ± sd over {n} seeds." if counts and counts[-1] > 1 else ""
        protocols = beside.small_print(own, apart.theirs) if apart else ""
        said = [spread, protocols, source, "" if alone else lines.missing_text(lacking), origin.in_words(own)]
        layout.under(figure, " ".join(filter(None, said)))
    return Drawing(figure, missing=lacking, remarks=remarks, numbers=_numbers(panels, x), of=setting.filters(own))


def grey(label: str) -> Line2D:
    """The legend entry of a paper's numbers beneath ours."""
    return Line2D([], [], color=style.GREY, linestyle="--", linewidth=0.9, marker=".", label=label)


# ---------------------------------------------------------------------------- parts


def _draw_panels(part: FigureBase, panels: Sequence[Panel], columns: int, x: str, y: str, alone: bool) -> None:
    """Panels in rows on one scale: names at the edges alone."""
    axes = layout.panels(part, -(-len(panels) // columns), columns)
    heights: list[float] = []
    for place, (panel, ax) in enumerate(zip(panels, axes, strict=False)):
        heights += _draw_panel(ax, panel, x, alone)
        ax.set_title(panel.title, fontsize=7.5)
        if panel.ticks:
            ax.set_xticks(range(len(panel.ticks)), panel.ticks)
            ax.set_xlim(-0.5, len(panel.ticks) - 0.5)
            continue
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        if not any(len(curve.epochs) for own in panels for curve in own.curves):
            ax.set_xlim(left=0)  # a paper's points may begin late
        if place >= len(panels) - columns:
            ax.set_xlabel(x)
    for spare in axes[len(panels) :]:
        spare.set_axis_off()
    for place, ax in enumerate(axes):
        ax.set_ylabel(y if place % columns == 0 else "")
    _scale(axes, heights, y)


def _draw_panel(axes: Axes, panel: Panel, x: str, alone: bool) -> list[float]:
    heights: list[float] = []
    for curve in panel.curves:
        if len(curve.epochs) and curve.metric in curve.epochs:
            heights += lines.through_training(axes, curve.look, curve.epochs, x, curve.metric)
    for theirs, look in panel.theirs:
        joined = len(theirs) > 1 and not panel.ticks
        lines.paper_points(axes, theirs, "at", look, joined, alone)
        heights += [*theirs["value"]]
    return heights


def _scale(axes: list[Axes], heights: list[float], y: str) -> None:
    """One scale for all panels; an accuracy is never logarithmic."""
    if y.startswith("accuracy"):
        axes[0].set_ylim(max(0.0, min(heights, default=0) - 5), min(100.0, max(heights, default=100) + 3))
        axes[0].yaxis.set_major_locator(MaxNLocator(5))
        return
    scales.value_axis(axes[0], heights)
    for ax in axes[1:]:
        if ax.get_ylabel():
            ax.set_ylabel(axes[0].get_ylabel())


def _seeds(curve: Curve) -> int:
    """How many runs a curve is the mean of."""
    done = curve.epochs[curve.epochs["state"] == "done"]
    return int(done["path"].nunique()) if curve.metric in done else 0


def _absent(panels: Sequence[Panel], apart: Apart | None) -> set[str]:
    """The names of curves without a point in any panel."""
    ours = [(curve.look.name, len(curve.epochs)) for panel in panels for curve in panel.curves]
    of_paper = [(look.name, len(theirs)) for panel in (apart.panels if apart else []) for theirs, look in panel.theirs]
    return {name for name, _ in ours} - {name for name, count in [*ours, *of_paper] if count}


def _numbers(panels: Sequence[Panel], x: str) -> pd.DataFrame | None:
    """Where each curve ends: the mean over seeds of its last value."""
    rows = []
    for panel in panels:
        for curve in panel.curves:
            done = curve.epochs[curve.epochs["state"] == "done"]
            if len(done) and curve.metric in done:
                last = done.groupby("path")[[x, curve.metric]].last()
                ends = [f"{last[x].max():g}", f"{last[curve.metric].mean():.2f}"]
                rows.append([panel.title, curve.look.name, curve.metric, *ends])
    table = pd.DataFrame(rows, columns=["panel", "curve", "metric", f"last {x}", "mean"])
    return table.set_index("panel") if rows else None
