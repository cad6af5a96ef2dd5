"""Wu & He 2018, Group Normalization: Tables 1 to 3."""

import math

import pandas as pd

from normbench.study.read import experiments, stats
from normbench.study.read.belonging import alike
from normbench.study.read.selection import plain
from normbench.study.tables import beside_paper, comparison
from normbench.study.tables.beside_paper import NOTHING, beside
from normbench.study.tables.norms_at_one_batch import norms_at_one_batch
from normbench.study.tables.row_text import number
from normbench.study.tables.table import Table

PAPER, NETWORK = "group_norm_2018", "resnet50"


def gn_table1(runs: pd.DataFrame, strict: bool = False) -> Table:
    """Wu & He 2018, Table 1: BN, LN, IN and GN at 32 images per worker."""
    return norms_at_one_batch(runs, "gn_table1", "gn_fig4", PAPER, "Table 1", NETWORK, strict)


def gn_table2(runs: pd.DataFrame, strict: bool = False) -> Table:
    """Wu & He 2018, Table 2: BN and GN over the images per worker, and their difference."""
    own, remarks = alike(runs, "gn_fig1", "a table", paper_data="imagenet", strict=strict)
    theirs = beside_paper.paper_numbers(own, PAPER, "Table 2", NETWORK)
    where, same = beside_paper.where(theirs, own)
    ours = {(cell.norm, cell.batch): cell.over_seeds for cell in stats.against_batch(own)}
    rows = []
    for batch in experiments.grid("gn_fig1", own).batches:
        row: dict[str, object] = {"images per worker": batch}
        for norm in ("bn", "gn"):
            value = theirs[(theirs["norm"] == norm) & (theirs["batch"] == batch)]["value"]
            of_paper = (float(value.iloc[0]), False) if len(value) else None
            mean = ours.get((norm, batch), ours.get((norm, None), NOTHING))
            row |= {f"{norm.upper()} {key}": field for key, field in beside(mean, of_paper, same).items()}
        pair = comparison.paired(own, "gn", "bn", batch)
        row |= {"GN - BN": pair.mean, "GN - BN low": pair.low, "GN - BN high": pair.high}
        row["published GN - BN"] = number(row["GN published"]) - number(row["BN published"])
        rows.append(row)
    caption = f"Top-1 error (%){beside_paper.ours_on(own)}; {where}. " + comparison.caption("mean", "paired")
    return beside_paper.table("gn_table2", rows, "images per worker", caption, "gn_fig1", own, theirs, remarks)


def gn_table3(runs: pd.DataFrame, strict: bool = False) -> Table:
    """Wu & He 2018, Table 3: GN by its number of groups, and by its channels per group."""
    own, remarks = alike(runs, "gn_table3", "a table", paper_data="imagenet", strict=strict)
    rows: list[dict[str, object]] = []
    for option, item in (("groups", "Table 3, groups"), ("channels_per_group", "Table 3, channels per group")):
        theirs = beside_paper.paper_numbers(own, PAPER, item, NETWORK)
        where, same = beside_paper.where(theirs, own)
        rows += _by_option(own, theirs, option, same)
    words = f"Top-1 error (%) of GN at 32 images per worker{beside_paper.ours_on(own)}; {where}. "
    caption = words + "Best: the least of its half of the table. " + comparison.caption("mean")
    return beside_paper.table("gn_table3", rows, "GN with", caption, "gn_table3", own, theirs, remarks)


def _by_option(own: pd.DataFrame, theirs: pd.DataFrame, option: str, same: bool) -> list[dict[str, object]]:
    """One half of Table 3: one row per value of an option that either side has, largest first."""
    field = f"norm.{option}"
    mine = own[own[field].map(plain).astype(str).str.isdigit()] if field in own else own[:0]
    published = {int(label.removeprefix(f"gn-{option}")): v for label, v in beside_paper.by_label(theirs).items()}
    measured = [int(value) for value in mine[field]] if len(mine) else []
    # Another network than the paper's may have no such number of groups.
    wanted = [*map(int, experiments.read("gn_table3").swept[field]), *(published if same else [])]
    rows: list[dict[str, object]] = []
    for value in sorted({*wanted, *published, *measured}, reverse=True):
        ours = stats.mean_over_seeds(mine[mine[field].astype(int) == value]) if len(mine) else NOTHING
        row = {"GN with": _in_words(value, option), **beside(ours, published.get(value), same)}
        rows.append({**row, "asked": value in wanted})
    best = min((number(row["ours"]) for row in rows if row["n"]), default=math.nan)
    for row in rows:
        row["ours - best"] = number(row["ours"]) - best
        row["published - best"] = number(row["published"]) - min(value for value, _ in published.values())
    return rows


def _in_words(value: int, option: str) -> str:
    """16 groups, 1 channel per group."""
    words = option.replace("_", " ")
    return f"{value} {words if value != 1 else words.replace('groups', 'group').replace('channels', 'channel')}"
