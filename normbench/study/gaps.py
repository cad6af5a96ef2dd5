"""What would complete a folder of runs, as commands: the cells of an experiment, or of the grid that is already there."""

import shlex
from pathlib import Path
from typing import Any

import pandas as pd

from normbench import records
from normbench.study import experiments
from normbench.study.collect import science_columns
from normbench.study.experiments import FINISHED
from normbench.study.selection import plain, setting_free

Cell = tuple[str, int | None, int]  # norm label, batch (None: serves every one), seed


def of_grid(runs: pd.DataFrame) -> list[str]:
    """Commands for what is not finished of every norm x batch x seed seen under one setting.

    A cell's command is that of a run of the same norm and setting, with its own batch and seed; cells that differ in these
    alone share a sweep.
    """
    if runs.empty:
        return []
    free = setting_free(runs)
    fields = [name for name in science_columns(runs) if not {name, name.split(".")[0]} & set(free)]
    keys = runs[fields].map(plain).agg("|".join, axis=1) if fields else pd.Series("", index=runs.index)
    sweeps: dict[tuple[tuple[str, ...], tuple[int, ...]], list[int | None]] = {}
    for _, like in runs.groupby(keys, sort=False):
        seeds_at: dict[tuple[str, int | None], list[int]] = {}
        for norm, batch, seed in _unfinished(like):
            seeds_at.setdefault((norm, batch), []).append(seed)
        for (norm, batch), seeds in seeds_at.items():
            sweeps.setdefault((_like(like[like["norm"] == norm]), tuple(seeds)), []).append(batch)
    return [_command(overrides, batches, seeds) for (overrides, seeds), batches in sweeps.items()]


def of_experiments(runs: pd.DataFrame, names: list[str], settings: list[str]) -> list[str]:
    """The sweeps of experiments that have unfinished cells; what is done they skip."""
    return [line for name in names if experiments.missing(runs, name) for line in experiments.commands(name, settings)]


def _unfinished(like: pd.DataFrame) -> list[Cell]:
    """Cells of the grid of one setting without a result: missing, cut, failed or still running."""
    seeds = sorted(int(seed) for seed in like["seed"].unique())
    batches = sorted((int(batch) for batch in like["batch"].dropna().unique()), reverse=True)
    ended = like[like["state"].isin(FINISHED)]
    done = {
        (n, None if pd.isna(b) else int(b), int(s))
        for n, b, s in ended[["norm", "batch", "seed"]].itertuples(index=False)
    }
    free = dict(zip(like["norm"], like["batch_free"], strict=True))
    wanted = ((n, b, s) for n in free for b in ([None] if free[n] else batches) for s in seeds)
    return [cell for cell in wanted if cell not in done]


def _like(runs: pd.DataFrame) -> tuple[str, ...]:
    """What was typed for a run of this norm and setting, less its batch and seed; from its fields where that is lost."""
    run = runs.iloc[0]
    try:
        recorded: Any = records.read_json(Path(run["path"]) / "env.json")
        typed = [word for word in recorded["command"] if "=" in word]
    except (OSError, ValueError, KeyError, TypeError):
        typed = []
    chosen = typed or [f"data={run['data']}", f"model={run['model']}", f"norm={run['norm.name']}"]
    return tuple(word for word in chosen if word.partition("=")[0] not in ("batch", "seed"))


def _command(overrides: tuple[str, ...], batches: list[int | None], seeds: tuple[int, ...]) -> str:
    sizes = [str(batch) for batch in batches if batch is not None]
    cells = [*([f"batch={','.join(sizes)}"] if sizes else []), f"seed={','.join(map(str, seeds))}"]
    return shlex.join(["python", "-m", "normbench", "-m", *overrides, *cells])
