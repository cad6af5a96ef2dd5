"""Wu & He 2018, Group Normalization: error against batch, through training, a layer's features."""

import pandas as pd
from matplotlib.ticker import MaxNLocator

from normbench.records import FINISHED
from normbench.study.figures import layout, lines, style, training_curves
from normbench.study.figures.drawing import Drawing
from normbench.study.figures.looks import Look, looks_of, shades
from normbench.study.figures.reproduction import reproduce
from normbench.study.figures.sheet import PAPER, Sheet
from normbench.study.figures.training_curves import Apart, Curve, Panel, Points
from normbench.study.read import collected, experiments, origin, overrides, probes, published, setting
from normbench.study.read.belonging import alike
from normbench.study.read.missing import missing
from normbench.study.read.stats import METRIC

ANY = Look("#444444", "", "-", "any batch")
LAST = 100  # epochs of the paper's recipe, where its tables' numbers stand
PERCENTILES = ("99", "80", "20", "1")


def gn_fig1(runs: pd.DataFrame, strict: bool = False, sheet: Sheet = PAPER) -> Drawing:
    """Wu & He 2018, Figure 1: BN and GN against batch.

    Over the paper's own curves, beside them where ours are of other data; without runs, the paper's
    alone.
    """
    return reproduce(runs, "gn_fig1", "group_norm_2018", "Table 2", "resnet50", strict, sheet)


def gn_fig4(runs: pd.DataFrame, strict: bool = False, sheet: Sheet = PAPER) -> Drawing:
    """Wu & He 2018, Figure 4: training and validation curves of BN, LN, IN and GN
    at 32 images per worker.
    """
    own, remarks, alone = _curves_of(runs, "gn_fig4", strict)
    norms = experiments.read("gn_fig4").norms
    looks = looks_of(norms, origin.marks(own))
    table = collected.epochs(own)
    theirs = _of_paper("group_norm_2018", "Table 1")
    # Beside each other behind the last epoch: at it they would hide one another.
    theirs = theirs.assign(at=LAST + 6 * theirs["norm"].map(norms.index))
    logged = published.at_epochs(_of_paper("group_norm_reproduction"))
    points = [(theirs[theirs["norm"] == norm], looks[norm]) for norm in norms] + [(logged, looks["gn"])]
    beneath, apart = _placed(own, [points], theirs, ["validation"])
    panels = [
        Panel("training", [Curve(table[table["norm"] == norm], looks[norm], "train_error_pct") for norm in norms]),
        Panel("validation", [Curve(table[table["norm"] == norm], looks[norm]) for norm in norms], beneath[0]),
    ]
    handles = [lines.handle(look, look.name) for look in looks.values()]
    if not alone and apart is None:
        handles.append(training_curves.grey("published"))
    source = (
        "Published: Wu & He 2018, Table 1, final errors side by side (black edges); the log of Wu's reproduction (GN)."
    )
    return training_curves.draw(
        panels, own, "gn_fig4", handles, remarks, alone, ncols=5, source=source, apart=apart, sheet=sheet
    )


def gn_fig5(runs: pd.DataFrame, strict: bool = False, sheet: Sheet = PAPER) -> Drawing:
    """Wu & He 2018, Figure 5: validation curves of BN (left) and GN (right)
    over the images per worker.
    """
    own, remarks, alone = _curves_of(runs, "gn_fig5", strict)
    read_off, final = _of_paper("group_norm_2018"), _of_paper("group_norm_2018", "Table 2")
    theirs = pd.concat([published.at_epochs(read_off), final.assign(at=LAST)])
    batches = experiments.grid("gn_fig5", own).batches
    names = [f"{batch} images" if batch > 1 else "1 image" for batch in batches]
    looks = dict(zip(batches, shades(names), strict=True))
    table = collected.epochs(own)
    norms = ["bn", "gn"]
    points = [
        [(theirs[(theirs["norm"] == norm) & (theirs["batch"] == batch)], look) for batch, look in looks.items()]
        for norm in norms
    ]
    beneath, apart = _placed(own, points, theirs, [look.name for look in looks_of(norms).values()])
    panels, free = [], False
    for (norm, named), of_paper in zip(looks_of(norms, origin.marks(own)).items(), beneath, strict=True):
        of_norm = table[table["norm"] == norm]
        curves = [Curve(of_norm[of_norm["batch"] == batch], look) for batch, look in looks.items()]
        if of_norm["batch_free"].any():
            curves.append(Curve(of_norm[of_norm["batch_free"]], ANY))
            free = True
        panels.append(Panel(named.name, curves, of_paper))
    handles = [lines.handle(look, look.name) for look in looks.values()]
    handles += [lines.handle(ANY, ANY.name)] if free else []
    handles += [training_curves.grey("published")] if not alone and apart is None else []
    source = "Published: Wu & He 2018, read off Figure 5 before each drop of the learning rate (BN), and Table 2."
    ncols = 3 if apart is None else 7
    return training_curves.draw(
        panels, own, "gn_fig5", handles, remarks, alone, ncols=ncols, source=source, apart=apart, sheet=sheet
    )


