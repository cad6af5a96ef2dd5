"""Which of the runs on disk belong to a figure or a table, by the experiment that fills it."""

import re
from collections.abc import Collection

import pandas as pd

from normbench.records import STATES
from normbench.study.read import experiments
from normbench.study.read.experiments import Experiment, Product
from normbench.study.read.origin import deciding, is_yours
from normbench.study.read.selection import ANY_BATCH, largest_alike, left_out, plain, setting_free


def belonging(runs: pd.DataFrame, name: str, any_norm: bool = False) -> tuple[pd.DataFrame, list[str]]:
    """The runs that the experiment of a figure would have made, and remarks on like runs left out.

    Of each of its products' norms, or of all where any_norm. Where runs differ in a field that the
    product sets, those with its value; in one that only others set, those that have it off.
    """
    chosen = [_of_product(runs, product, any_norm) for product in experiments.read(name).products]
    own = pd.concat([kept for kept, _ in chosen])
    own = own[~own["path"].duplicated()].reindex(columns=runs.columns).astype(runs.dtypes)
    return own, list(dict.fromkeys(remark for _, remarks in chosen for remark in remarks))


def chosen(
    runs: pd.DataFrame, name: str, purpose: str = "a figure", *, any_norm: bool = False,
    states: Collection[str] = STATES, free: Collection[str] = (), strict: bool = False,
) -> tuple[pd.DataFrame, list[str]]:  # fmt: skip
    """Of the runs that belong to a figure the largest set that is alike, and remarks on the rest.

    As in largest_alike; raises ConfigError where strict and runs differ.
    """
    own, remarks = belonging(runs, name, any_norm)
    own, more = largest_alike(
        own, purpose, swept=list(experiments.read(name).swept), free=free, states=states, strict=strict
    )
    return own, [*remarks, *more]


def alike(
    runs: pd.DataFrame, name: str, purpose: str = "a figure", *, paper_data: str | None = None,
    states: Collection[str] = STATES, free: Collection[str] = (), strict: bool = False,
) -> tuple[pd.DataFrame, list[str]]:  # fmt: skip
    """Those chosen for a figure, at least one of them in one of the states.

    paper_data: the data set of published numbers that are shown alone where there are no runs.
    Raises ConfigError where there is nothing to show, and where strict and runs differ.
    """
    own, remarks = chosen(runs, name, purpose, states=states, free=free, strict=strict)
    paper_alone = paper_data is not None and (runs.empty or paper_data in set(runs["data"]))
    if not own["state"].isin(states).any() and not paper_alone:
        raise experiments.none_yet(name)
    return own, remarks


def without_variants(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs of norms as they come, not of variants (gn-groups8); all where there is nothing else."""
    own = is_yours(runs)
    kept = pd.concat([_plainly(runs[own]), _plainly(runs[~own])]).index  # of each origin by itself
    return runs[runs.index.isin(kept)]


def _plainly(runs: pd.DataFrame) -> pd.DataFrame:
    found = runs.loc[["-" not in label for label in runs["norm"]]]
    return found if len(found) else runs


def is_of(label: str, wanted: Experiment | Product) -> bool:
    """Whether an experiment makes runs of this label: its norm, with no option but those swept."""
    options = [key.partition(".")[2] for key in wanted.swept if key.startswith("norm.")]
    tail = f"(-({'|'.join(options)})[^-]+)*" if options else ""
    return any(re.fullmatch(re.escape(norm) + tail, label) for norm in wanted.norms)


def _of_product(runs: pd.DataFrame, wanted: Product, any_norm: bool) -> tuple[pd.DataFrame, list[str]]:
    candidates = runs if any_norm else runs.loc[[is_of(label, wanted) for label in runs["norm"]]]
    free = {*setting_free(candidates), *wanted.swept}
    others = [field for field in experiments.fields() if field in runs and not {field, field.split(".")[0]} & free]
    # A value that the product sets itself needs no remark.
    asked, _ = _matching(candidates, {field: value for field, value in wanted.fixed.items() if field in runs})
    own, switched = _matching(asked, {field: "null" for field in others if field not in wanted.fixed})
    return own, left_out(asked, own, switched)


def _matching(runs: pd.DataFrame, values: dict[str, str]) -> tuple[pd.DataFrame, list[str]]:
    """Of runs that differ in a field those with its value, where any has it; and those fields.

    Beside reference runs it is one of the user's that has to have it.
    """
    decided = []
    for field, value in values.items():
        match = runs[field].map(plain) == plain(value)
        if field in ANY_BATCH:
            match |= runs["batch_free"]
        if match[deciding(runs).index].any() and not match.all():
            runs = runs[match]
            decided.append(field)
    return runs, decided
