"""The style of every figure, and how it is written: the same records give the same bytes."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from normbench.config import ConfigError
from normbench.study.figures.sheet import PAPER, STYLES, Sheet

COLUMN_WIDTH = STYLES["paper"].column  # inches: one column of a two-column paper
PAGE_WIDTH = STYLES["paper"].page  # and both
GREY = "#8c8c8c"  # of what is not ours: the papers' curves
SMALL_PRINT = "#6b6b6b"
# The files of a figure, undated: their bytes follow from the records alone.
FORMATS: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
}


@contextmanager
def paper(sheet: Sheet = PAPER) -> Iterator[None]:
    """Matplotlib set for a sheet, whatever the user's own settings are.

    Within it sizes of letters are matplotlib's words: small is five sixths of the sheet's letters.
    """
    thin = 0.6 * sheet.stroke
    settings: dict[Any, Any] = {
        "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
        "font.size": sheet.letters,
        "axes.labelsize": "medium",
        "axes.titlesize": "medium",
        "figure.titlesize": "medium",
        "legend.fontsize": 0.93 * sheet.letters,
        "xtick.labelsize": "medium",
        "ytick.labelsize": "medium",
        "axes.linewidth": thin,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "grid.color": "#e6e6e6",
        "grid.linewidth": thin,
        "xtick.major.width": thin,
        "ytick.major.width": thin,
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
    Raises ConfigError where the figure is too small for what it holds.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "constrained_layout not applied", UserWarning)
        try:
            figure.draw_without_rendering()
        except UserWarning:
            width, height = figure.get_size_inches()
            raise ConfigError(
                f"{width:.3g} x {height:.3g} inches have no room for this figure and its letters; give it more with --width "
                "or --height, or take smaller letters with --font-size"
            ) from None
    figure.set_layout_engine("none")
    for part in figure.subfigs:
        box = part.bbox_relative
        box.p0, box.p1 = np.round(box.p0, 9), np.round(box.p1, 9)
    for axes in figure.axes:
        axes.set_position(Bbox(np.round(axes.get_position().get_points(), 9)))


def save(figure: Figure, stem: Path, formats: Sequence[str] = tuple(FORMATS)) -> list[Path]:
    """Writes <stem>.svg, .png and .pdf, or those of them that are asked for."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    written = []
    with paper():  # the salt and the fonts are read on saving
        settle(figure)
        for kind in formats:
            path = stem.with_name(f"{stem.name}.{kind}")
            figure.savefig(path, dpi=300, metadata=FORMATS[kind])
            written.append(path)
    return written
