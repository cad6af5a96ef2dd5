"""Wu & Johnson 2021, Rethinking "Batch" in BatchNorm: error by whose statistics evaluation uses."""

from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes

from normbench.records import FINISHED
from normbench.study.figures import beside, layout, lines, scales, style, training_curves
from normbench.study.figures.drawing import Drawing
from normbench.study.figures.looks import Look, looks_of
from normbench.study.figures.sheet import PAPER, Sheet
from normbench.study.figures.training_curves import Curve, Panel
from normbench.study.read import collected, experiments, origin, overrides, published, setting, stats
from normbench.study.read.belonging import alike
from normbench.study.read.missing import missing
from normbench.study.read.selection import plain
from normbench.study.read.stats import METRIC, Summary

FROZEN = "recipe.freeze_from"
LAST_EPOCHS = 5  # the median over them, as for the metric of record
CURVES = {  # the paper's item, and how ours is measured
    "mini-batch statistics, training set": ("training, mini-batch statistics", "train_error_pct"),
    "mini-batch statistics": ("validation, mini-batch statistics", f"{METRIC}_batch"),
    "population statistics": ("validation, population statistics", METRIC),
    "FrozenBN in the last 20 epochs": ("validation, frozen for the last fifth", METRIC),
}


def wj_fig(runs: pd.DataFrame, strict: bool = False, sheet: Sheet = PAPER) -> Drawing:
    """Wu & Johnson 2021: train, mini-batch, population and frozen-BN error
    against normalization batch size.
    """
    own, remarks = alike(runs, "wj_fig", paper_data="imagenet", states=("done",), strict=strict)
    theirs = _paper()
    done = own[own["state"] == "done"]
    apart = len(done) > 0 and bool(setting.unlike_the_papers(done, theirs, free=(FROZEN,)))
    beneath = theirs[:0] if apart else theirs
    found = {item: _curve(done, item, metric) for item, (_, metric) in CURVES.items()}
    means = [summary for line in found.values() for summary in line.values()]
    wanted = [] if done.empty else [*experiments.read("wj_fig").swept["batch"], *done["batch"].dropna()]
    batches = sorted({*map(int, wanted), *map(int, beneath["batch"])}, reverse=True)
    looks = dict(zip(CURVES, looks_of(["none", "ln", "bn", "gn"]).values(), strict=True))
    lacking = missing(own, "wj_fig")
    with style.paper(sheet):
        if apart:
            figure, left, right = layout.new_halves(sheet, 2.5, beside.titles(own, theirs))
            axes, their_axes = left.add_subplot(), right.add_subplot()
            sizes = sorted({*batches, *_sizes(theirs)}, reverse=True)
            _draw(axes, found, beneath, sizes, looks)
            _draw(their_axes, {}, theirs, sizes, looks)
            scales.same_span(axes, their_axes)
            of = beside.small_print(done, theirs, (FROZEN,))
        else:
            figure, axes = layout.new_axes(sheet, 2.35)
            _draw(axes, found, beneath, batches, looks)
            of = setting.in_words(theirs if done.empty else done)
        drawn = {*theirs["item"]} if apart or done.empty else set()
        shown = [item for item in CURVES if found[item] or item in drawn]
        handles = [lines.handle(looks[i], lines.seeds(CURVES[i][0], list(found[i].values()))) for i in shown]
        layout.legend(figure, sheet, handles, ncols=2 if apart else 1)
        citation = "" if apart else f"{'Grey: ' if means else ''}{published.CITATIONS['wu_johnson_2021']}."
        said = [of, citation, lines.spread_text(means), "" if done.empty else lines.missing_text(lacking)]
        layout.finish(figure, sheet, *said, origin.in_words(done))
    numbers = _numbers(found, batches) if means else None
    return Drawing(figure, missing=lacking, remarks=remarks, numbers=numbers, of=overrides.beside("wj_fig", own))


