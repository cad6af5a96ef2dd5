"""A paper's table of norms at one batch size, ours beside."""

import math

import pandas as pd

from normbench.study.figures.looks import looks_of
from normbench.study.read import experiments, origin, stats
from normbench.study.read.belonging import alike
from normbench.study.tables import beside_paper, comparison
from normbench.study.tables.beside_paper import beside
from normbench.study.tables.table import Table


def norms_at_one_batch(
    runs: pd.DataFrame, name: str, experiment: str, paper: str, item: str, network: str, strict: bool
) -> Table:
    """One row per norm of an experiment, each with its difference to BN."""
    own, remarks = alike(runs, experiment, "a table", paper_data="imagenet", strict=strict)
    wanted = experiments.read(experiment)
    theirs = beside_paper.paper_numbers(own, paper, item, network)
    values, (where, same) = beside_paper.by_label(theirs), beside_paper.where(theirs, own)
    ours = {norm: stats.mean_over_seeds(own[own["norm"] == norm]) for norm in wanted.norms}
    rows = []
    for norm, look in looks_of(wanted.norms, origin.marks(own)).items():
        row = {"norm": look.name, **beside(ours[norm], values.get(norm), same)}
        row["ours - BN"] = ours[norm].mean - ours["bn"].mean
        row["published - BN"] = values.get(norm, (math.nan, False))[0] - values.get("bn", (math.nan, False))[0]
        rows.append(row)
    words = f"Top-1 error (%) at {wanted.fixed['batch']} images per worker{beside_paper.ours_on(own)}; {where}. "
    caption = words + comparison.caption("mean")
    return beside_paper.table(name, rows, "norm", caption, experiment, own, theirs, remarks)
