"""What is there: runs by state in every cell, before any average is taken."""

import pandas as pd
from rich.table import Table

from normbench.records import STATES
from normbench.study.selection import differing, plain, setting_free

ROW = ["data", "model", "norm", "protocol", "given"]  # one row of the grid, and whatever else tells runs apart


def grid(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a setting, one column a batch size ("any" where one run serves all), each cell like "2 done 1 cut".

    `given` is what the protocol fixes: the workers, or the SGD batch. `else` holds the fields that differ between runs
    which are otherwise in one row, so that no cell counts unlike runs together.
    """
    runs = runs.assign(given=given(runs), batch=runs["batch"].astype("string").fillna("any"))
    rows = []
    for _, like in runs.groupby(ROW, sort=False):
        telling = differing(like, ("norm", *setting_free(like))) + _norm_options(like)
        other = like[telling].apply(lambda run: " ".join(_said(run)), axis=1)
        rows.append(like.assign(**{"else": other if telling else ""}))
    table = pd.concat(rows) if rows else runs.assign(**{"else": ""})
    batches = sorted(set(table["batch"]) - {"any"}, key=int, reverse=True)
    columns = [*batches, *(["any"] if "any" in set(table["batch"]) else [])]
    cells = [
        {**dict(zip([*ROW, "else"], key, strict=True)), **{b: _states(row[row["batch"] == b]) for b in columns}}
        for key, row in table.groupby([*ROW, "else"], sort=False)
    ]
    return pd.DataFrame(cells, columns=[*ROW, "else", *columns])


def given(runs: pd.DataFrame) -> "pd.Series[str]":
    """The number that the protocol fixes while batch varies, in words."""
    workers = runs["workers"].astype("string") + " workers"
    sgd_batch = "sgd batch " + runs["sgd_batch"].astype("string")
    return workers.where(runs["protocol"] == "per_worker", sgd_batch)


def as_text(table: pd.DataFrame) -> list[Table]:
    """The grid for a terminal: one table for each network on each data set under each protocol, one row a norm."""
    drawn = []
    for key, rows in table.groupby([name for name in ROW if name != "norm"], sort=False):
        columns = [name for name in table.columns[len(ROW) + 1 :] if (rows[name] != "-").any()]
        text = Table(title=", ".join(map(str, key)), title_justify="left")
        for heading in ["images per worker", *columns]:
            text.add_column(heading)
        for row in rows.to_dict("records"):
            text.add_row(f"{row['norm']} {row['else']}".strip(), *(row[name] for name in columns))
        drawn.append(text)
    return drawn


def _norm_options(like: pd.DataFrame) -> list[str]:
    """Options that differ under one label: the norm's yaml has changed between versions."""
    names = [name for name in like.columns if name.startswith("norm.")]
    return [name for name in names if like[name].map(plain).nunique() > 1]


def _said(run: "pd.Series[str]") -> list[str]:
    """The fields that tell a run apart; what is off goes without saying."""
    return [f"{name}={plain(value)}" for name, value in run.items() if plain(value) != "null"]


def _states(cell: pd.DataFrame) -> str:
    counts = cell["state"].value_counts()
    return " ".join(f"{counts[state]} {state}" for state in STATES if state in counts) or "-"
