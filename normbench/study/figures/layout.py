"""What stands where in a figure: its axes or halves, the legend above, the small print below."""

import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase  # without pyplot: no window, no global state
from matplotlib.lines import Line2D

from normbench.study.figures.style import COLUMN_WIDTH, PAGE_WIDTH, SMALL_PRINT
from normbench.study.read.text import as_label


def new_axes(height: float = 2.5) -> tuple[Figure, Axes]:
    """One plot of column width."""
    figure = Figure(figsize=(COLUMN_WIDTH, height))
    return figure, figure.add_subplot()


def new_panels(rows: int, columns: int, height: float = 2.4, one_scale: str = "xy") -> tuple[Figure, list[Axes]]:
    """Panels side by side in one column's width, row by row.

    one_scale: the axes, of x and y, whose scale is the same in all of them.
    """
    figure, part = new_part(height)
    return figure, panels(part, rows, columns, one_scale)


def new_part(height: float) -> tuple[Figure, FigureBase]:
    """An empty figure of column width, and itself as the part that panels are drawn in."""
    figure = Figure(figsize=(COLUMN_WIDTH, height))
    return figure, figure


def new_halves(height: float, titles: tuple[str, str], ratio: float = 1.0) -> tuple[Figure, FigureBase, FigureBase]:
    """Two titled halves across the page; ratio: the width of the left one to the right one's."""
    figure = Figure(figsize=(PAGE_WIDTH, height))
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(ratio, 1.0)).flat
    for half, title in zip((left, right), titles, strict=True):
        half.suptitle(as_label(title), fontsize=8)
    return figure, left, right


def panels(part: FigureBase, rows: int, columns: int, one_scale: str = "xy") -> list[Axes]:
    """Panels in a figure or in a part of one, row by row."""
    return list(part.subplots(rows, columns, sharex="x" in one_scale, sharey="y" in one_scale, squeeze=False).flat)


def legend(figure: Figure, handles: list[Line2D], ncols: int = 2) -> None:
    """Above the axes, never over a curve, in at most ncols columns; the figure grows by rows."""
    if handles:
        labels = [as_label(str(handle.get_label())) for handle in handles]
        width = figure.get_figwidth()
        fitting = (n for n in range(min(ncols, len(handles)), 1, -1) if _legend_width(labels, n) <= width)
        columns = next(fitting, 1)
        figure.set_figheight(figure.get_figheight() + 0.14 * (-(-len(handles) // columns) - 1))
        figure.legend(
            handles=handles, labels=labels, loc="outside upper left", ncols=columns, handlelength=2.8, columnspacing=1.2
        )


def _legend_width(labels: list[str], columns: int) -> float:
    """In inches: a line and its spacing, and the letters of the longest label of each column."""
    rows, longer = divmod(len(labels), columns)
    sizes = [rows + (place < longer) for place in range(columns)]
    starts = [sum(sizes[:place]) for place in range(columns)]
    longest = [max(map(len, labels[start : start + size])) for start, size in zip(starts, sizes, strict=True)]
    return sum(0.48 + 0.054 * letters for letters in longest)


def under(figure: Figure, text: str) -> None:
    """Small print below a figure, in lines that fit its width."""
    text = "\n".join(map(as_label, text.split("\n")))
    if text.strip():
        letters = int(23 * figure.get_figwidth())
        wide = "\n".join(line for part in text.split("\n") for line in textwrap.wrap(part, letters))
        figure.set_figheight(figure.get_figheight() + 0.1 * (wide.count("\n") + 1))
        figure.supxlabel(wide, x=0.02, ha="left", fontsize=6, color=SMALL_PRINT)
