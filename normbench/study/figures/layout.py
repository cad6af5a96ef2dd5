"""What stands where in a figure: its axes or halves, the legend above, the small print below."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase  # without pyplot: no window, no global state
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

from normbench.study.figures.sheet import PAPER, Sheet
from normbench.study.figures.style import SMALL_PRINT
from normbench.study.read.text import as_label

SMALL_PRINT_AT = 0.02  # of the figure's width, its margin to the left and to the right


def new_axes(sheet: Sheet = PAPER, height: float = 2.5, page: bool = False) -> tuple[Figure, Axes]:
    """One plot of column width, or of a page's."""
    figure = Figure(figsize=sheet.size(height, page))
    return figure, figure.add_subplot()


def new_panels(
    sheet: Sheet, rows: int, columns: int, height: float = 2.4, one_scale: str = "xy"
) -> tuple[Figure, list[Axes]]:
    """Panels side by side in one column's width, row by row.

    one_scale: the axes, of x and y, whose scale is the same in all of them.
    """
    figure, part = new_part(sheet, height)
    return figure, panels(part, rows, columns, one_scale)


def new_part(sheet: Sheet, height: float) -> tuple[Figure, FigureBase]:
    """An empty figure of column width, and itself as the part that panels are drawn in."""
    figure = Figure(figsize=sheet.size(height))
    return figure, figure


def new_halves(
    sheet: Sheet, height: float, titles: tuple[str, str], ratio: float = 1.0
) -> tuple[Figure, FigureBase, FigureBase]:
    """Two titled halves across the page; ratio: the width of the left one to the right one's."""
    figure = Figure(figsize=sheet.size(height, page=True))
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(ratio, 1.0)).flat
    for half, title in zip((left, right), titles, strict=True):
        half.suptitle(as_label(title))
    return figure, left, right


def panels(part: FigureBase, rows: int, columns: int, one_scale: str = "xy") -> list[Axes]:
    """Panels in a figure or in a part of one, row by row."""
    return list(part.subplots(rows, columns, sharex="x" in one_scale, sharey="y" in one_scale, squeeze=False).flat)


def legend(figure: Figure, sheet: Sheet, handles: list[Line2D], ncols: int = 2) -> None:
    """Above the axes, never over a curve, in at most ncols columns; the figure grows by rows."""
    if handles:
        labels = [as_label(str(handle.get_label())) for handle in handles]
        width = figure.get_figwidth() / sheet.em
        fitting = (n for n in range(min(ncols, len(handles)), 1, -1) if _legend_width(labels, n) <= width)
        columns = next(fitting, 1)
        rows = -(-len(handles) // columns)
        figure.set_figheight(figure.get_figheight() + 0.14 * sheet.em * (rows - 1))
        figure.legend(
            handles=handles, labels=labels, loc="outside upper left", ncols=columns, handlelength=2.8, columnspacing=1.2
        )


def _legend_width(labels: list[str], columns: int) -> float:
    """In inches of a paper: a line and its spacing, and the longest label of each column."""
    rows, longer = divmod(len(labels), columns)
    sizes = [rows + (place < longer) for place in range(columns)]
    starts = [sum(sizes[:place]) for place in range(columns)]
    longest = [max(map(len, labels[start : start + size])) for start, size in zip(starts, sizes, strict=True)]
    return sum(0.48 + 0.054 * letters for letters in longest)


def _wrapped(text: str, points: float) -> list[str]:
    """The text in rows of at most so many points, as the small print is set."""
    font, rows = FontProperties(size="small"), [""]
    for word in text.split():
        longer = f"{rows[-1]} {word}".lstrip()
        width, _, _ = text_to_path.get_text_width_height_descent(longer, font, ismath=False)
        if width > points and rows[-1]:
            rows.append(word)
        else:
            rows[-1] = longer
    return rows


def finish(figure: Figure, sheet: Sheet, *said: str) -> None:
    """The last step of every figure: its small print, in lines that fit its width, and what the
    sheet asks for of all of it, the height and the thickness of lines.

    said: paragraphs, each on a line of its own.
    """
    lines = [as_label(line) for text in said for line in text.split("\n") if line.strip()]
    if lines:
        points = 72 * figure.get_figwidth() * (1 - 2 * SMALL_PRINT_AT)
        wrapped = [row for line in lines for row in _wrapped(line, points)]
        figure.set_figheight(figure.get_figheight() + 0.105 * sheet.em * len(wrapped))
        figure.supxlabel("\n".join(wrapped), x=SMALL_PRINT_AT, ha="left", fontsize="small", color=SMALL_PRINT)
    if sheet.height:
        figure.set_figheight(sheet.height)
    drawn = [line for axes in figure.axes for line in axes.lines]
    named = [line for box in figure.legends for line in box.get_lines()]
    for line in (*drawn, *named):
        line.set(
            linewidth=line.get_linewidth() * sheet.stroke,
            markersize=line.get_markersize() * sheet.stroke,
            markeredgewidth=line.get_markeredgewidth() * sheet.stroke,
        )
    for bars in (collection for axes in figure.axes for collection in axes.collections):
        bars.set_linewidth(list(np.asarray(bars.get_linewidth()) * sheet.stroke))
