"""Error through training: curves side by side in panels, the papers' numbers beneath."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from normbench.study import collect, experiments, lines, published, style
from normbench.study.drawn import Drawn
from normbench.study.selection import plain, refuse_unlike
from normbench.study.stats import METRIC


@dataclass(frozen=True)
class Curve:
    """The seeds of one setting, as one line."""

    epochs: pd.DataFrame
    look: style.Look
    metric: str = METRIC


@dataclass(frozen=True)
class Panel:
    title: str
    curves: list[Curve]
    theirs: list[tuple[pd.DataFrame, style.Look]] = field(default_factory=list)  # published, by epoch


def gn_fig4(runs: pd.DataFrame) -> Drawn:
    """Wu & He 2018, Figure 4: training and validation curves of BN, LN, IN and GN at 32 images per worker."""
    own, remarks, alone = _own(runs, "gn_fig4", "imagenet")
    norms = experiments.read("gn_fig4").norms
    looks = style.looks(norms)
    table, theirs = collect.epochs(own), _of_paper(own, "Table 1", "imagenet", "resnet50")
    logged = published.at_epochs(_of_paper(own, None, "imagenet", "resnet50", "group_norm_reproduction"))
    points = [(theirs[theirs["norm"] == norm], looks[norm]) for norm in norms]
    points.append((logged, looks["gn"]))
    panels = [
        Panel("training", [Curve(table[table["norm"] == norm], looks[norm], "train_error_pct") for norm in norms]),
        Panel("validation", [Curve(table[table["norm"] == norm], looks[norm]) for norm in norms], points),
    ]
    handles = [lines.handle(look, look.name) for look in looks.values()]
    if logged.size and not alone:
        handles.append(_grey("published"))
    source = "Published: Wu & He 2018, Table 1; the log of Wu's reproduction (GN)." if logged.size else ""
    return _drawn(panels, own, "gn_fig4", handles, remarks, alone, ncols=5, source=source)


def gn_fig5(runs: pd.DataFrame) -> Drawn:
    """Wu & He 2018, Figure 5: validation curves of BN (left) and GN (right) over the images per worker."""
    own, remarks, alone = _own(runs, "gn_fig5", "imagenet")
    theirs = pd.concat(
        [
            published.at_epochs(_of_paper(own, None, "imagenet", "resnet50")),
            _of_paper(own, "Table 2", "imagenet", "resnet50"),
        ]
    ).fillna({"epoch": LAST})
    sizes = experiments.read("gn_fig5").swept["batch"]
    batches = sorted({*map(int, sizes), *(int(b) for b in own["batch"].dropna())}, reverse=True)
    looks = dict(zip(batches, style.shades([f"{batch} images" for batch in batches]), strict=True))
    table = collect.epochs(own)
    panels, free = [], False
    for norm in ("bn", "gn"):
        of_norm = table[table["norm"] == norm]
        curves = [Curve(of_norm[of_norm["batch"] == batch], look) for batch, look in looks.items()]
        if of_norm["batch_free"].any():
            curves.append(Curve(of_norm[of_norm["batch_free"]], ANY))
            free = True
        of_paper = theirs[theirs["norm"] == norm]
        points = [(of_paper[of_paper["batch"] == batch], look) for batch, look in looks.items()]
        panels.append(Panel(style.looks([norm])[norm].name, curves, points))
    handles = [lines.handle(look, look.name) for look in looks.values()]
    handles += [lines.handle(ANY, ANY.name)] if free else []
    handles += [_grey("published")] if len(theirs) and not alone else []
    source = "Published: Wu & He 2018, read off Figure 5, and Table 2." if len(theirs) else ""
    return _drawn(panels, own, "gn_fig5", handles, remarks, alone, ncols=3, source=source)


def brn_fig(runs: pd.DataFrame) -> Drawn:
    """Ioffe 2017, Figures 1 to 3: accuracy against steps of BN and Batch Renorm, in i.i.d. and non-i.i.d. batches."""
    own, remarks, _ = _own(runs, "brn_fig", None)
    wanted = experiments.read("brn_fig")
    labels = "data.labels_per_batch"
    table = collect.epochs(own)
    table = table.assign(accuracy=100 - table[METRIC], steps=table["images_seen"] / table["sgd_batch"])
    kept = table[labels].map(plain) if labels in table else pd.Series("null", index=table.index)
    looks = style.looks(wanted.norms)
    panels = []
    for k in [*dict.fromkeys([*wanted.swept[labels], *kept])]:
        for batch in wanted.swept["batch"]:
            cell = table[(kept == k) & (table["batch"] == int(batch))]
            title = f"{batch} images, " + ("i.i.d." if k == "null" else f"of {k} labels")
            panels.append(Panel(title, [Curve(cell[cell["norm"] == n], looks[n], "accuracy") for n in wanted.norms]))
    panels = [panel for panel in panels if any(len(curve.epochs) for curve in panel.curves)]
    handles = [lines.handle(look, look.name) for look in looks.values()]
    return _drawn(panels, own, "brn_fig", handles, remarks, alone=False, x="steps", y="accuracy (%)")


def wj_ema(runs: pd.DataFrame) -> Drawn:
    """Wu & Johnson 2021: validation error of moving averages against precise statistics through training."""
    own, remarks, _ = _own(runs, "wj_ema", None)
    precise = f"{METRIC}_precise"
    table = collect.epochs(own)
    if precise not in table:
        raise experiments.none_yet("wj_ema")
    names = {METRIC: "moving average", precise: "precise", "train_error_pct": "training"}
    borrowed = style.looks(["bn", "gn", "none"]).values()
    looks = {metric: replace(look, name=name) for (metric, name), look in zip(names.items(), borrowed, strict=True)}
    panels = []
    for batch in sorted({int(b) for b in table["batch"].dropna()}, reverse=True):
        cell = table[table["batch"] == batch]
        panels.append(Panel(f"{batch} images", [Curve(cell, look, metric) for metric, look in looks.items()]))
    handles = [lines.handle(look, look.name) for look in looks.values()]
    return _drawn(panels, own, "wj_ema", handles, remarks, alone=False, ncols=3)


# ---------------------------------------------------------------------------- parts

ANY = style.Look("#444444", "", "-", "any batch")
LAST = 100  # epochs of the GN paper's recipe, where its tables' numbers stand


def _own(runs: pd.DataFrame, name: str, paper_data: str | None) -> tuple[pd.DataFrame, list[str], bool]:
    """A figure's runs that have ended, remarks on others, and whether the paper's numbers stand alone."""
    own, remarks = experiments.belonging(runs, name)
    ended = own[own["state"].isin(experiments.FINISHED)]
    alone = ended.empty
    if alone and (paper_data is None or (len(runs) and paper_data not in set(runs["data"]))):
        raise experiments.none_yet(name)
    swept = experiments.read(name).swept
    refuse_unlike(ended, "a figure", ("seed", "norm", "workers", "sgd_batch", *swept))
    return own, remarks, alone


def _of_paper(
    own: pd.DataFrame, item: str | None, dataset: str, model: str, paper: str = "group_norm_2018"
) -> pd.DataFrame:
    """A paper's numbers where our runs are on its data and network, or where there are none; item None: all items."""
    table = published.as_errors(published.load())
    same = own.empty or (set(own["data"]) == {dataset} and set(own["model"]) == {model})
    keep = (table["paper"] == paper) & (table["dataset"] == dataset) & (table["model"] == model) & same
    table = table[keep & (table["unit"] == METRIC)]
    return table if item is None else table[table["item"] == item].assign(epoch=LAST)


