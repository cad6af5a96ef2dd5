"""A paper's numbers beside ours, where data, network or recipe differ: what is written of each."""

from collections.abc import Collection

import pandas as pd

from normbench.study.read import published, setting

RECALLED = "The paper's open markers: recalled from memory, no target."
SAID = 4  # fields that the small print names before it counts the rest


def titles(own: pd.DataFrame, theirs: pd.DataFrame) -> tuple[str, str]:
    """What our half and the paper's are of: data and network, and whose the numbers are."""
    data, model = own[["data", "model"]].iloc[0]
    paper, dataset, network = theirs[["paper", "dataset", "model"]].iloc[0]
    return (f"{setting.place(data, model)} (ours)", f"{setting.place(dataset, network)} ({published.CITATIONS[paper]})")


def small_print(own: pd.DataFrame, theirs: pd.DataFrame, free: Collection[str] = ()) -> str:
    """The protocol of each half, what of the paper's setting ours are not, what is from memory.

    free: fields that may differ.
    """
    said = [f"Left: {setting.protocol(own)}.", f"Right: {setting.protocol(theirs)}."]
    differ = setting.unlike_the_papers(own, theirs, free)
    if not any(text.startswith(("data=", "model=")) for text in differ):
        more = f" and {len(differ) - SAID} more" if len(differ) > SAID else ""
        said.append(f"Ours differ in {', '.join(differ[:SAID])}{more}.")
    return " ".join([*said, *([RECALLED] if published.recalled(theirs) else [])])
