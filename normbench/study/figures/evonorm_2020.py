"""Liu et al. 2020, Evolving Normalization-Activation Layers: error against batch."""

import pandas as pd

from normbench.study.figures.drawing import Drawing
from normbench.study.figures.reproduction import reproduce
from normbench.study.figures.sheet import PAPER, Sheet


def evonorm_fig(runs: pd.DataFrame, strict: bool = False, sheet: Sheet = PAPER) -> Drawing:
    """Liu et al. 2020, Table 3: BN, GN, FRN and EvoNorm against batch."""
    return reproduce(runs, "evonorm_fig", "evonorm_2020", "Table 3", "resnet50", strict, sheet)
