"""A paper's figure of error against batch, ours with the paper's own curves."""

from dataclasses import replace

import pandas as pd

from normbench.study.figures import error_vs_batch
from normbench.study.figures.drawing import Drawing
from normbench.study.figures.sheet import Sheet
from normbench.study.read import experiments, overrides, published, setting
from normbench.study.read.belonging import chosen


def reproduce(
    runs: pd.DataFrame, name: str, paper: str, item: str, network: str, strict: bool, sheet: Sheet
) -> Drawing:
    """Our runs of the experiment `name` with a paper's numbers of the same norms.

    The paper's lie beneath ours where data, network and recipe are its own. Else they stand beside
    ours, those of `network` on ImageNet where it has none of ours; without runs they stand alone.
    Those recalled from memory are left out unless the sheet asks for them.
    Raises ConfigError where there is nothing to draw, and where the runs at hand are of other data
    and none of them belongs.
    """
    own, remarks = chosen(runs, name, strict=strict)
    if own.empty and len(runs) and not published.curve(paper, item, *runs[["data", "model"]].iloc[0]).size:
        raise experiments.none_yet(name)
    data, model = own[["data", "model"]].iloc[0] if len(own) else ("imagenet", network)
    theirs = published.curve(paper, item, data, model)
    apart = theirs.empty
    theirs = published.as_errors(published.curve(paper, item, "imagenet", network) if apart else theirs)
    theirs = theirs[theirs["norm"].isin([*experiments.read(name).norms, *own["norm"]])]
    theirs, unread = published.known(theirs, sheet.recalled)
    if own.empty and theirs.empty:
        raise experiments.none_yet(name)
    apart = apart or bool(len(own) and len(theirs) and setting.unlike_the_papers(own, theirs))
    drawing = error_vs_batch.draw(own, experiments.grid(name, own), theirs, apart, sheet)
    return replace(drawing, remarks=[*remarks, *unread], of=overrides.beside(name, own))
