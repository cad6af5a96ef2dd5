"""Choosing runs by their science fields, and refusing to put unlike ones together."""

from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd

from normbench.config import ConfigError
from normbench.hints import nearest
from normbench.study.read import science

# Fields without meaning for a batch-free run, which serves every value of them.
ANY_BATCH = ("batch", "workers")


def select(runs: pd.DataFrame, filters: Sequence[str]) -> pd.DataFrame:
    """The runs that match every `key=value` (or `key=value,value`), written as for a run.

    Raises ConfigError for an unknown key, and for a value that no run has.
    """
    for text in filters:
        key, equals, wanted = text.partition("=")
        if not equals:
            raise ConfigError(f"{text}: a filter is written key=value, e.g. data=digits")
        fields = science.columns(runs)
        if key not in fields:
            raise ConfigError(f"{key}: no run has that field{nearest(key, fields)}; they have {', '.join(fields)}")
        values = [wanted] if wanted.startswith("[") else wanted.split(",")
        match = runs[key].map(plain).isin([plain(value) for value in values])
        if key in ANY_BATCH:
            match |= runs["batch_free"]
        if not match.any() and not runs.empty:
            raise ConfigError(f"{text}: no such run; there is {key}={','.join(_values(runs[key]))}")
        runs = runs[match]
    return runs


def plain(value: Any) -> str:
    """One spelling of a value however it was stored or typed.

    32, 32.0 and "32" are one, and so are false, null and what is absent.
    """
    text = str(value).strip()
    if text.lower() in ("", "none", "null", "false", "nan", "<na>"):
        return "null"
    if text.startswith("["):
        return text.replace(" ", "")
    try:
        return f"{float(text):.12g}"
    except ValueError:
        return text.lower() if text in ("True", "TRUE") else text


# ---------------------------------------------------------------------------- unlike runs


def differing(runs: pd.DataFrame, free: Collection[str] = ("seed",)) -> list[str]:
    """Science fields that take more than one value.

    free: fields that may; each also frees all below it (norm frees norm.groups).
    """
    fields = [name for name in science.columns(runs) if name not in free and name.split(".")[0] not in free]
    return [name for name in fields if _varies(runs, name)]


def refuse_unlike(runs: pd.DataFrame, purpose: str, free: Collection[str] = ("seed",)) -> None:
    """Raises ConfigError where runs differ in more than the free fields, with what to type."""
    fields = differing(runs, free)
    if not fields:
        return
    seen = [f"{name} ({', '.join(_values(runs[name]))})" for name in fields]
    more = f" and {len(seen) - 4} more fields" if len(seen) > 4 else ""
    raise ConfigError(
        f"these {len(runs)} runs cannot share {purpose}: they differ in {', '.join(seen[:4])}{more}; "
        f"choose with {' '.join(_filters(runs, free))}"
    )


def refuse_twins(runs: pd.DataFrame) -> None:
    """Raises ConfigError where one run lies in two folders: it would feign a smaller spread."""
    twins = runs[runs.duplicated("identity", keep=False) & runs["identity"].notna()]
    if not twins.empty:
        first, second = twins.sort_values(["identity", "path"])["path"].iloc[:2]
        raise ConfigError(f"{first} and {second} are one run ({twins['identity'].iloc[0]}): remove one of the two")


def setting_free(runs: pd.DataFrame) -> tuple[str, ...]:
    """What may differ between the runs of one figure of error against batch.

    The norm, the batch and the seed; and whichever of workers and sgd_batch follows from the batch
    under the protocol.
    """
    follows = {"per_worker": "sgd_batch", "fixed_sgd": "workers"}
    return ("norm", "batch", "seed", *(follows[name] for name in runs["protocol"].unique() if name in follows))


def commonest(runs: pd.DataFrame) -> pd.DataFrame:
    """Of settings that cannot share a figure, the runs of that with most; of equals, the first."""
    free = setting_free(runs)
    fields = [name for name in science.columns(runs) if name.split(".")[0] not in free]
    if runs.empty or not fields:
        return runs
    setting = runs[fields].map(plain).agg("|".join, axis=1)
    return runs[setting == setting.value_counts(sort=False).idxmax()]


def _varies(runs: pd.DataFrame, name: str) -> bool:
    column = runs[name]
    if name in ANY_BATCH:
        column = column[~runs["batch_free"]]
    return len(set(column.map(plain))) > 1


def _values(column: "pd.Series[Any]") -> list[str]:
    return sorted(set(column.map(plain)), key=lambda text: (len(text), text))


def _filters(runs: pd.DataFrame, free: Collection[str]) -> list[str]:
    """The fewest filters, in the order of the columns, that leave the most common kind of run."""
    found = []
    while fields := differing(runs, free):
        common = runs[fields[0]].map(plain).mode().iloc[-1]
        found.append(f"{fields[0]}={common}")
        runs = runs[runs[fields[0]].map(plain) == common]
    return found