def wj_ema(runs: pd.DataFrame, strict: bool = False, sheet: Sheet = PAPER) -> Drawing:
    """Wu & Johnson 2021: validation error of moving averages against precise statistics
    through training.
    """
    own, remarks = alike(runs, "wj_ema", states=FINISHED, free=("workers", "sgd_batch"), strict=strict)
    precise = f"{METRIC}_precise"
    table = collected.epochs(own)
    if precise not in table:
        raise experiments.none_yet("wj_ema")
    names = {METRIC: "moving average", precise: "precise", "train_error_pct": "training"}
    borrowed = looks_of(["bn", "gn", "none"]).values()
    looks = {metric: replace(look, name=name) for (metric, name), look in zip(names.items(), borrowed, strict=True)}
    panels = []
    for batch in sorted({int(b) for b in table["batch"].dropna()}, reverse=True):
        at_batch = table[table["batch"] == batch]
        panels.append(Panel(f"{batch} images", [Curve(at_batch, look, metric) for metric, look in looks.items()]))
    handles = [lines.handle(look, look.name) for look in looks.values()]
    return training_curves.draw(panels, own, "wj_ema", handles, remarks, alone=False, ncols=3, sheet=sheet)


# ---------------------------------------------------------------------------- parts


def _draw(
    axes: Axes, found: dict[str, dict[float, Summary]], theirs: pd.DataFrame, batches: list[int],
    looks: dict[str, Look],
) -> None:  # fmt: skip
    """Our curves over the paper's, or the paper's alone."""
    scales.batch_axis(axes, batches)
    axes.set_xlabel("normalization batch size (images per worker)")
    axes.set_ylabel("error (%)")
    means = [summary for line in found.values() for summary in line.values()]
    # Linear, since the gaps between the curves add up.
    scales.value_axis(axes, list(theirs["value"]), means, kind="linear")
    for item, look in looks.items():
        lines.paper_curve(axes, theirs[theirs["item"] == item], _sizes(theirs), look, alone=not any(found.values()))
        if found.get(item):
            lines.points(axes, look, found[item], sorted(found[item], reverse=True))


def _paper() -> pd.DataFrame:
    """The paper's curves."""
    table = published.load()
    return table[(table["paper"] == "wu_johnson_2021") & table["item"].isin(CURVES) & (table["dataset"] == "imagenet")]


def _sizes(theirs: pd.DataFrame) -> list[int]:
    return sorted({int(batch) for batch in theirs["batch"]}, reverse=True)


def _numbers(found: dict[str, dict[float, Summary]], batches: list[int]) -> pd.DataFrame:
    """One row per batch size, one column per curve."""
    texts = {CURVES[item][0]: {str(int(b)): stats.mean_sd(s) for b, s in line.items()} for item, line in found.items()}
    table = pd.DataFrame(texts).reindex([str(batch) for batch in batches])
    return table.astype(object).fillna("missing").rename_axis("images per worker")


def _curve(runs: pd.DataFrame, item: str, metric: str) -> dict[float, Summary]:
    """Mean over seeds at each batch size, of the runs that this curve is about."""
    frozen = runs[FROZEN].map(plain) != "null" if FROZEN in runs else pd.Series(False, index=runs.index)
    own = runs[frozen] if item.startswith("FrozenBN") else runs[~frozen]
    found: dict[float, Summary] = {}
    for batch, seeds in own.groupby("batch"):
        summary = stats.mean_over_seeds(seeds) if metric == METRIC else _over_seeds(seeds, metric)
        if summary.n:
            found[float(str(batch))] = summary
    return found


def _over_seeds(runs: pd.DataFrame, metric: str) -> Summary:
    """Of a column that only the epochs have: the median of each run's last ones."""
    table = collected.epochs(runs)
    if metric not in table:
        return stats.summarise([])
    medians = table.dropna(subset=[metric]).groupby("path")[metric].apply(lambda run: run.tail(LAST_EPOCHS).median())
    return stats.summarise([float(value) for value in medians])
