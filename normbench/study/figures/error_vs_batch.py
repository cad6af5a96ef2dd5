"""Error against the images per worker: the figure that normalization layers are judged by."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from normbench.study.figures import beside, layout, lines, scales, style
from normbench.study.figures.drawing import Drawing
from normbench.study.figures.looks import Look, looks_of
from normbench.study.figures.sheet import PAPER, Sheet
from normbench.study.read import origin, published, setting, stats
from normbench.study.read.experiments import Grid
from normbench.study.read.missing import missing_cells
from normbench.study.read.stats import Cell


def draw(
    runs: pd.DataFrame, grid: Grid, paper: pd.DataFrame | None = None, apart: bool = False, sheet: Sheet = PAPER
) -> Drawing:
    """Mean and sd over seeds against batch, one curve per norm, and a paper's curves.

    apart: the paper's are of other data, network or recipe, so they stand beside ours: over the
    same batch sizes, and on a log scale of the same span, so that equal ratios are equal heights in
    both. Else they lie beneath ours.
    """
    cells = [cell for cell in stats.against_batch(runs) if cell.batch is None or cell.batch in grid.batches]
    theirs = paper if paper is not None and not paper.empty else None
    apart = apart and theirs is not None and bool(cells)
    if theirs is not None and not cells:  # the paper alone, over its own sizes
        grid = Grid(grid.norms, _sizes(theirs), grid.seeds)
    beneath = None if apart else theirs
    lacking = missing_cells(cells, grid)
    with style.paper(sheet):
        looks = looks_of(grid.norms, origin.marks(runs))
        if apart and theirs is not None:
            figure, left, right = layout.new_halves(sheet, 2.5, beside.titles(runs, theirs))
            axes, their_axes = left.add_subplot(), right.add_subplot()
            sizes = sorted({*grid.batches, *_sizes(theirs)}, reverse=True)
            handles = _draw_ours(axes, cells, grid, None, looks, sizes, "log")
            more = _draw_theirs_apart(their_axes, theirs, sizes)
            scales.same_span(axes, their_axes)
            handles += [handle for norm, handle in more.items() if all(cell.norm != norm for cell in cells)]
            of = beside.small_print(runs, theirs)
        else:
            figure, axes = layout.new_axes(sheet, 2.35)
            handles = _draw_ours(axes, cells, grid, beneath, looks, grid.batches)
            of = setting.in_words(runs if cells or theirs is None else theirs)
        layout.legend(figure, sheet, handles, ncols=5 if apart else 2)
        notes = _notes(cells, [] if theirs is not None and not cells else lacking, beneath, axes)
        layout.finish(figure, sheet, *_paragraphs([of, *notes, origin.in_words(runs)], apart))
    numbers = _numbers(cells, grid, origin.marks(runs))
    return Drawing(figure, cells, lacking, numbers=numbers)


# ---------------------------------------------------------------------------- parts of the drawing


def _draw_ours(
    axes: Axes, cells: list[Cell], grid: Grid, beneath: pd.DataFrame | None, looks: dict[str, Look],
    sizes: list[int], kind: scales.Kind | None = None,
) -> list[Line2D]:  # fmt: skip
    """Our curves over whatever lies beneath, on axes that fit both; returns the legend.

    sizes: the batches of the x axis. kind: the scale of the y axis, where it is not to be chosen.
    """
    axes.set_ylabel(scales.AXIS_LABELS[stats.METRIC])
    scales.batch_axis(axes, sizes)
    values = [] if beneath is None else list(beneath["value"])
    means = [cell.over_seeds for cell in cells]
    scales.value_axis(axes, values, means, room_above=any(cell.diverged for cell in cells), kind=kind)
    handles = []
    for norm in grid.norms:
        own = [cell for cell in cells if cell.norm == norm and cell.over_seeds.n]
        if own:
            handles.append(_draw_curve(axes, own, looks[norm], grid.batches))
    if beneath is not None:
        handles += _draw_paper(axes, beneath, alone=not cells)
    _mark_diverged(axes, cells, grid.batches, looks)
    return handles


def _draw_theirs_apart(axes: Axes, theirs: pd.DataFrame, sizes: list[int]) -> dict[str, Line2D]:
    """A paper's curves on axes of their own; returns one legend entry per norm."""
    axes.set_ylabel(scales.AXIS_LABELS[stats.METRIC])
    scales.batch_axis(axes, sizes)
    scales.value_axis(axes, list(theirs["value"]), kind="log")
    handles = _draw_paper(axes, theirs, alone=True)
    return dict(zip(dict.fromkeys(theirs["norm"]), handles, strict=True))


