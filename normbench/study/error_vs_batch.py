"""Error against the images per worker: the figure that normalization layers are judged by."""

import math
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from normbench.study import published, stats, style
from normbench.study.stats import Cell


@dataclass(frozen=True)
class Grid:
    """The cells that a figure wants: those of its experiment, and whatever else is on disk."""

    norms: list[str]
    batches: list[int]  # largest first
    seeds: list[int]


@dataclass(frozen=True)
class Drawn:
    """A figure with the numbers behind it."""

    figure: Figure
    cells: list[Cell]
    missing: list[str] = field(default_factory=list)  # one entry a cell, in words
    remarks: list[str] = field(default_factory=list)  # what else a reader of the numbers has to know


def draw(runs: pd.DataFrame, grid: Grid, paper: pd.DataFrame | None = None, metric: str = stats.METRIC) -> Drawn:
    """Mean and sd over seeds against batch, a curve a norm; a paper's curves beneath; the diverged off-scale."""
    cells = stats.against_batch(runs, metric)
    theirs = paper if paper is not None and not paper.empty else None
    looks = style.looks(grid.norms)
    named = {norm: look.name for norm, look in looks.items()}
    with style.paper():
        figure, axes = style.new_axes()
        axes.set_ylabel(style.AXIS_LABELS.get(metric, metric))
        style.batch_axis(axes, grid.batches)
        handles = []
        for norm in grid.norms:
            own = [cell for cell in cells if cell.norm == norm and cell.over_seeds.n]
            if own:
                handles.append(_draw_curve(axes, own, looks[norm], grid.batches))
        if theirs is not None:
            handles += _draw_paper(axes, theirs, alone=not cells)
        values = _values(cells) + ([] if theirs is None else list(theirs["value"]))
        style.value_axis(axes, values, room_above=any(cell.diverged for cell in cells))
        _mark_diverged(axes, cells, grid.batches, looks)
        if handles:  # above the axes: never over a curve
            figure.legend(handles=handles, loc="outside upper left", ncols=2, handlelength=2.6, columnspacing=1.4)
        only_theirs = theirs is not None and not cells
        style.note(axes, _notes(cells, [] if only_theirs else missing(cells, grid, named)))
    return Drawn(figure, cells, missing(cells, grid))


def missing(cells: list[Cell], grid: Grid, named: dict[str, str] | None = None) -> list[str]:
    """Wanted cells with fewer finished seeds than wanted, in words."""
    found = []
    have = {(cell.norm, cell.batch): cell for cell in cells}
    for norm in grid.norms:
        name = (named or {}).get(norm, norm)
        free = (norm, None) in have
        for batch in [None] if free else grid.batches:
            cell = have.get((norm, batch))
            finished = cell.finished if cell else 0
            if finished >= len(grid.seeds):
                continue
            seeds = f"{finished} of {len(grid.seeds)} seeds" if finished else ""
            unfinished = f"{cell.unfinished} unfinished" if cell and cell.unfinished else ""
            details = ", ".join(filter(None, (seeds, unfinished)))
            found.append((name if free else f"{name} at {batch}") + (f" ({details})" if details else ""))
    return found


# ---------------------------------------------------------------------------- parts of the drawing


def _draw_curve(axes: Axes, own: list[Cell], look: style.Look, batches: list[int]) -> Line2D:
    """One norm: points with their sd, or for a batch-free norm a level with a band across every batch."""
    at = {cell.batch: cell.over_seeds for cell in own}
    if None in at:
        level = at.pop(None)
        axes.axhline(level.mean, color=look.color, linestyle=look.line, zorder=3)
        if level.n > 1:
            low, high = level.mean - level.sd, level.mean + level.sd
            axes.axhspan(low, high, color=look.color, alpha=0.18, linewidth=0, zorder=2)
    if at:
        # a hole in the grid stays a hole: no line across it
        points = [at.get(batch, stats.summarise([])) for batch in batches]
        axes.errorbar(
            batches, [p.mean for p in points], yerr=[0.0 if math.isnan(p.sd) else p.sd for p in points],
            color=look.color, linestyle=look.line, marker=look.marker, markeredgecolor="white", markeredgewidth=0.5,
            elinewidth=0.9, capsize=2, zorder=4,
        )  # fmt: skip
    seeds = sorted({cell.over_seeds.n for cell in own})
    n = f"n = {seeds[0]}" if len(seeds) == 1 else f"n = {seeds[0]} to {seeds[-1]}"
    label = f"{look.name} ({n})" if at else f"{look.name}, any batch ({n})"
    return Line2D([], [], color=look.color, linestyle=look.line, marker=look.marker if at else "", label=label)


def _draw_paper(axes: Axes, paper: pd.DataFrame, alone: bool) -> list[Line2D]:
    """The paper's curves: thin, dashed and grey beneath ours; in the norms' colours where there is nothing of ours."""
    looks = style.looks(sorted(set(paper["norm"])))
    citation = published.CITATIONS[paper["paper"].iloc[0]]
    handles = []
    for norm, look in looks.items():
        own = paper[paper["norm"] == norm]
        color = look.color if alone else style.GREY
        face = "white" if (own["read"] == "recalled").any() else color  # hollow: from memory
        (line,) = axes.plot(
            own["batch"].astype(int).to_list(), own["value"].to_list(), color=color, linestyle="--", linewidth=0.9,
            marker=look.marker, markersize=3.5, markerfacecolor=face, zorder=1.5, label=f"{look.name}, {citation}",
        )  # fmt: skip
        handles.append(line)
    return handles if alone else [Line2D([], [], color=style.GREY, linestyle="--", linewidth=0.9, label=citation)]


def _mark_diverged(axes: Axes, cells: list[Cell], batches: list[int], looks: dict[str, style.Look]) -> None:
    """A cross on the upper edge where runs diverged; their error has no place on the scale."""
    place = axes.get_xaxis_transform()
    for row, cell in enumerate(cell for cell in cells if cell.diverged):
        color = looks[cell.norm].color
        for batch in batches if cell.batch is None else [cell.batch]:
            axes.plot(batch, 1.0, "x", color=color, transform=place, clip_on=False, markersize=5, markeredgewidth=1.4)
        text = f"{cell.diverged} of {cell.finished} diverged" if cell.over_seeds.n else "diverged"
        at = min(batches) if cell.batch is None else cell.batch
        inwards = 1 if at == max(batches) else -1  # the largest batch stands at the left edge
        axes.annotate(
            text, (at, 1.0), (5 * inwards, 7 * row), place, "offset points", ha="left" if inwards == 1 else "right",
            va="center", fontsize=6, color=color, annotation_clip=False,
        )  # fmt: skip


def _values(cells: list[Cell]) -> list[float]:
    """All heights that are drawn, ends of the error bars included."""
    found = [cell.over_seeds for cell in cells if cell.over_seeds.n]
    spreads = [0.0 if math.isnan(s.sd) else s.sd for s in found]
    return [s.mean + sign * spread for s, spread in zip(found, spreads, strict=True) for sign in (-1, 1)]


def _notes(cells: list[Cell], lacking: list[str]) -> str:
    """What a reader of the figure alone has to know."""
    lines = []
    if any(cell.over_seeds.n > 1 for cell in cells):
        lines.append("Mean ± sd over n seeds.")
    if lacking:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        lines.append(f"Missing: {', '.join(lacking[:3])}{more}.")
    return "\n".join(lines)
