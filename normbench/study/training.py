"""The papers' figures of error through training: which curves they show, and which of the papers' numbers go with them."""

from dataclasses import replace

import pandas as pd

from normbench.study import collect, experiments, lines, published, style
from normbench.study.curves import Apart, Curve, Panel, drawn, grey
from normbench.study.drawn import Drawn
from normbench.study.selection import plain, refuse_unlike
from normbench.study.stats import METRIC


def gn_fig4(runs: pd.DataFrame) -> Drawn:
    """Wu & He 2018, Figure 4: training and validation curves of BN, LN, IN and GN at 32 images per worker."""
    own, remarks, alone = _own(runs, "gn_fig4", "imagenet")
    norms = experiments.read("gn_fig4").norms
    looks = style.looks(norms)
    table = collect.epochs(own)
    theirs = _of_paper("group_norm_2018", "Table 1").assign(at=LAST)
    logged = published.at_epochs(_of_paper("group_norm_reproduction"))
    points = [(theirs[theirs["norm"] == norm], looks[norm]) for norm in norms] + [(logged, looks["gn"])]
    beneath, apart = _placed(own, [points], theirs, ["validation"])
    panels = [
        Panel("training", [Curve(table[table["norm"] == norm], looks[norm], "train_error_pct") for norm in norms]),
        Panel("validation", [Curve(table[table["norm"] == norm], looks[norm]) for norm in norms], beneath[0]),
    ]
    handles = [lines.handle(look, look.name) for look in looks.values()]
    if not alone and apart is None:
        handles.append(grey("published"))
    source = "Published: Wu & He 2018, Table 1; the log of Wu's reproduction (GN)."
    return drawn(panels, own, "gn_fig4", handles, remarks, alone, ncols=5, source=source, apart=apart)


def gn_fig5(runs: pd.DataFrame) -> Drawn:
    """Wu & He 2018, Figure 5: validation curves of BN (left) and GN (right) over the images per worker."""
    own, remarks, alone = _own(runs, "gn_fig5", "imagenet")
    read_off, final = _of_paper("group_norm_2018"), _of_paper("group_norm_2018", "Table 2")
    theirs = pd.concat([published.at_epochs(read_off), final.assign(at=LAST)])
    batches = experiments.grid("gn_fig5", own).batches
    names = [f"{batch} images" if batch > 1 else "1 image" for batch in batches]
    looks = dict(zip(batches, style.shades(names), strict=True))
    table = collect.epochs(own)
    norms = ["bn", "gn"]
    points = [
        [(theirs[(theirs["norm"] == norm) & (theirs["batch"] == batch)], look) for batch, look in looks.items()]
        for norm in norms
    ]
    titles = [style.looks([norm])[norm].name for norm in norms]
    beneath, apart = _placed(own, points, theirs, titles)
    panels, free = [], False
    for norm, title, of_paper in zip(norms, titles, beneath, strict=True):
        of_norm = table[table["norm"] == norm]
        curves = [Curve(of_norm[of_norm["batch"] == batch], look) for batch, look in looks.items()]
        if of_norm["batch_free"].any():
            curves.append(Curve(of_norm[of_norm["batch_free"]], ANY))
            free = True
        panels.append(Panel(title, curves, of_paper))
    handles = [lines.handle(look, look.name) for look in looks.values()]
    handles += [lines.handle(ANY, ANY.name)] if free else []
    handles += [grey("published")] if not alone and apart is None else []
    source = "Published: Wu & He 2018, read off Figure 5 before each drop of the learning rate (BN), and Table 2."
    ncols = 3 if apart is None else 7
    return drawn(panels, own, "gn_fig5", handles, remarks, alone, ncols=ncols, source=source, apart=apart)


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
    apart = _finals(looks)
    source = "Published: Ioffe 2017, Figures 1 to 3; few labels: 16 in a batch."
    return drawn(
        panels, own, "brn_fig", handles, remarks, alone=False, x="steps", y="accuracy (%)", source=source, apart=apart
    )


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
    return drawn(panels, own, "wj_ema", handles, remarks, alone=False, ncols=3)


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


Points = list[tuple[pd.DataFrame, style.Look]]


def _of_paper(paper: str, item: str | None = None) -> pd.DataFrame:
    """A paper's errors of ResNet-50 on ImageNet; item None: all items."""
    table = published.as_errors(published.load())
    keep = (table["paper"] == paper) & (table["dataset"] == "imagenet") & (table["model"] == "resnet50")
    table = table[keep & (table["unit"] == METRIC)]
    return table if item is None else table[table["item"] == item]


def _placed(
    own: pd.DataFrame, points: list[Points], theirs: pd.DataFrame, titles: list[str]
) -> tuple[list[Points], Apart | None]:
    """Where a paper's points go: beneath our panels if the data and network are its own, else in panels apart."""
    same = set(own["data"]) <= set(theirs["dataset"]) and set(own["model"]) <= set(theirs["model"])
    if same:
        return points, None
    panels = [Panel(title, [], of_panel) for title, of_panel in zip(titles, points, strict=True)]
    return [[] for _ in points], Apart(panels, theirs)


def _finals(looks: dict[str, style.Look]) -> Apart:
    """The accuracies that the Batch Renorm paper's three figures end at: the curves themselves are not at hand."""
    table = published.load()
    items = ["Figure 1", "Figure 2", "Figure 3, non-i.i.d."]
    table = table[(table["paper"] == "batch_renorm_2017") & table["item"].isin(items)]
    table = table.assign(at=table["item"].map(items.index))
    kinds = ["few labels" if "non-i.i.d." in item else "i.i.d." for item in items]
    sizes = [table[table["item"] == item]["batch"].iloc[0] for item in items]
    ticks = [f"{size} images,\n{kind}" for size, kind in zip(sizes, kinds, strict=True)]
    points = [(table[table["norm"] == norm], look) for norm, look in looks.items()]
    return Apart([Panel("accuracy reached", [], points, ticks)], table)
