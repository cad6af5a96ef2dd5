"""A drawn figure with what belongs to it: its numbers, what it lacks, what to know of it."""

from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure

from normbench.study.read.stats import Cell


@dataclass(frozen=True)
class Drawing:
    """What the function of a figure returns."""

    figure: Figure
    cells: list[Cell] = field(default_factory=list)  # of a figure of error against batch
    missing: list[str] = field(default_factory=list)  # in words, one entry per combination
    remarks: list[str] = field(default_factory=list)  # what else a reader has to know
    numbers: pd.DataFrame | None = None  # what is drawn, as text to print
    fill: list[str] = field(default_factory=list)  # further commands that make what is missing
    of: list[str] = field(default_factory=list)  # what the runs in it are of, as it is typed
