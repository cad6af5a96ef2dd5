"""Ioffe 2017, Batch Renormalization: accuracy through training."""

import pandas as pd

from normbench.records import FINISHED
from normbench.study.figures import lines, training_curves
from normbench.study.figures.drawing import Drawing
from normbench.study.figures.looks import Look, looks_of
from normbench.study.figures.sheet import PAPER, Sheet
from normbench.study.figures.training_curves import Apart, Curve, Panel
from normbench.study.read import collected, experiments, origin, published
from normbench.study.read.belonging import alike
from normbench.study.read.selection import plain
from normbench.study.read.stats import METRIC


def brn_fig(runs: pd.DataFrame, strict: bool = False, sheet: Sheet = PAPER) -> Drawing:
    """Ioffe 2017, Figures 1 to 3: accuracy against steps of BN and Batch Renorm,
    in i.i.d. and non-i.i.d. batches.
    """
    own, remarks = alike(runs, "brn_fig", states=FINISHED, free=("workers", "sgd_batch"), strict=strict)
    wanted = experiments.read("brn_fig")
    labels = "data.labels_per_batch"
    table = collected.epochs(own)
    table = table.assign(accuracy=100 - table[METRIC], steps=table["images_seen"] / table["sgd_batch"])
    kept = table[labels].map(plain) if labels in table else pd.Series("null", index=table.index)
    looks = looks_of(wanted.norms, origin.marks(own))
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
    return training_curves.draw(
        panels,
        own,
        "brn_fig",
        handles,
        remarks,
        alone=False,
        x="steps",
        y="accuracy (%)",
        source=source,
        apart=apart,
        sheet=sheet,
    )


def _finals(looks: dict[str, Look]) -> Apart:
    """The accuracies that the paper's three figures end at; the curves are not at hand."""
    table = published.load()
    items = ["Figure 1", "Figure 2", "Figure 3, non-i.i.d."]
    table = table[(table["paper"] == "batch_renorm_2017") & table["item"].isin(items)]
    table = table.assign(at=table["item"].map(items.index))
    kinds = ["few labels" if "non-i.i.d." in item else "i.i.d." for item in items]
    sizes = [table[table["item"] == item]["batch"].iloc[0] for item in items]
    ticks = [f"{size} images,\n{kind}" for size, kind in zip(sizes, kinds, strict=True)]
    points = [(table[table["norm"] == norm], look) for norm, look in looks.items()]
    return Apart([Panel("accuracy reached", [], points, ticks)], table)
