"""The style of every figure, and how it is written: the same records give the same bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

COLUMN_WIDTH = 3.4  # inches: one column of a two-column paper
PAGE_WIDTH = 6.9  # and both
GREY = "#8c8c8c"  # of what is not ours: the papers' curves
SMALL_PRINT = "#6b6b6b"


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


def settle(figure: Figure) -> None:
    """Lays a figure out for good, in round numbers.

    The solver behind the layout takes its unknowns in the order of their addresses in memory, so
    the last bits of a position differ from process to process, and with them an SVG's clip paths.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for part in figure.subfigs:
        box = part.bbox_relative
        box.p0, box.p1 = np.round(box.p0, 9), np.round(box.p1, 9)
    for axes in figure.axes:
        axes.set_position(Bbox(np.round(axes.get_position().get_points(), 9)))


def save(figure: Figure, stem: Path) -> list[Path]:
    """Writes <stem>.svg, .png and .pdf, undated: their bytes follow from the records alone."""
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
