"""Which of the runs on disk belong to a figure or a table, by the experiments that fill it."""

import re
from collections.abc import Collection

import pandas as pd

from normbench.records import STATES
from normbench.study.read import experiments, science
from normbench.study.read.experiments import Experiment
from normbench.study.read.selection import ANY_BATCH, plain, refuse_unlike, setting_free


def belonging(runs: pd.DataFrame, name: str, any_norm: bool = False) -> tuple[pd.DataFrame, list[str]]:
    """The runs that the experiments of a figure would have made, and remarks on like runs left out.

    Of the experiments' norms, or of all where any_norm. Where runs differ in a field that an
    experiment sets, those with its value; in one that it does not name, those that have it off.
    What still differs is for the figure to refuse.
    """
    chosen = [_of_experiment(runs, experiments.read(part), any_norm) for part in experiments.parts(name)]
    own = pd.concat([kept for kept, _ in chosen])
    own = own[~own["path"].duplicated()].reindex(columns=runs.columns).astype(runs.dtypes)
    return own, list(dict.fromkeys(remark for _, remark in chosen if remark))


def alike(
    runs: pd.DataFrame, name: str, purpose: str = "a figure", *, paper_data: str | None = None,
    states: Collection[str] = STATES, free: Collection[str] = (),
) -> tuple[pd.DataFrame, list[str]]:  # fmt: skip
    """The runs that belong to a figure, sure to be alike, and remarks on those left out.

    paper_data: the data set of published numbers that are shown alone where there are no runs.
    states: those of the runs that are shown; only these need to be alike.
    free: fields that may differ, beside the swept ones, the seed, and what the protocol derives
    from the batch.

    Raises ConfigError where there is nothing to show, and where runs differ in any other field.
    """
    own, remarks = belonging(runs, name)
    shown = own[own["state"].isin(states)]
    paper_alone = paper_data is not None and (runs.empty or paper_data in set(runs["data"]))
    if shown.empty and not paper_alone:
        raise experiments.none_yet(name)
    swept = [key for part in experiments.parts(name) for key in experiments.read(part).swept]
    refuse_unlike(shown, purpose, (*setting_free(shown), *swept, *free))
    return own, remarks


def without_variants(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs of norms as they come, not of variants (gn-groups8); all where there is nothing else."""
    plainly = runs.loc[["-" not in label for label in runs["norm"]]]
    return plainly if len(plainly) else runs


def is_of(label: str, wanted: Experiment) -> bool:
    """Whether an experiment makes runs of this label: its norm, with no option but those swept."""
    options = [key.partition(".")[2] for key in wanted.swept if key.startswith("norm.")]
    tail = f"(-({'|'.join(options)})[^-]+)*" if options else ""
    return any(re.fullmatch(re.escape(norm) + tail, label) for norm in wanted.norms)


def _of_experiment(runs: pd.DataFrame, wanted: Experiment, any_norm: bool) -> tuple[pd.DataFrame, str]:
    candidates = runs if any_norm else runs.loc[[is_of(label, wanted) for label in runs["norm"]]]
    free = {*setting_free(candidates), *wanted.swept}
    others = [field for field in science.columns(runs) if not {field, field.split(".")[0]} & free]
    own, left_out = candidates, []  # a value that the experiment sets itself needs no remark
    for field in dict.fromkeys([*wanted.fixed, *others]):
        if field not in own:
            continue
        match = own[field].map(plain) == plain(wanted.fixed.get(field, "null"))
        if field in ANY_BATCH:
            match |= own["batch_free"]
        if match.any() and not match.all():
            own = own[match]
            left_out += [] if field in wanted.fixed else [field]
    count = len(candidates) - len(own)
    return own, f"left out: {count} runs that differ from these in {', '.join(left_out)}" if left_out else ""