def _drawn(
    panels: Sequence[Panel], own: pd.DataFrame, name: str, handles: list[Line2D], remarks: list[str], alone: bool,
    x: str = "epoch", y: str = "error (%)", ncols: int = 2, source: str = "",
) -> Drawn:  # fmt: skip
    """The panels on one scale, in rows of two; raises ConfigError where there is none."""
    if not panels:
        raise experiments.none_yet(name)
    columns = 2 if len(panels) > 1 else 1
    rows = -(-len(panels) // columns)
    lacking = experiments.missing(own, name)
    with style.paper():
        figure, axes = style.new_panels(rows, columns, 2.0 if rows == 1 else 1.5 * rows)
        heights: list[float] = []
        for place, (panel, ax) in enumerate(zip(panels, axes, strict=False)):
            heights += _draw_panel(ax, panel, x, alone)
            ax.set_title(panel.title, fontsize=7.5)
            ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            if place >= len(panels) - columns:
                ax.set_xlabel(x)
        for spare in axes[len(panels) :]:
            spare.set_axis_off()
        for place, ax in enumerate(axes):
            ax.set_ylabel(y if place % columns == 0 else "")
        _scale(axes, heights, y)
        there = {curve.look.name for panel in panels for curve in panel.curves if len(curve.epochs)}
        absent = {curve.look.name for panel in panels for curve in panel.curves} - there
        style.legend(figure, [line for line in handles if alone or line.get_label() not in absent], ncols)
        spread = "" if own.empty or own["seed"].nunique() < 2 else "Mean ± sd over seeds."
        said = [spread, source, lines.missing_text([] if alone else lacking)]
        style.under(figure, " ".join(filter(None, said)))
    return Drawn(figure, missing=lacking, remarks=remarks, numbers=_numbers(panels, x))


def _draw_panel(axes: Axes, panel: Panel, x: str, alone: bool) -> list[float]:
    heights: list[float] = []
    for curve in panel.curves:
        if len(curve.epochs) and curve.metric in curve.epochs:
            heights += lines.through_training(axes, curve.look, curve.epochs, x, curve.metric)
    for theirs, look in panel.theirs:
        lines.paper_points(axes, theirs, "epoch", look, joined=len(theirs) > 1, alone=alone)
        heights += [*theirs["value"]]
    return heights


def _scale(axes: list[Axes], heights: list[float], y: str) -> None:
    """One scale for all panels; an accuracy is never logarithmic."""
    if y.startswith("accuracy"):
        axes[0].set_ylim(max(0.0, min(heights, default=0) - 5), min(100.0, max(heights, default=100) + 3))
        axes[0].yaxis.set_major_locator(MaxNLocator(5))
        return
    style.value_axis(axes[0], heights)
    for ax in axes[1:]:
        if ax.get_ylabel():
            ax.set_ylabel(axes[0].get_ylabel())


def _grey(label: str) -> Line2D:
    return Line2D([], [], color=style.GREY, linestyle="--", linewidth=0.9, marker=".", label=label)


def _numbers(panels: Sequence[Panel], x: str) -> pd.DataFrame | None:
    """Where each curve ends: the mean over seeds of its last value."""
    rows = []
    for panel in panels:
        for curve in panel.curves:
            done = curve.epochs[curve.epochs["state"] == "done"]
            if len(done) and curve.metric in done:
                last = done.groupby("path")[[x, curve.metric]].last()
                rows.append(
                    [
                        panel.title,
                        curve.look.name,
                        curve.metric,
                        f"{last[x].max():g}",
                        f"{last[curve.metric].mean():.2f}",
                    ]
                )
    table = pd.DataFrame(rows, columns=["panel", "curve", "metric", f"last {x}", "mean"])
    return table.set_index("panel") if rows else None
