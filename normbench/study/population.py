"""Error by whose statistics it is measured with: the decomposition of batch normalization's error at small batches."""

import pandas as pd

from normbench.study import collect, experiments, lines, published, stats, style
from normbench.study.drawn import Drawn
from normbench.study.selection import plain, refuse_unlike, setting_free
from normbench.study.stats import METRIC, Summary

FROZEN = "recipe.freeze_from"
LAST_EPOCHS = 5  # the median over them, as for the metric of record
CURVES = {  # the paper's item, and how ours is measured
    "mini-batch statistics, training set": ("training, mini-batch statistics", "train_error_pct"),
    "mini-batch statistics": ("validation, mini-batch statistics", f"{METRIC}_batch"),
    "population statistics": ("validation, population statistics", METRIC),
    "FrozenBN in the last 20 epochs": ("validation, frozen for the last fifth", METRIC),
}


def wj_fig(runs: pd.DataFrame) -> Drawn:
    """Wu & Johnson 2021: train, mini-batch, population and frozen-BN error against normalization batch size."""
    own, remarks = experiments.belonging(runs, "wj_fig")
    theirs = _paper(own)
    ended = own[own["state"] == "done"]
    if ended.empty and (theirs.empty or (len(runs) and "imagenet" not in set(runs["data"]))):
        raise experiments.none_yet("wj_fig")
    refuse_unlike(ended, "a figure", (*setting_free(ended), "norm", FROZEN))
    found = {item: _curve(ended, item, metric) for item, (_, metric) in CURVES.items()}
    wanted = experiments.read("wj_fig")
    sizes = {int(b) for b in (theirs["batch"] if ended.empty else [*wanted.swept["batch"], *ended["batch"].dropna()])}
    batches = sorted({*sizes, *(int(b) for b in theirs["batch"])}, reverse=True)
    looks = dict(zip(CURVES, style.looks(["none", "ln", "bn", "gn"]).values(), strict=True))
    lacking = experiments.missing(own, "wj_fig")
    with style.paper():
        figure, axes = style.new_axes(2.35)
        style.batch_axis(axes, batches)
        axes.set_xlabel("normalization batch size (images per worker)")
        axes.set_ylabel("error (%)")
        handles = []
        for item, look in looks.items():
            of_paper = theirs[theirs["item"] == item]
            lines.paper_points(axes, of_paper, "batch", look, joined=True, alone=ended.empty)
            if found[item]:
                lines.points(axes, look, found[item], batches)
            if found[item] or (ended.empty and len(of_paper)):
                handles.append(lines.handle(look, lines.seeds(CURVES[item][0], list(found[item].values()))))
        drawn = [summary for line in found.values() for summary in line.values()]
        style.value_axis(axes, [*stats.ends(drawn), *theirs["value"]])
        style.legend(figure, handles, ncols=1)
        citation = f"Grey: {CITATION}." if len(theirs) and drawn else f"{CITATION}." if len(theirs) else ""
        spread = "Mean ± sd over n seeds." if any(summary.n > 1 for summary in drawn) else ""
        said = [citation, spread, "" if ended.empty else lines.missing_text(lacking)]
        style.under(figure, "\n".join(filter(None, said)))
    texts = {CURVES[item][0]: {str(int(b)): stats.mean_sd(s) for b, s in line.items()} for item, line in found.items()}
    numbers = (
        pd.DataFrame(texts)
        .reindex([str(b) for b in batches])
        .astype(object)
        .fillna("missing")
        .rename_axis("images per worker")
    )
    return Drawn(figure, missing=lacking, remarks=remarks, numbers=numbers if drawn else None)


CITATION = published.CITATIONS["wu_johnson_2021"]


def _paper(own: pd.DataFrame) -> pd.DataFrame:
    """The paper's curves, where our runs are on its data and network, or there are none."""
    table = published.load()
    table = table[(table["paper"] == "wu_johnson_2021") & table["item"].isin(CURVES) & (table["dataset"] == "imagenet")]
    same = own.empty or (set(own["data"]) == {"imagenet"} and set(own["model"]) == set(table["model"]))
    return table if same else table[:0]


def _curve(runs: pd.DataFrame, item: str, metric: str) -> dict[float, Summary]:
    """Mean over seeds at each batch size, of the runs that this curve is about."""
    frozen = runs[FROZEN].map(plain) != "null" if FROZEN in runs else pd.Series(False, index=runs.index)
    own = runs[frozen] if item.startswith("FrozenBN") else runs[~frozen]
    found: dict[float, Summary] = {}
    for batch, cell in own.groupby("batch"):
        summary = stats.mean_over_seeds(cell) if metric == METRIC else _over_seeds(cell, metric)
        if summary.n:
            found[float(str(batch))] = summary
    return found


def _over_seeds(cell: pd.DataFrame, metric: str) -> Summary:
    """Of a column that only the epochs have: the median of each run's last ones."""
    table = collect.epochs(cell)
    if metric not in table:
        return stats.summarise([])
    medians = table.dropna(subset=[metric]).groupby("path")[metric].apply(lambda run: run.tail(LAST_EPOCHS).median())
    return stats.summarise([float(value) for value in medians])
