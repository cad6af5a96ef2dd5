"""Our means beside a paper's numbers, row by row, and what both are of.

A difference is taken where data, network and recipe are the paper's, and never to a number from
memory.
"""

import math
from collections.abc import Sequence

import pandas as pd

from normbench.study.read import origin, overrides, published, setting, stats
from normbench.study.read.missing import missing
from normbench.study.read.stats import Summary
from normbench.study.tables.row_text import row_text
from normbench.study.tables.table import Table

Theirs = dict[str, tuple[float, bool]]  # by norm label: the value, and whether it is recalled
NOTHING = stats.summarise([])


def paper_numbers(own: pd.DataFrame, paper: str, item: str, network: str) -> pd.DataFrame:
    """A paper's errors of our network and data where it has them, else of its own on ImageNet."""
    data, model = own[["data", "model"]].iloc[0] if len(own) else ("imagenet", network)
    found = published.curve(paper, item, data, model)
    return published.as_errors(found if len(found) else published.curve(paper, item, "imagenet", network))


def by_label(theirs: pd.DataFrame) -> Theirs:
    """A paper's values by norm label."""
    values = zip(theirs["norm"], theirs["value"], theirs["read"] == "recalled", strict=True)
    return {norm: (float(value), bool(recalled)) for norm, value, recalled in values}


def where(theirs: pd.DataFrame, own: pd.DataFrame) -> tuple[str, bool]:
    """What the published numbers are of, and whether ours are of the same data, network and
    recipe."""
    paper, data, model = theirs[["paper", "dataset", "model"]].iloc[0]
    same = len(own) > 0 and not setting.unlike_the_papers(own, theirs)
    told = f"published: {published.CITATIONS[paper]}, {setting.place(data, model)}, {setting.protocol(theirs)}"
    if published.recalled(theirs):
        return f"{told}, † recalled from memory and no target", False
    return told if same or own.empty else f"{told}; they are of unlike settings, so no difference is taken", same


def ours_on(own: pd.DataFrame) -> str:
    """What our numbers are of, to follow a caption's first words; nothing where there are none."""
    return f"; ours: {setting.place(*own[['data', 'model']].iloc[0])}, {setting.protocol(own)}" if len(own) else ""


def beside(ours: Summary, theirs: tuple[float, bool] | None, same: bool) -> dict[str, object]:
    """The fields of a row for one mean of ours and one number of a paper's.

    same: both are of the same data, network and recipe, so that their difference means something.
    """
    value, recalled = theirs or (math.nan, False)
    difference = ours.mean - value if same and not recalled else math.nan
    numbers = {"ours": ours.mean, "sd": ours.sd, "n": ours.n, "published": value}
    return {**numbers, "recalled": recalled, "difference": difference}


def table(
    name: str, rows: Sequence[dict[str, object]], index: str, caption: str, experiment: str, own: pd.DataFrame,
    theirs: pd.DataFrame, remarks: list[str],
) -> Table:  # fmt: skip
    """The rows as a table: as numbers that say in every row what both sides are of, and as text."""
    text = pd.DataFrame([row_text(row, index) for row in rows]).set_index(index)
    never = [head for head in map(str, text) if head.endswith("difference") and not text[head].any()]
    text = text.drop(columns=never).rename(columns={"GN - BN": "ours GN - BN"})
    numbers = pd.DataFrame(rows).drop(columns="asked", errors="ignore")
    dataset, network = theirs[["dataset", "model"]].iloc[0]
    if len(own):
        data, model = own[["data", "model"]].iloc[0]
        numbers = numbers.assign(**{"our data": data, "our model": model})
        if data != dataset:
            on = {"ours": data, "published": setting.NAMES[dataset]}
            text.columns = pd.Index([f"{h}, {on[h.split()[-1]]}" if h.split()[-1] in on else h for h in text.columns])
    numbers = numbers.assign(**{"published data": dataset, "published model": network})
    caption = " ".join(filter(None, [caption, origin.in_words(own)]))
    return Table(
        name, text, numbers, caption, experiment, missing(own, experiment), remarks, overrides.beside(experiment, own)
    )
