"""How every figure looks, and how it is written: the same records give the same bytes."""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure, FigureBase  # without pyplot: no window, no global state
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

COLUMN_WIDTH = 3.4  # inches: one column of a two-column paper
PAGE_WIDTH = 6.9  # and both
GREY = "#8c8c8c"  # of what is not ours: the papers' curves
SMALL_PRINT = "#6b6b6b"


LineStyle = Literal["", "-", "--", ":"] | tuple[float, Sequence[float]]  # matplotlib's


@dataclass(frozen=True)
class Look:
    """A norm is told by colour, marker and line style at once, so that print and colour-blind eyes lose nothing."""

    color: str
    marker: str
    line: LineStyle
    name: str  # as written in a legend


# Okabe & Ito's colours. BN blue, GN red as in the GN paper.
_BLUE, _RED, _GREEN, _ORANGE = "#0072b2", "#d55e00", "#009e73", "#e69f00"
_SKY, _PURPLE, _BLACK, _YELLOW = "#56b4e9", "#cc79a7", "#000000", "#b5a600"  # their yellow is too light for a line
_SOLID: LineStyle = "-"
_DOT: LineStyle = ":"
_DASH = (0, (4.0, 1.5))
_LONG, _DOTDASH, _SHORT = (0, (7.0, 2.0)), (0, (5.0, 1.5, 1.0, 1.5)), (0, (1.8, 1.2))

# A family shares a colour; marker and line tell its members apart.
_LOOKS = {
    "bn": Look(_BLUE, "o", _SOLID, "BN"),
    "gn": Look(_RED, "s", _SOLID, "GN"),
    "ln": Look(_GREEN, "^", _LONG, "LN"),
    "in": Look(_PURPLE, "v", _DOTDASH, "IN"),
    "syncbn": Look(_SKY, ">", _LONG, "SyncBN"),
    "frozen": Look(_SKY, "P", _DOT, "frozen BN"),
    "none": Look(_BLACK, "x", _DOT, "no norm"),
    "brn": Look(_ORANGE, "D", _DASH, "Batch Renorm"),
    "cbn": Look(_BLACK, "*", _SOLID, "CBN"),
    "cbn_naive": Look(_SKY, "X", _SHORT, "naive CBN"),
    "cmbn": Look(_BLACK, "p", _DOTDASH, "CmBN"),
    "mabn": Look(_PURPLE, "h", _SOLID, "MABN"),
    "powernorm": Look(_PURPLE, "<", _DOT, "PowerNorm"),
    "frn": Look(_GREEN, "P", _DOTDASH, "FRN"),
    "evonorm_b0": Look(_YELLOW, "<", _SHORT, "EvoNorm-B0"),
    "evonorm_s0": Look(_YELLOW, "d", _SOLID, "EvoNorm-S0"),
    "sn": Look(_ORANGE, "p", _SOLID, "Switchable"),
    "bcn": Look(_SKY, "H", _SOLID, "BCN"),
    "bgn": Look(_RED, "h", _DOTDASH, "Batch Group"),
    "group_batch": Look(_RED, "X", _DASH, "group batch"),
    "ebn": Look(_BLUE, "d", _DOTDASH, "Extended BN"),
    "bn_ws": Look(_BLUE, "8", _DASH, "BN + WS"),
    "gn_ws": Look(_RED, "8", _SHORT, "GN + WS"),
    "ln_ws": Look(_GREEN, "<", _SHORT, "LN + WS"),
    "in_ws": Look(_PURPLE, ">", _SHORT, "IN + WS"),
    "wn": Look(_ORANGE, ">", _DOT, "Weight Norm"),
    "scn": Look(_YELLOW, "8", _LONG, "scaled WS"),
    "lrn": Look(_BLACK, "1", _LONG, "LRN"),
}
_SPARE_COLORS = (_GREEN, _ORANGE, _PURPLE, _SKY, _YELLOW, _BLACK)
_SPARE_MARKERS = ("p", ">", "<", "H", "8", "1", "2")
_SHADE_MARKERS = ("o", "s", "^", "D", "v", "P")
_SHADE_LINES: tuple[LineStyle, ...] = (_SOLID, _DASH, _DOTDASH, _SHORT, _DOT, _LONG)


def shades(names: list[str]) -> list[Look]:
    """Looks of things in an order, from dark to light, an order that print keeps: batch sizes, percentiles."""
    scale = matplotlib.colormaps["cividis"]
    colors = [to_hex(scale(0.8 * i / max(len(names) - 1, 1))) for i in range(len(names))]  # its yellow end is too pale
    n = len(_SHADE_LINES)
    return [
        Look(color, _SHADE_MARKERS[i % n], _SHADE_LINES[i % n], name)
        for i, (color, name) in enumerate(zip(colors, names, strict=True))
    ]


def looks(labels: list[str]) -> dict[str, Look]:
    """The look of each norm label. A label without one of its own (gn-groups8, a new norm) gets a spare, by its place
    among the labels in alphabetical order."""
    found: dict[str, Look] = {}
    strangers = sorted({label for label in labels if label not in _LOOKS})
    for place, label in enumerate(strangers):
        name, _, options = label.partition("-")
        known = _LOOKS[name].name if name in _LOOKS else name
        color = _SPARE_COLORS[place % len(_SPARE_COLORS)]
        marker = _SPARE_MARKERS[place % len(_SPARE_MARKERS)]
        found[label] = Look(color, marker, _DOTDASH, f"{known} {options}".strip())
    return {label: _LOOKS[label] if label in _LOOKS else found[label] for label in labels}


