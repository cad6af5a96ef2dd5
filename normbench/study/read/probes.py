"""What was recorded inside one layer through training: probes.jsonl of the runs of a figure."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from normbench import records
from normbench.study.read import experiments, reference
from normbench.study.read.belonging import belonging
from normbench.study.read.selection import largest_alike


def rows_of(path: str) -> list[dict[str, Any]]:
    """The probed steps of a run in its folder, or of a reference run; none where it has none."""
    return reference.probes(path) if reference.holds(path) else records.read_probes(Path(path))


def probed_runs(runs: pd.DataFrame, name: str, strict: bool = False) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """The runs of a figure that have probes; all that were to be probed; remarks on those left out.

    Of runs that differ in more than norm, batch and seed the largest set that is alike. Raises
    ConfigError where none has probes, and where strict and they differ.
    """
    own, remarks = belonging(runs, name)
    watched = own[own["probe.layer"].notna()] if "probe.layer" in own else own[:0]
    probed = watched.loc[[bool(rows_of(path)) for path in watched["path"]]]
    if probed.empty:
        raise experiments.none_yet(name)
    probed, more = largest_alike(probed, free=("workers", "sgd_batch"), strict=strict)
    return probed, watched, [*remarks, *more]


def first_seed(runs: pd.DataFrame) -> pd.DataFrame:
    """The probes of the run of the least seed, one row per step; column epochs is fractional.

    Of one run, since a mean of traces would be none, and the seeds are all alike.
    """
    run = runs.sort_values("seed").iloc[0]
    table = pd.DataFrame(rows_of(run["path"]))
    images = table["images_seen"].max() / table["epoch"].max() if len(table) else 1
    return table.assign(epochs=table["images_seen"] / images)


def layer_in_words(probed: pd.DataFrame) -> str:
    """Which layer of what was probed, and the seed that is shown."""
    layer = probed["probe.layer"].iloc[0]
    return f"{'The last norm' if layer == 'last' else layer}, seed {probed['seed'].min()}."


# ---------------------------------------------------------------------------- numbers of a line


def over_seeds(runs: pd.DataFrame, of: Callable[[dict[str, Any]], float]) -> pd.DataFrame:
    """Mean and sd over the runs of a number of each line, by epochs, which are fractional.

    Where a run has no such number it does not count; the sd of one run is 0.
    """
    found: dict[float, list[float]] = {}
    for path in runs["path"]:
        rows = rows_of(path)
        images = max((row["images_seen"] / row["epoch"] for row in rows[-1:]), default=1)
        for row in rows:
            value = of(row)
            if math.isfinite(value):
                found.setdefault(row["images_seen"] / images, []).append(value)
    table = pd.DataFrame.from_dict({at: pd.Series(found[at]) for at in sorted(found)}, orient="index", dtype=float)
    return pd.DataFrame({"mean": table.mean(axis=1), "sd": table.std(axis=1, ddof=1).fillna(0.0)})


def watched(runs: pd.DataFrame) -> bool:
    """Whether any of the runs has probes."""
    return any(rows_of(path) for path in runs["path"])


def filter_length(line: dict[str, Any]) -> float:
    """The geometric mean over the layers of the root mean square length of their filters."""
    lengths = [length for length in (line.get("filter_norms") or {}).values() if length]
    return math.exp(sum(map(math.log, lengths)) / len(lengths)) if lengths else math.nan


def explained(line: dict[str, Any]) -> float:
    """Of what a layer's weights did to the mean squares in its window, the part compensated for.

    1 - sum (true - carried)^2 / sum (true - then)^2, as normbench/train/window.py has them.
    """
    moved, missed = line.get("moved_square"), line.get("missed_square")
    return 1 - (missed / moved) ** 2 if moved and missed is not None else math.nan


def by_weights(line: dict[str, Any]) -> float:
    """What a layer's weights did, squared, beside that and what else lies between two batches."""
    moved, apart = line.get("moved_square"), line.get("apart_square")
    return moved**2 / (moved**2 + apart**2) if moved and apart is not None else math.nan
