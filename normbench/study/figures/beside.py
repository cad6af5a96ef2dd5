"""A paper's numbers beside ours, where data or network differ: what is written of each half."""

import pandas as pd

from normbench.study.read import published, setting

RECALLED = "Hollow: recalled from memory, no target."


def titles(own: pd.DataFrame, theirs: pd.DataFrame) -> tuple[str, str]:
    """What our half and the paper's are of: data and network, and whose the numbers are."""
    data, model = own[["data", "model"]].iloc[0]
    paper, dataset, network = theirs[["paper", "dataset", "model"]].iloc[0]
    return (f"{setting.place(data, model)} (ours)", f"{setting.place(dataset, network)} ({published.CITATIONS[paper]})")


def small_print(own: pd.DataFrame, theirs: pd.DataFrame) -> str:
    """The protocol of each half, and whether the paper's numbers are from memory."""
    said = [f"Left: {setting.protocol(own)}.", f"Right: {setting.protocol(theirs)}."]
    return " ".join([*said, *([RECALLED] if published.recalled(theirs) else [])])
