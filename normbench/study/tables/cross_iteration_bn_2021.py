"""Yao et al. 2021, Cross-Iteration Batch Normalization: its table of norms."""

import pandas as pd

from normbench.study.tables.norms_at_one_batch import norms_at_one_batch
from normbench.study.tables.table import Table


def cbn_table(runs: pd.DataFrame, strict: bool = False) -> Table:
    """Yao et al. 2021: IN, LN, GN, BN and CBN at 32 images per worker."""
    paper, item = "cross_iteration_bn_2021", "feature normalization table"
    return norms_at_one_batch(runs, "cbn_table", "cbn_table", paper, item, "resnet18", strict)
