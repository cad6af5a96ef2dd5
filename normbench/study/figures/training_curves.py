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
from normbench.study.figures.sheet import PAPER, Sheet
from normbench.study.read import experiments, origin, overrides, setting
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
    sheet: Sheet = PAPER,
) -> Drawing:  # fmt: skip
    """The panels in rows of two, with the legend and what has to be said of them.

    own: the runs of the figure `name`. alone: there are none, only a paper's numbers. x, y: the
    column that the curves are drawn over, and the name of the other axis. source: of the paper's
    numbers. Where theirs stand apart, both halves have one kind of scale and one span. Raises
    ConfigError where there is no panel.
    """
    if not panels:
        raise experiments.none_yet(name)
    columns = 2 if len(panels) > 1 else 1
    height = 1.5 * -(-len(panels) // columns) if len(panels) > 2 else 2.0
    lacking = missing(own, name)
    with style.paper(sheet):
        if apart is None:
            figure, left = layout.new_part(sheet, height)
            axes = _draw_panels(left, panels, columns, x, y, alone)
            of = setting.in_words(_theirs(panels) if alone else own)
        else:
            ratio = columns / len(apart.panels)
            figure, left, right = layout.new_halves(sheet, height + 0.25, beside.titles(own, apart.theirs), ratio)
            kind = _one_kind(panels, apart, x, y)
            axes = _draw_panels(left, panels, columns, x, y, alone, kind)
            scales.same_span(axes[0], _draw_panels(right, apart.panels, len(apart.panels), x, y, True, kind)[0])
            of = beside.small_print(own, apart.theirs)
        absent = set() if alone else _absent(panels, apart)
        layout.legend(figure, sheet, [line for line in handles if line.get_label() not in absent], ncols)
        said = [
            of,
            _spread_text(panels, axes[0].get_yscale() == "log"),
            source,
            "" if alone else lines.missing_text(lacking),
        ]
        layout.finish(figure, sheet, " ".join(filter(None, [*said, origin.in_words(own)])))
    return Drawing(
        figure, missing=lacking, remarks=remarks, numbers=_numbers(panels, x), of=overrides.beside(name, own)
    )


def grey(label: str) -> Line2D:
    """The legend entry of a paper's numbers beneath ours."""
    return Line2D([], [], color=style.GREY, linestyle="--", linewidth=0.9, marker=".", label=label)


# ---------------------------------------------------------------------------- parts


def _draw_panels(
    part: FigureBase, panels: Sequence[Panel], columns: int, x: str, y: str, alone: bool,
    kind: scales.Kind | None = None,
) -> list[Axes]:  # fmt: skip
    """Panels in rows on one scale: names at the edges alone."""
    axes = layout.panels(part, -(-len(panels) // columns), columns)
    axes[0].set_ylabel(y)
    _scale(axes[0], _heights(panels, x), y, kind)
    for place, ax in enumerate(axes):
        ax.set_ylabel("" if place % columns else axes[0].get_ylabel())
    for place, (panel, ax) in enumerate(zip(panels, axes, strict=False)):
        _draw_panel(ax, panel, x, alone)
        ax.set_title(panel.title)
        if panel.ticks:
            ax.set_xticks(range(len(panel.ticks)), panel.ticks)
            ax.set_xlim(-0.5, len(panel.ticks) - 0.5)
            continue
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        if not any(len(curve.epochs) for own in panels for curve in own.curves):
            ax.set_xlim(left=0)  # a paper's points may begin late
        if place >= len(panels) - columns:  # the lowest of its column, in the last row or not
            ax.set_xlabel(x)
            ax.tick_params(labelbottom=True)
    for spare in axes[len(panels) :]:
        spare.set_axis_off()
    return axes


def _draw_panel(axes: Axes, panel: Panel, x: str, alone: bool) -> None:
    for curve in _drawable(panel):
        lines.through_training(axes, curve.look, curve.epochs, x, curve.metric)
    for theirs, look in panel.theirs:
        joined = len(theirs) > 1 and not panel.ticks
        lines.paper_points(axes, theirs, "at", look, joined, alone)


def _drawable(panel: Panel) -> list[Curve]:
    return [curve for curve in panel.curves if len(curve.epochs) and curve.metric in curve.epochs]


def _heights(panels: Sequence[Panel], x: str) -> list[float]:
    """All that a scale of these panels has to hold."""
    ours = [h for p in panels for curve in _drawable(p) for h in lines.heights(curve.epochs, x, curve.metric)]
    return [*ours, *(value for panel in panels for theirs, _ in panel.theirs for value in theirs["value"])]


def _scale(axes: Axes, heights: list[float], y: str, kind: scales.Kind | None) -> None:
    """An accuracy is never logarithmic."""
    if y.startswith("accuracy"):
        axes.set_ylim(max(0.0, min(heights, default=0) - 5), min(100.0, max(heights, default=100) + 3))
        axes.yaxis.set_major_locator(MaxNLocator(5))
    else:
        scales.value_axis(axes, heights, kind=kind)


def _one_kind(panels: Sequence[Panel], apart: Apart, x: str, y: str) -> scales.Kind:
    """Logarithmic for both halves where it is for one of them."""
    sides = [[h for h in _heights(side, x) if h > 0] for side in (panels, apart.panels)]
    wide = any(max(side) > scales.WIDE * min(side) for side in sides if side)
    return "log" if wide and not y.startswith("accuracy") else "linear"


def _theirs(panels: Sequence[Panel]) -> pd.DataFrame:
    """The paper's numbers in some panels."""
    return pd.concat([theirs for panel in panels for theirs, _ in panel.theirs])


def _spread_text(panels: Sequence[Panel], log: bool) -> str:
    counts = sorted({count for panel in panels for curve in panel.curves if (count := _seeds(curve))})
    n = " to ".join(map(str, dict.fromkeys([*counts[:1], *counts[-1:]])))
    several = f"Mean ± sd over {n} seeds{', no band below the least of them' if log else ''}."
    alone = "A line without a band: a single seed."
    return " ".join([several] * (bool(counts) and counts[-1] > 1) + [alone] * (1 in counts))


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
