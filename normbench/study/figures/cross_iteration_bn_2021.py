"""Yao et al. 2021, Cross-Iteration BN: error against batch, CBN's window, CBN's burn-in."""

import pandas as pd

from normbench.study.figures import error_vs_option
from normbench.study.figures.drawing import Drawing
from normbench.study.figures.looks import look_of, looks_of
from normbench.study.figures.reproduction import reproduce
from normbench.study.figures.sheet import PAPER, Sheet
from normbench.study.read import experiments, stats
from normbench.study.read.belonging import alike


def cbn_fig1(runs: pd.DataFrame, strict: bool = False, sheet: Sheet = PAPER) -> Drawing:
    """Yao et al. 2021, Figure 1: BN, GN, Batch Renorm, naive CBN and CBN against batch;
    the paper's are from memory.
    """
    return reproduce(runs, "cbn_fig1", "cross_iteration_bn_2021", "Figure 1", "resnet18", strict, sheet)


def cbn_window(runs: pd.DataFrame, strict: bool = False, sheet: Sheet = PAPER) -> Drawing:
    """Yao et al. 2021: error against the window k of CBN and naive CBN,
    and of BN with k times the images.
    """
    own, remarks = alike(runs, "cbn_window", strict=strict)
    wanted = experiments.read("cbn_window").sweeping("norm.window")
    looks = looks_of([*wanted.norms, "bn"])
    windowed = own[own["norm.name"].isin(wanted.norms)]
    batch = int(wanted.fixed["batch"]) if windowed.empty else int(windowed["batch"].mode().iloc[0])
    windowed = windowed[windowed["batch"] == batch]
    found: list[error_vs_option.Line] = [
        (
            looks[norm],
            looks[norm].name,
            error_vs_option.by_option(windowed[windowed["norm.name"] == norm], "norm.window"),
        )
        for norm in wanted.norms
    ]
    bound = own[own["norm"] == "bn"]
    at = {b / batch: stats.mean_over_seeds(bound[bound["batch"] == b]) for b in bound["batch"].unique() if b >= batch}
    found.append((looks["bn"], f"BN, k × {batch} images", {k: summary for k, summary in at.items() if summary.n}))
    ks = sorted({*map(float, wanted.swept["norm.window"]), *(k for _, _, line in found for k in line)})
    x = f"window k (batches of {batch} images)"
    return error_vs_option.draw("cbn_window", own, found, ks, x, remarks, log=True, sheet=sheet)


def cbn_burnin(runs: pd.DataFrame, strict: bool = False, sheet: Sheet = PAPER) -> Drawing:
    """Yao et al. 2021: error against the epochs of plain BN before CBN sets in."""
    own, remarks = alike(runs, "cbn_burnin", strict=strict)
    look = look_of("cbn")
    found = [(look, look.name, error_vs_option.by_option(own, "norm.burnin_epochs"))]
    epochs = sorted({*map(float, experiments.read("cbn_burnin").swept["norm.burnin_epochs"]), *found[0][2]})
    x = "burn-in (epochs of plain BN)"
    return error_vs_option.draw("cbn_burnin", own, found, epochs, x, remarks, log=False, sheet=sheet)
