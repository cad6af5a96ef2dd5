"""The commands that complete a folder of runs: those of an experiment, or of the grid it has."""

import shlex
from pathlib import Path
from typing import Any

import pandas as pd

from normbench import records
from normbench.study.read import experiments, overrides, reference, science
from normbench.study.read.belonging import chosen
from normbench.study.read.missing import missing
from normbench.study.read.selection import plain, setting_free

Gap = tuple[str, int | None, int]  # norm label, batch (None: the run serves every one), seed


def of_grid(runs: pd.DataFrame) -> list[str]:
    """Commands for what is not finished of every norm x batch x seed seen under one setting.

    A gap is filled by the command of a run of the same norm and setting, with its own batch and
    seed. Gaps that differ in these alone are filled by one sweep.
    """
    if runs.empty:
        return []
    free = setting_free(runs)
    fields = [name for name in science.columns(runs) if not {name, name.split(".")[0]} & set(free)]
    keys = runs[fields].map(plain).agg("|".join, axis=1) if fields else pd.Series("", index=runs.index)
    sweeps: dict[tuple[tuple[str, ...], tuple[int, ...]], list[int | None]] = {}
    for _, like in runs.groupby(keys, sort=False):
        seeds_at: dict[tuple[str, int | None], list[int]] = {}
        for norm, batch, seed in _gaps(like):
            seeds_at.setdefault((norm, batch), []).append(seed)
        for (norm, batch), seeds in seeds_at.items():
            sweeps.setdefault((_typed(like[like["norm"] == norm]), tuple(seeds)), []).append(batch)
    return [_command(typed, batches, seeds) for (typed, seeds), batches in sweeps.items()]


def of_experiments(runs: pd.DataFrame, names: list[str], filters: list[str]) -> list[str]:
    """The sweeps of experiments that are not complete; what is done they skip."""
    lines = []
    for name in names:
        own, _ = chosen(runs, name)
        if missing(own, name):
            lines += experiments.commands(name, overrides.and_filters(overrides.beside(name, own), filters))
    return lines


def _gaps(like: pd.DataFrame) -> list[Gap]:
    """What the grid of one setting has no result of: missing, cut, failed or still running."""
    seeds = sorted(int(seed) for seed in like["seed"].unique())
    batches = sorted((int(batch) for batch in like["batch"].dropna().unique()), reverse=True)
    finished = like[like["state"].isin(records.FINISHED)]
    done = {
        (norm, None if pd.isna(batch) else int(batch), int(seed))
        for norm, batch, seed in finished[["norm", "batch", "seed"]].itertuples(index=False)
    }
    free = dict(zip(like["norm"], like["batch_free"], strict=True))
    wanted = ((norm, b, seed) for norm in free for b in ([None] if free[norm] else batches) for seed in seeds)
    return [gap for gap in wanted if gap not in done]


def _typed(runs: pd.DataFrame) -> tuple[str, ...]:
    """What was typed for the first of some runs, less batch and seed, or what follows from it."""
    run = runs.iloc[0]
    chosen = _command_of(run["path"]) or [f"data={run['data']}", f"model={run['model']}", f"norm={run['norm.name']}"]
    return tuple(word for word in chosen if word.partition("=")[0] not in ("batch", "seed"))


def _command_of(path: str) -> list[str]:
    """The words key=value that were typed for a run; none where that is not recorded."""
    if reference.holds(path):
        return shlex.split(reference.line(path).about["command"])
    try:
        recorded: Any = records.read_json(Path(path) / "env.json")
        return [word for word in recorded["command"] if "=" in word]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _command(typed: tuple[str, ...], batches: list[int | None], seeds: tuple[int, ...]) -> str:
    sizes = [str(batch) for batch in batches if batch is not None]
    swept = [*([f"batch={','.join(sizes)}"] if sizes else []), f"seed={','.join(map(str, seeds))}"]
    return shlex.join(["normbench", "-m", *typed, *swept])
