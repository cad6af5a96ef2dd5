"""Choosing runs by their science fields: by filters, and the largest set that is alike.

largest_alike is the one rule of every figure and table: one trial at another learning rate is left
out and named, and stops nothing. refuse_unlike is what `--strict` asks for instead. Beside
reference runs the user's own decide: they are never left out for being fewer.
"""

import shlex
from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd

from normbench.config import ConfigError
from normbench.hints import nearest
from normbench.records import FINISHED, STATES
from normbench.study.read import science
from normbench.study.read.origin import deciding, is_yours

# Fields without meaning for a batch-free run, which serves every value of them.
ANY_BATCH = ("batch", "workers")
# What follows from the batch under a protocol.
FOLLOWS = {"per_worker": "sgd_batch", "fixed_sgd": "workers"}
SAID = 4  # sets of runs, or fields, that a line names before it counts the rest


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
        f"choose with {' '.join(map(shlex.quote, _filters(runs, free)))}"
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
    return ("norm", "batch", "seed", *(FOLLOWS[name] for name in runs["protocol"].unique() if name in FOLLOWS))


# ------------------------------------------------------------------ the largest set that is alike


def largest_alike(
    runs: pd.DataFrame, purpose: str = "a figure", *, swept: Collection[str] = (), free: Collection[str] = (),
    states: Collection[str] = STATES, strict: bool = False,
) -> tuple[pd.DataFrame, list[str]]:  # fmt: skip
    """Of runs that differ, the largest set that is alike, and what was left out, in words.

    Alike are runs that differ in the norm, the batch, the seed, what their protocol derives from
    the batch, and the fields `swept` and `free`; and at one norm, batch and swept value in nothing
    but the seed. The largest has most finished runs of the user's, where these stand beside
    reference runs; of equals most finished runs; of equals most runs. Of equal sets at one norm
    and batch it is that of the norm's other batches; else the first.

    states: those of the runs that are shown; only these have to be alike.
    strict: runs that differ are refused instead, with a ConfigError that says how to choose.
    """
    shown = runs[runs["state"].isin(states)]
    if strict:
        refuse_unlike(shown, purpose, (*setting_free(shown), *swept, *free))
        return runs, []
    setting = _telling(shown, {"norm", "batch", "seed", *swept, *free})
    kept = _largest(runs, shown, setting)
    options = any(key.startswith("norm.") for key in swept)  # then one norm's labels are many
    place = ["norm.name" if options else "norm", "batch", *(key for key in swept if key in kept)]
    place = list(dict.fromkeys(key for key in place if key != "seed"))
    shown = kept[kept["state"].isin(states)]
    within = [name for name in _telling(shown, {"norm", "batch", "seed"}, below=False) if name not in place]
    if within:
        cells = kept[place].map(plain).agg("|".join, axis=1)
        parts = []
        for _, cell in kept.groupby(cells):
            curve = kept[kept[place[0]] == cell[place[0]].iloc[0]]
            parts.append(_largest(cell, shown[shown.index.isin(cell.index)], within, curve))
        kept = kept[kept.index.isin(pd.concat(parts).index)]
    return kept, left_out(runs, kept, list(dict.fromkeys([*setting, *within])))


def left_out(runs: pd.DataFrame, kept: pd.DataFrame, fields: Sequence[str]) -> list[str]:
    """A remark that counts the runs beside those kept, with the filters that select them."""
    rest = runs[~runs.index.isin(kept.index)]
    if rest.empty:
        return []
    if not fields:
        return [f"left out: {len(rest)} more of the same setting"]
    told = pd.DataFrame({name: _told(runs, name) for name in fields})
    here = {name: set(told.loc[kept.index, name]) for name in fields}
    sets = [told.loc[own.index] for _, own in rest.groupby(_key(told.loc[rest.index]), sort=False)]
    differ = [name for name in fields if not set(told.loc[rest.index, name]) <= here[name]]
    filters = sorted((-len(own), _filter(told, own.iloc[0], here)) for own in sets)
    said = [f"{text} ({-less})" for less, text in filters]
    more = [f"{len(said) - SAID} more settings"] if len(said) > SAID else []
    fields_more = f" and {len(differ) - SAID} more fields" if len(differ) > SAID else ""
    whose = "reference " if is_yours(runs).any() and not is_yours(rest).any() else ""
    what = f"{len(rest)} {whose}runs that differ" if len(rest) > 1 else f"1 {whose}run that differs"
    return [
        f"left out: {what} from these in {', '.join(differ[:SAID])}{fields_more}; "
        f"choose with {', or '.join([*said[:SAID], *more])}"
    ]


def _largest(
    runs: pd.DataFrame, shown: pd.DataFrame, fields: Sequence[str], around: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The runs that are one in all of the fields: those of the largest such set of the shown.

    around: of equal sets, the one with more like it among these.
    """
    if not fields or len(shown) < 2:
        return runs
    around = runs if around is None else around
    told = pd.DataFrame({name: _told(around, name) for name in fields})
    mine, finished = is_yours(runs), runs["state"].isin(FINISHED)
    best, most = runs, [-1]
    for _, own in told.loc[shown.index].drop_duplicates().iterrows():
        like = pd.Series(True, index=around.index)
        for name in fields:
            like &= (told[name] == own[name]) | (told[name] == ANY)
        alike = like[runs.index]
        counted = (alike & mine & finished, alike & mine, alike & finished, alike, like)
        count = [int(members.sum()) for members in counted]
        if count > most:
            best, most = runs[alike], count
    return best


ANY = "*"  # in the place of a value that follows from the batch, or serves every batch


def _told(runs: pd.DataFrame, name: str) -> "pd.Series[str]":
    """A field's values in one spelling; ANY where it follows, or has no meaning."""
    values = runs[name].map(plain)
    for protocol, field in FOLLOWS.items():
        if name == field:
            values = values.mask(runs["protocol"] == protocol, ANY)
    return values.mask(runs["batch_free"], ANY) if name in ANY_BATCH else values


def _telling(runs: pd.DataFrame, free: Collection[str], below: bool = True) -> list[str]:
    """The fields that tell runs apart; below: what is free frees all below it."""
    fields = [name for name in science.columns(runs) if name not in free]
    fields = [name for name in fields if not below or name.split(".")[0] not in free]
    return [name for name in fields if len(set(_told(runs, name)) - {ANY}) > 1]


def _key(told: pd.DataFrame) -> "pd.Series[str]":
    return told.agg("|".join, axis=1)


def _filter(told: pd.DataFrame, one: "pd.Series[str]", here: dict[str, set[str]]) -> str:
    """The filters that select the runs which are as one is, as they are typed."""
    words = []
    # What differs comes first.
    first = sorted(told.columns, key=lambda name: one[name] in here[name])
    for name in first:
        match = (told[name] == one[name]) | (told[name] == ANY)
        if one[name] != ANY and not match.all():
            words.append(shlex.quote(f"{name}={one[name]}"))
            told = told[match]
    return " ".join(words)


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
        common = deciding(runs)[fields[0]].map(plain).mode().iloc[-1]
        found.append(f"{fields[0]}={common}")
        runs = runs[runs[fields[0]].map(plain) == common]
    return found
