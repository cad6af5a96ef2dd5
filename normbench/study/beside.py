"""A paper's numbers beside ours, where ours are of other data or another network: what each half of a figure is of."""

import pandas as pd

from normbench.study import published

RECALLED = "Hollow: recalled from memory, no target."


def titles(own: pd.DataFrame, theirs: pd.DataFrame) -> tuple[str, str]:
    """What our half and the paper's are of: data and network, and whose the numbers are."""
    data, model = own[["data", "model"]].iloc[0]
    paper, dataset, network = theirs[["paper", "dataset", "model"]].iloc[0]
    return (
        f"{published.place(data, model)} (ours)",
        f"{published.place(dataset, network)} ({published.CITATIONS[paper]})",
    )


def small_print(own: pd.DataFrame, theirs: pd.DataFrame) -> str:
    """What is not the same in the two halves beside data and network: the protocol; and how far to trust the paper's."""
    said = [f"Left: {protocol(own)}.", f"Right: {protocol(theirs)}."]
    return " ".join([*said, *([RECALLED] if published.recalled(theirs) else [])])


def protocol(table: pd.DataFrame) -> str:
    """What stays the same while the batch varies, of our runs or of a paper's numbers."""
    sizes = table["sgd_batch"] if "sgd_batch" in table else table["batch"] * table["workers"]
    if sizes.dropna().nunique() == 1:
        return f"SGD batch of {sizes.dropna().iloc[0]}"
    counts = table["workers"].dropna().unique()
    if set(table["protocol"]) == {"per_worker"} and len(counts) == 1:
        return f"{counts[0]} workers, so the SGD batch shrinks with the batch"
    return "protocols differ"
