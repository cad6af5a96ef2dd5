"""The demonstration: error against batch on the embedded digits."""

from dataclasses import replace

import pandas as pd

from normbench.config import ConfigError
from normbench.study.figures import error_vs_batch
from normbench.study.figures.drawing import Drawing
from normbench.study.figures.sheet import PAPER, Sheet
from normbench.study.read import experiments, overrides
from normbench.study.read.belonging import belonging, is_of, without_variants
from normbench.study.read.origin import is_yours
from normbench.study.read.selection import largest_alike

LEGIBLE = 10  # norms in one figure of curves


def demo(runs: pd.DataFrame, strict: bool = False, sheet: Sheet = PAPER) -> Drawing:
    """Error against batch on the embedded digits; of several settings the one with most runs.

    Every norm there is, or where more curves could not be told apart those of its experiment, and
    beside reference runs the user's.
    """
    digits = runs[runs["data"] == "digits"]
    if digits.empty:
        raise ConfigError(f"no runs on data=digits yet; make them with {experiments.commands('demo')[0]}")
    shown, remarks = digits, []
    if digits["norm"].nunique() > LEGIBLE:
        wanted = experiments.read("demo")
        of_demo = digits["norm"].isin([label for label in digits["norm"].unique() if is_of(label, wanted)])
        own = digits[is_yours(digits)]["norm"].unique()
        shown = digits[of_demo | (digits["norm"].isin(own) if len(own) < LEGIBLE else False)]
        others = set(without_variants(digits)["norm"]) - set(shown["norm"])
        remarks = [f"left out: {len(others)} more norms, which figure all_norms shows"] if others else []
        shown = belonging(shown, "demo", any_norm=True)[0]
    chosen, more = largest_alike(shown, strict=strict)
    drawing = error_vs_batch.draw(chosen, experiments.grid("demo", chosen), sheet=sheet)
    return replace(drawing, remarks=[*remarks, *more], of=overrides.beside("demo", chosen))
