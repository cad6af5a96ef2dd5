"""The figures by the names they are asked for: each is a pure function of the runs on disk."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from normbench.study.figures.all_norms import all_norms
from normbench.study.figures.batch_renorm_2017 import brn_fig
from normbench.study.figures.cbn_gradient import cbn_gradient
from normbench.study.figures.cost import cost
from normbench.study.figures.cross_iteration_bn_2021 import cbn_burnin, cbn_fig1, cbn_window
from normbench.study.figures.demo import demo
from normbench.study.figures.drawing import Drawing
from normbench.study.figures.error_vs_lr import lr_fig
from normbench.study.figures.evonorm_2020 import evonorm_fig
from normbench.study.figures.group_norm_2018 import gn_fig1, gn_fig4, gn_fig5, gn_fig6
from normbench.study.figures.mabn_2020 import mabn_errors, mabn_fig
from normbench.study.figures.sheet import PAPER, Sheet
from normbench.study.figures.wu_johnson_2021 import wj_ema, wj_fig

FIGURES: dict[str, Callable[..., Drawing]] = {
    "demo": demo,
    "all_norms": all_norms,
    "gn_fig1": gn_fig1,
    "gn_fig4": gn_fig4,
    "gn_fig5": gn_fig5,
    "gn_fig6": gn_fig6,
    "cbn_fig1": cbn_fig1,
    "cbn_window": cbn_window,
    "cbn_burnin": cbn_burnin,
    "cbn_gradient": cbn_gradient,
    "brn_fig": brn_fig,
    "mabn_fig": mabn_fig,
    "mabn_errors": mabn_errors,
    "wj_fig": wj_fig,
    "wj_ema": wj_ema,
    "evonorm_fig": evonorm_fig,
    "lr_fig": lr_fig,
    "cost": cost,
}


def draw(name: str, runs: pd.DataFrame, profile: Path, strict: bool = False, sheet: Sheet = PAPER) -> Drawing:
    """A figure of some runs; profile: the table of speed and memory, for figure cost; sheet: what
    it is drawn on.

    Raises ConfigError where there is nothing to draw, and where strict and the runs differ.
    """
    return cost(runs, profile, strict, sheet) if name == "cost" else FIGURES[name](runs, strict, sheet)