def _sizes(theirs: pd.DataFrame) -> list[int]:
    return sorted({int(batch) for batch in theirs["batch"]}, reverse=True)


def _draw_curve(axes: Axes, own: list[Cell], look: Look, batches: list[int]) -> Line2D:
    """One norm: points with their sd; of a batch-free norm a level with a band across."""
    at = {cell.batch: cell.over_seeds for cell in own}
    found = list(at.values())
    if None in at:
        lines.level(axes, look, at.pop(None), batches)
    if at:
        lines.points(axes, look, {float(batch): summary for batch, summary in at.items() if batch}, batches)
    return lines.handle(look, lines.seeds(look.name if at else f"{look.name}, any batch", found))


def _draw_paper(axes: Axes, paper: pd.DataFrame, alone: bool) -> list[Line2D]:
    """The paper's curves: thin, dashed and grey beneath ours; coloured where they are alone."""
    looks = looks_of(list(dict.fromkeys(paper["norm"])))
    for norm, look in looks.items():
        lines.paper_curve(axes, paper[paper["norm"] == norm], _sizes(paper), look, alone)
    citation = published.CITATIONS[paper["paper"].iloc[0]]
    shown = {"linestyle": "--", "linewidth": 0.9, "markersize": 3.5}
    if not alone:
        return [Line2D([], [], color=style.GREY, label=citation, **shown)]  # type: ignore[arg-type]
    handles = []
    for norm, look in looks.items():
        face = "white" if published.recalled(paper[paper["norm"] == norm]) else look.color
        own = {"color": look.color, "marker": look.marker, "markerfacecolor": face, "label": f"{look.name}, {citation}"}
        handles.append(Line2D([], [], **own, **shown))  # type: ignore[arg-type]
    return handles


def _mark_diverged(axes: Axes, cells: list[Cell], batches: list[int], looks: dict[str, Look]) -> None:
    """A cross on the upper edge where runs diverged; their error has no place on the scale."""
    place = axes.get_xaxis_transform()
    for row, cell in enumerate(cell for cell in cells if cell.diverged):
        look = looks[cell.norm]
        for batch in batches if cell.batch is None else [cell.batch]:
            lines.diverged(axes, look, batch)
        text = f"{cell.diverged} of {cell.finished} diverged" if cell.over_seeds.n else "diverged"
        at = min(batches) if cell.batch is None else cell.batch
        inwards = 1 if at == max(batches) else -1  # the largest batch stands at the left edge
        axes.annotate(
            text, (at, 1.0), (5 * inwards, 7 * row), place, "offset points", ha="left" if inwards == 1 else "right",
            va="center", fontsize="small", color=look.color, annotation_clip=False,
        )  # fmt: skip


def _notes(cells: list[Cell], lacking: list[str], theirs: pd.DataFrame | None, axes: Axes) -> list[str]:
    """What a reader of the figure alone has to know."""
    said = [lines.spread_text([cell.over_seeds for cell in cells], axes.get_yscale() == "log")]
    if theirs is not None and published.recalled(theirs):
        said.append(beside.RECALLED)
    said.append(lines.missing_text(lacking))
    return [text for text in said if text]


def _paragraphs(said: list[str], wide: bool) -> list[str]:
    """A line each; one after the other in a wide figure, where most are short."""
    return [" ".join(filter(None, said))] if wide else said


def _numbers(cells: list[Cell], grid: Grid, marks: dict[str, str]) -> pd.DataFrame | None:
    """One row per batch size, one column per norm; what serves every batch stands in every row."""
    if not cells:
        return None
    texts = {(cell.norm, cell.batch): stats.in_words(cell) for cell in cells}
    norms = [norm for norm in grid.norms if any(cell.norm == norm for cell in cells)]
    batches: list[int | None] = [*sorted({cell.batch for cell in cells if cell.batch}, reverse=True)] or [None]
    rows = [[texts.get((norm, batch), texts.get((norm, None), "missing")) for norm in norms] for batch in batches]
    index = pd.Index([str(batch or "any") for batch in batches], name="images per worker")
    return pd.DataFrame(rows, index=index, columns=[norm + marks.get(norm, "") for norm in norms])