@contextmanager
def paper() -> Iterator[None]:
    """Matplotlib set for a paper's column, whatever the user's own settings are."""
    settings: dict[Any, Any] = {
        "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
        "font.size": 7.5,
        "axes.labelsize": 8,
        "legend.fontsize": 7,
        "xtick.labelsize": 7.5,
        "ytick.labelsize": 7.5,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "grid.color": "#e6e6e6",
        "grid.linewidth": 0.5,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "lines.linewidth": 1.4,
        "lines.markersize": 4.5,
        "legend.frameon": False,
        "figure.constrained_layout.use": True,
        "pdf.fonttype": 42,  # TrueType: what publishers take
        "svg.fonttype": "path",
        "svg.hashsalt": "normbench",
    }
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield


def new_axes(height: float = 2.5) -> tuple[Figure, Axes]:
    """One plot of column width."""
    figure = Figure(figsize=(COLUMN_WIDTH, height))
    return figure, figure.add_subplot()


def new_panels(rows: int, columns: int, height: float = 2.4, share: str = "xy") -> tuple[Figure, list[Axes]]:
    """Panels side by side in one column's width, row by row; share: the axes that have one scale for all."""
    figure, part = new_part(height)
    return figure, panels(part, rows, columns, share)


def new_part(height: float) -> tuple[Figure, FigureBase]:
    """An empty figure of column width, and itself as the part that panels are drawn in."""
    figure = Figure(figsize=(COLUMN_WIDTH, height))
    return figure, figure


def new_halves(height: float, titles: tuple[str, str], ratio: float = 1.0) -> tuple[Figure, FigureBase, FigureBase]:
    """Two titled halves across the page, to hold panels; ratio: the left one's width to the right one's."""
    figure = Figure(figsize=(PAGE_WIDTH, height))
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(ratio, 1.0)).flat
    for half, title in zip((left, right), titles, strict=True):
        half.suptitle(title, fontsize=8)
    return figure, left, right


def panels(part: FigureBase, rows: int, columns: int, share: str = "xy") -> list[Axes]:
    """Panels in a figure or in a part of one, row by row."""
    return list(part.subplots(rows, columns, sharex="x" in share, sharey="y" in share, squeeze=False).flat)


def legend(figure: Figure, handles: list[Line2D], ncols: int = 2) -> None:
    """Above the axes: never over a curve. As many columns as fit, at most ncols; the figure grows by the rows."""
    if handles:
        labels = [str(handle.get_label()) for handle in handles]
        width = figure.get_figwidth()
        fitting = (n for n in range(min(ncols, len(handles)), 1, -1) if _legend_width(labels, n) <= width)
        columns = next(fitting, 1)
        figure.set_figheight(figure.get_figheight() + 0.14 * (-(-len(handles) // columns) - 1))
        figure.legend(handles=handles, loc="outside upper left", ncols=columns, handlelength=2.8, columnspacing=1.2)


def _legend_width(labels: list[str], columns: int) -> float:
    """In inches: a line and its spacing, and the letters of the longest label of each column."""
    rows, longer = divmod(len(labels), columns)
    sizes = [rows + (place < longer) for place in range(columns)]
    starts = [sum(sizes[:place]) for place in range(columns)]
    longest = [max(map(len, labels[start : start + size])) for start, size in zip(starts, sizes, strict=True)]
    return sum(0.48 + 0.054 * letters for letters in longest)


def under(figure: Figure, text: str) -> None:
    """Small print below a figure, in lines that fit its width."""
    if text.strip():
        letters = int(23 * figure.get_figwidth())
        wide = "\n".join(line for part in text.split("\n") for line in textwrap.wrap(part, letters))
        figure.set_figheight(figure.get_figheight() + 0.1 * (wide.count("\n") + 1))
        figure.supxlabel(wide, x=0.02, ha="left", fontsize=6, color=SMALL_PRINT)


def empty(text: str) -> Figure:
    """A figure of which nothing can be drawn yet says so."""
    with paper():
        figure, axes = new_axes(1.0)
        axes.set_axis_off()
        axes.text(0.5, 0.5, "\n".join(textwrap.wrap(text, 60)), ha="center", va="center", color=SMALL_PRINT)
    return figure


def settle(figure: Figure) -> None:
    """Lays a figure out for good, in round numbers.

    The solver behind the layout takes its unknowns in the order of their addresses in memory, so the last bits of a
    position differ from process to process, and an SVG names its clip paths after all of them.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for part in figure.subfigs:
        box = part.bbox_relative
        box.p0, box.p1 = np.round(box.p0, 9), np.round(box.p1, 9)
    for axes in figure.axes:
        axes.set_position(Bbox(np.round(axes.get_position().get_points(), 9)))


def save(figure: Figure, stem: Path) -> list[Path]:
    """Writes <stem>.svg, .png and .pdf without a date, so that the bytes follow from the records alone."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    undated = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}, "pdf": {"CreationDate": None}}
    written = []
    with paper():  # the salt and the fonts are read on saving
        settle(figure)
        for kind, metadata in undated.items():
            path = stem.with_name(f"{stem.name}.{kind}")
            figure.savefig(path, dpi=300, metadata=metadata)
            written.append(path)
    return written
