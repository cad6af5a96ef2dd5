"""Error by whose statistics it is measured with: the decomposition of batch normalization's error at small batches."""

import pandas as pd
from matplotlib.axes import Axes

from normbench.study import beside, collect, experiments, lines, published, scales, stats, style
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
    theirs = _paper()
    ended = own[own["state"] == "done"]
    if ended.empty and len(runs) and "imagenet" not in set(runs["data"]):
        raise experiments.none_yet("wj_fig")
    refuse_unlike(ended, "a figure", (*setting_free(ended), "norm", FROZEN))
    apart = len(ended) > 0 and not (set(own["data"]) == {"imagenet"} and set(own["model"]) == set(theirs["model"]))
    beneath = theirs[:0] if apart else theirs
    found = {item: _curve(ended, item, metric) for item, (_, metric) in CURVES.items()}
    drawn = [summary for line in found.values() for summary in line.values()]
    wanted = [] if ended.empty else [*experiments.read("wj_fig").swept["batch"], *ended["batch"].dropna()]
    batches = sorted({*map(int, wanted), *map(int, beneath["batch"])}, reverse=True)
    looks = dict(zip(CURVES, style.looks(["none", "ln", "bn", "gn"]).values(), strict=True))
    lacking = experiments.missing(own, "wj_fig")
    with style.paper():
        if apart:
            figure, left, right = style.new_halves(2.5, beside.titles(own, theirs))
            axes = left.add_subplot()
            _draw(right.add_subplot(), {}, theirs, _sizes(theirs), looks)
        else:
            figure, axes = style.new_axes(2.35)
        _draw(axes, found, beneath, batches, looks)
        shown = [item for item in CURVES if found[item] or not len(ended)]
        handles = [lines.handle(looks[i], lines.seeds(CURVES[i][0], list(found[i].values()))) for i in shown]
        style.legend(figure, handles, ncols=2 if apart else 1)
        citation = "" if apart else f"{'Grey: ' if drawn else ''}{CITATION}."
        spread = "Mean ± sd over n seeds." if any(summary.n > 1 for summary in drawn) else ""
        said = [beside.small_print(ended, theirs) if apart else "", citation, spread]
        style.under(figure, "\n".join(filter(None, [*said, "" if ended.empty else lines.missing_text(lacking)])))
    return Drawn(figure, missing=lacking, remarks=remarks, numbers=_numbers(found, batches) if drawn else None)


CITATION = published.CITATIONS["wu_johnson_2021"]


# ---------------------------------------------------------------------------- parts


def _draw(
    axes: Axes, found: dict[str, dict[float, Summary]], theirs: pd.DataFrame, batches: list[int],
    looks: dict[str, style.Look],
) -> None:  # fmt: skip
    """Our curves over the paper's, or the paper's alone."""
    scales.batch_axis(axes, batches)
    axes.set_xlabel("normalization batch size (images per worker)")
    axes.set_ylabel("error (%)")
    for item, look in looks.items():
        lines.paper_curve(axes, theirs[theirs["item"] == item], _sizes(theirs), look, alone=not any(found.values()))
        if found.get(item):
            lines.points(axes, look, found[item], batches)
    drawn = [summary for line in found.values() for summary in line.values()]
    scales.value_axis(axes, [*stats.ends(drawn), *theirs["value"]], linear=True)  # the gaps between the curves add up


def _paper() -> pd.DataFrame:
    """The paper's curves."""
    table = published.load()
    return table[(table["paper"] == "wu_johnson_2021") & table["item"].isin(CURVES) & (table["dataset"] == "imagenet")]


def _sizes(theirs: pd.DataFrame) -> list[int]:
    return sorted({int(batch) for batch in theirs["batch"]}, reverse=True)


def _numbers(found: dict[str, dict[float, Summary]], batches: list[int]) -> pd.DataFrame:
    """A row a batch size, a column a curve."""
    texts = {CURVES[item][0]: {str(int(b)): stats.mean_sd(s) for b, s in line.items()} for item, line in found.items()}
    table = pd.DataFrame(texts).reindex([str(batch) for batch in batches])
    return table.astype(object).fillna("missing").rename_axis("images per worker")


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
