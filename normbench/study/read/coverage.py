"""What is there: runs by state for every norm at every batch, before any average is taken."""

from collections.abc import Iterator

import pandas as pd

from normbench.records import STATES
from normbench.study.read.origin import is_yours
from normbench.study.read.selection import differing, plain, setting_free

# What tells the rows of the grid apart, beside whatever else tells runs apart.
ROW = ["data", "model", "norm", "protocol", "given"]


def grid(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per setting, one column per batch size, with counts like "2 done 1 cut" or "-".

    Column "any" is of runs that serve every batch. `given` is what the protocol fixes: the workers,
    or the SGD batch. `else` holds the fields that differ between runs which are otherwise in one
    row, so that unlike runs are never counted together; beside reference runs also the user's.
    """
    runs = runs.assign(given=given(runs), batch=runs["batch"].astype("string").fillna("any"))
    rows = []
    for _, like in runs.groupby(ROW, sort=False):
        telling = differing(like, ("norm", *setting_free(like))) + _norm_options(like)
        other = like[telling].apply(lambda run: " ".join(_said(run)), axis=1)
        rows.append(like.assign(**{"else": other if telling else ""}))
        rows[-1].loc[is_yours(like), "else"] = (rows[-1]["else"] + " (yours)").str.strip()
    table = pd.concat(rows) if rows else runs.assign(**{"else": ""})
    batches = sorted(set(table["batch"]) - {"any"}, key=int, reverse=True)
    columns = [*batches, *(["any"] if "any" in set(table["batch"]) else [])]
    counted = [
        {**dict(zip([*ROW, "else"], key, strict=True)), **{b: _states(row[row["batch"] == b]) for b in columns}}
        for key, row in table.groupby([*ROW, "else"], sort=False)
    ]
    return pd.DataFrame(counted, columns=[*ROW, "else", *columns])


def given(runs: pd.DataFrame) -> "pd.Series[str]":
    """The number that the protocol fixes while batch varies, in words."""
    workers = runs["workers"].astype("string") + " workers"
    sgd_batch = "sgd batch " + runs["sgd_batch"].astype("string")
    return workers.where(runs["protocol"] == "per_worker", sgd_batch)


def blocks(table: pd.DataFrame) -> Iterator[tuple[dict[str, str], list[str], pd.DataFrame]]:
    """The grid in parts of one network on one data set under one protocol, one row per norm.

    Each with what it is of, the batch sizes that it has runs at, and its rows.
    """
    setting = [name for name in ROW if name != "norm"]
    for key, rows in table.groupby(setting, sort=False):
        sizes = [name for name in table.columns[len(ROW) + 1 :] if (rows[name] != "-").any()]
        yield dict(zip(setting, map(str, key), strict=True)), sizes, rows


def _norm_options(like: pd.DataFrame) -> list[str]:
    """Options that differ under one label: the norm's yaml has changed between versions."""
    names = [name for name in like.columns if name.startswith("norm.")]
    return [name for name in names if like[name].map(plain).nunique() > 1]


def _said(run: "pd.Series[str]") -> list[str]:
    """The fields that tell a run apart; what is off goes without saying."""
    return [f"{name}={plain(value)}" for name, value in run.items() if plain(value) != "null"]


def _states(runs: pd.DataFrame) -> str:
    counts = runs["state"].value_counts()
    return " ".join(f"{counts[state]} {state}" for state in STATES if state in counts) or "-"
