"""Whose a run is: the user's own, or one of the reference runs that normbench comes with.

A table of runs has the column only where both were asked for; without it nothing here does
anything.
"""

import pandas as pd

from normbench.records import FINISHED

ORIGIN = "origin"
REPLACES = "replaces"  # whether the reference has the same run, in whose place this one stands
YOURS, REFERENCE = "yours", "reference"


def is_yours(runs: pd.DataFrame) -> "pd.Series[bool]":
    """Which runs are the user's own; none where nobody asked."""
    if ORIGIN not in runs:
        return pd.Series(False, index=runs.index)
    return runs[ORIGIN] == YOURS


def deciding(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that decide which set of alike ones is shown: the user's own, where there are any.

    The reference has many more, and would outvote them.
    """
    own = is_yours(runs)
    return runs[own] if own.any() else runs


def marks(runs: pd.DataFrame) -> dict[str, str]:
    """What follows the name of a norm that has runs of the user's among reference runs."""
    own = is_yours(runs)
    if not own.any() or own.all():
        return {}
    of_norm = own.groupby(runs["norm"])
    return {
        str(norm): " (yours)" if all_own else " (partly yours)"
        for norm, any_own, all_own in zip(of_norm.any().index, of_norm.any(), of_norm.all(), strict=True)
        if any_own
    }


def in_words(runs: pd.DataFrame) -> str:
    """How many of the finished runs of a figure or a table are the user's; nothing where all are
    of one origin.
    """
    finished = runs[runs["state"].isin(FINISHED)]
    own = is_yours(finished)
    replaced = int(finished.loc[own, REPLACES].sum()) if REPLACES in finished else 0
    if not own.any() or (own.all() and not replaced):
        return ""
    place = f", {replaced} of them in the place of a reference run" if replaced else ""
    others = f"; the other {_runs(int((~own).sum()))} normbench's reference" if not own.all() else ""
    return f"{int(own.sum())} of the {len(finished)} runs {'is' if own.sum() == 1 else 'are'} yours{place}{others}."


def counted(runs: pd.DataFrame) -> str:
    """What a command says of the two kinds of runs that it has at hand."""
    own = is_yours(runs)
    return f"{int((~own).sum())} reference runs, and {int(own.sum())} of yours"


def _runs(count: int) -> str:
    return "run is" if count == 1 else f"{count} are"
