"""How every figure looks, and how it is written: the same records give the same bytes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # without pyplot: no window, no global state
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

COLUMN_WIDTH = 3.4  # inches: one column of a two-column paper
GREY = "#8c8c8c"  # of what is not ours: the papers' curves, notes

AXIS_LABELS = {"top1_error_pct": "top-1 error (%)"}


LineStyle = Literal["-", "--", ":"] | tuple[float, Sequence[float]]  # matplotlib's


@dataclass(frozen=True)
class Look:
    """A norm is told by colour, marker and line style at once, so that print and colour-blind eyes lose nothing."""

    color: str
    marker: str
    line: LineStyle
    name: str  # as written in a legend


# Okabe & Ito's colours. BN blue, GN red as in the GN paper.
_BLUE, _RED, _GREEN, _ORANGE = "#0072b2", "#d55e00", "#009e73", "#e69f00"
_SKY, _PURPLE, _BLACK, _YELLOW = "#56b4e9", "#cc79a7", "#000000", "#c9b900"  # their yellow is too light for a line
_LONG, _DOTDASH = (0, (6.0, 2.0)), (0, (5.0, 1.5, 1.0, 1.5))

_LOOKS = {
    "bn": Look(_BLUE, "o", "-", "BN"),
    "gn": Look(_RED, "s", "-", "GN"),
    "ln": Look(_GREEN, "^", _LONG, "LN"),
    "in": Look(_PURPLE, "v", _DOTDASH, "IN"),
    "syncbn": Look(_SKY, "D", _LONG, "SyncBN"),
    "frozen": Look(_SKY, "P", ":", "frozen BN"),
    "none": Look(_BLACK, "x", ":", "no norm"),
    "brn": Look(_ORANGE, "D", "-", "Batch Renorm"),
    "cbn": Look(_BLACK, "*", "-", "CBN"),
    "mabn": Look(_PURPLE, "h", "-", "MABN"),
    "frn": Look(_GREEN, "P", "-", "FRN"),
    "ws": Look(_YELLOW, "X", "-", "WS"),
    "evonorm": Look(_YELLOW, "d", "-", "EvoNorm"),
}
_SPARE_COLORS = (_GREEN, _ORANGE, _PURPLE, _SKY, _YELLOW, _BLACK)
_SPARE_MARKERS = ("<", ">", "p", "H", "8", "1", "2")


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


def value_axis(axes: Axes, values: list[float], room_above: bool = False) -> None:
    """The y axis: linear as in the papers, or logarithmic where one blow-up would press all else into a line.

    On a log scale equal ratios of error are equal heights, so 7 against 8 % and 7 against 33 % can both be read.
    """
    values = [value for value in values if value > 0]
    if values and max(values) > 2.5 * min(values):
        axes.set_yscale("log")
        low, high = min(values) / 1.12, max(values) * (1.35 if room_above else 1.12)
        axes.set_ylim(low, high)
        ticks = [lead * 10.0**power for power in range(-2, 3) for lead in (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)]
        axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_ylabel(f"{axes.get_ylabel()}, log scale")
    elif values:
        margin = max(0.05 * (max(values) - min(values)), 0.1)
        axes.set_ylim(min(values) - margin, max(values) + margin * (3 if room_above else 1))
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))


def note(axes: Axes, text: str) -> None:
    """Small print below the x axis."""
    if text:
        below = (0, -31)  # points, under the axis label
        axes.annotate(text, (0, 0), below, "axes fraction", "offset points", va="top", fontsize=6, color=GREY)


def batch_axis(axes: Axes, batches: list[int]) -> None:
    """The x axis of the GN paper: log2, and decreasing to the right."""
    axes.set_xscale("log", base=2)
    axes.set_xlim(max(batches) * 1.2, min(batches) / 1.2)
    axes.xaxis.set_major_locator(FixedLocator([float(batch) for batch in batches]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("batch size (images per worker)")


def save(figure: Figure, stem: Path) -> list[Path]:
    """Writes <stem>.svg, .png and .pdf without a date, so that the bytes follow from the records alone."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    undated = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}, "pdf": {"CreationDate": None}}
    written = []
    with paper():  # the salt and the fonts are read on saving
        for kind, metadata in undated.items():
            path = stem.with_name(f"{stem.name}.{kind}")
            figure.savefig(path, dpi=300, metadata=metadata)
            written.append(path)
    return written