def gn_fig6(runs: pd.DataFrame, strict: bool = False, sheet: Sheet = PAPER) -> Drawing:
    """Wu & He 2018, Figure 6: percentiles 1, 20, 80 and 99 of a layer's features
    before the norm, through training.
    """
    probed, own, remarks = probes.probed_runs(runs, "gn_fig6", strict)
    norms = [norm for norm in experiments.read("gn_fig6").norms if norm in set(probed["norm"])]
    names = looks_of(norms, origin.marks(probed))
    looks = shades([f"{percentile} %" for percentile in PERCENTILES])
    lacking = missing(own, "gn_fig6")
    with style.paper(sheet):
        # Each norm has its own y scale: they differ by orders of magnitude.
        figure, axes = layout.new_panels(sheet, 1, len(norms), 1.9, one_scale="x")
        for ax, norm in zip(axes, norms, strict=True):
            found = probes.first_seed(probed[probed["norm"] == norm])
            for percentile, look in zip(PERCENTILES, looks, strict=True):
                values = found["percentiles"].map(lambda row, p=percentile: row.get(p))
                ax.plot(found["epochs"], values, color=look.color, linestyle=look.line, linewidth=0.8)
            ax.set_title(names[norm].name)
            ax.set_xlabel("epoch")
            ax.xaxis.set_major_locator(MaxNLocator(3, integer=True))
            ax.yaxis.set_major_locator(MaxNLocator(5))
            ax.tick_params(labelsize="small")
        axes[0].set_ylabel("input of the norm")
        layout.legend(figure, sheet, [lines.handle(look, look.name, marker=False) for look in looks], ncols=4)
        said = [setting.in_words(probed), probes.layer_in_words(probed), lines.missing_text(lacking)]
        layout.finish(figure, sheet, *said, origin.in_words(probed))
    return Drawing(figure, missing=lacking, remarks=remarks, of=overrides.beside("gn_fig6", own))


# ---------------------------------------------------------------------------- Figures 4 and 5


def _curves_of(runs: pd.DataFrame, name: str, strict: bool) -> tuple[pd.DataFrame, list[str], bool]:
    """The runs of a figure, remarks on others, and whether the paper's numbers stand alone."""
    free = ("workers", "sgd_batch")
    own, remarks = alike(runs, name, paper_data="imagenet", states=FINISHED, free=free, strict=strict)
    return own, remarks, not bool(own["state"].isin(FINISHED).any())


def _of_paper(paper: str, item: str | None = None) -> pd.DataFrame:
    """A paper's errors of ResNet-50 on ImageNet; item None: all items."""
    table = published.as_errors(published.load())
    keep = (table["paper"] == paper) & (table["dataset"] == "imagenet") & (table["model"] == "resnet50")
    table = table[keep & (table["unit"] == METRIC)]
    return table if item is None else table[table["item"] == item]


def _placed(
    own: pd.DataFrame, points: list[Points], theirs: pd.DataFrame, titles: list[str]
) -> tuple[list[Points], Apart | None]:
    """The paper's points beneath our panels if data, network and recipe are its own, else apart."""
    if own.empty or not setting.unlike_the_papers(own, theirs):
        return points, None
    panels = [Panel(title, [], of_panel) for title, of_panel in zip(titles, points, strict=True)]
    return [[] for _ in points], Apart(panels, theirs)
