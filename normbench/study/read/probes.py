"""What was recorded inside one layer through training: probes.jsonl of the runs of a figure."""

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
    layer, model, data = probed[["probe.layer", "model", "data"]].iloc[0]
    return f"{'The last norm' if layer == 'last' else layer} of {model} on {data}, seed {probed['seed'].min()}."
