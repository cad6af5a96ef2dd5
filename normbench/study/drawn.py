"""A figure with what belongs to it: the numbers behind it, what is missing, what a reader has to know."""

from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure

from normbench.study.stats import Cell


@dataclass(frozen=True)
class Drawn:
    figure: Figure
    cells: list[Cell] = field(default_factory=list)  # of a figure of error against batch
    missing: list[str] = field(default_factory=list)  # one entry a cell, in words
    remarks: list[str] = field(default_factory=list)  # what else a reader of the numbers has to know
    numbers: pd.DataFrame | None = None  # what is drawn, as text to print
    fill: list[str] = field(default_factory=list)  # commands beside the experiment's that fill what is missing
