"""Error against the learning rate, a panel a norm: one that loses by its rate has not lost."""

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from normbench.study.figures import layout, lines, scales, style
from normbench.study.figures.drawing import Drawing
from normbench.study.figures.looks import LineStyle, Look, looks_of
from normbench.study.figures.sheet import PAPER, Sheet
from normbench.study.read import experiments, origin, overrides, setting, stats
from normbench.study.read.belonging import chosen
from normbench.study.read.missing import missing
from normbench.study.read.stats import Cell

LR = "recipe.lr"
COLUMNS = 3
STYLES: tuple[LineStyle, ...] = ("-", (0, (3.0, 1.2)), (0, (1.0, 1.0)))  # the largest batch first
OF = ("norm", "batch")  # what a line is one of
Line = dict[float, Cell]  # by learning rate
Found = dict[tuple[str, int | None], Line]


def lr_fig(runs: pd.DataFrame, strict: bool = False, sheet: Sheet = PAPER) -> Drawing:
    """Error against the learning rate, a panel a norm over BN's curves;
    the recipe's rate and each norm's best are marked.

    Every norm and batch with runs at two rates or more is drawn, whether its experiment asks for it
    or not. The best is the least mean without a diverged seed.
    """
    own, remarks = chosen(runs, "lr_fig", any_norm=True, strict=strict)
    found = _lines(own)
    if not found:
        raise experiments.none_yet("lr_fig")
    usual = setting.recipe_lr(own)
    norms = [norm for norm in experiments.read("lr_fig").norms if norm in own["norm"].unique()]
    norms = [norm for norm in dict.fromkeys([*norms, *own["norm"]]) if any(norm == of for of, _ in found)]
    looks, lines_of = looks_of(norms, origin.marks(own)), _line_of(found)
    lacking = missing(own, "lr_fig")
    with style.paper(sheet):
        rows = -(-len(norms) // COLUMNS)
        figure, axes = layout.new_panels(sheet, rows, COLUMNS, 0.45 + 1.0 * rows)
        _scale(axes[0], found)
        for place, (norm, ax) in enumerate(zip(norms, axes, strict=False)):
            _draw_panel(ax, norm, found, looks[norm], lines_of, usual)
            lowest = place >= len(norms) - COLUMNS
            ax.tick_params(labelsize="small", labelbottom=lowest)
            ax.set_xlabel("learning rate" if lowest and place % COLUMNS == 1 % len(norms) else "")
        for spare in axes[len(norms) :]:
            spare.set_axis_off()
        figure.supylabel(axes[0].get_ylabel(), fontsize="medium")
        axes[0].set_ylabel("")
        layout.legend(figure, sheet, _handles(found, lines_of, usual), ncols=3)
        layout.finish(figure, sheet, *_notes(own, found, lacking, axes[0].get_yscale() == "log"))
    numbers = _numbers(found, norms, looks, usual)
    return Drawing(figure, missing=lacking, remarks=remarks, numbers=numbers, of=overrides.beside("lr_fig", own))


# ---------------------------------------------------------------------------- what is drawn


def _lines(own: pd.DataFrame) -> Found:
    """The cells of each norm and batch by learning rate; one rate alone is no line."""
    found: Found = {}
    if LR not in own:
        return found
    for lr in sorted(own[LR].dropna().unique()):
        for cell in stats.against_batch(own[own[LR] == lr]):
            if cell.finished:
                found.setdefault((cell.norm, cell.batch), {})[float(lr)] = cell
    return {of: line for of, line in found.items() if len(line) > 1}


def _rates(found: Found) -> list[float]:
    return sorted({lr for line in found.values() for lr in line})


def _sizes(found: Found, norm: str) -> list[int | None]:
    """The batches of a norm, the largest first, and None for any."""
    return sorted((batch for of, batch in found if of == norm), key=lambda batch: -(batch or math.inf))


def _line_of(found: Found) -> dict[int | None, Look]:
    """How the line of each batch is drawn, in black; that of a batch-free norm as the largest's."""
    sizes = sorted({batch for _, batch in found if batch is not None}, reverse=True)
    looks: dict[int | None, Look] = {
        size: Look("black", "", STYLES[min(place, len(STYLES) - 1)], f"{size} image{'s' * (size > 1)}")
        for place, size in enumerate(sizes)
    }
    if any(batch is None for _, batch in found):
        name = f"{looks[sizes[0]].name}, or any batch" if sizes else "any batch"
        looks |= {batch: Look("black", "", STYLES[0], name) for batch in (None, *sizes[:1])}
    return looks


def _best(line: Line) -> float | None:
    """The rate of the least mean, of those at which no seed diverged."""
    finite = {lr: cell.over_seeds.mean for lr, cell in line.items() if cell.over_seeds.n and not cell.diverged}
    return min(finite, key=lambda lr: finite[lr]) if finite else None


# ---------------------------------------------------------------------------- how


def _draw_panel(
    axes: Axes, norm: str, found: Found, look: Look, lines_of: dict[int | None, Look], usual: float | None
) -> None:
    rates = _rates(found)
    if usual is not None:
        axes.axvline(usual, color=style.GREY, linewidth=0.6, linestyle="-", zorder=1)
    for batch in _beneath(found) if norm != "bn" else ():
        means = [cell.over_seeds.mean if (cell := found["bn", batch].get(lr)) else math.nan for lr in rates]
        axes.plot(rates, means, color=style.GREY, linestyle=lines_of[batch].line, linewidth=0.9, zorder=1.5)
    for batch in _sizes(found, norm):
        line = found[norm, batch]
        drawn = Look(look.color, look.marker, lines_of[batch].line, look.name)
        lines.points(axes, drawn, {lr: cell.over_seeds for lr, cell in line.items()}, rates, size=3, width=1)
        for lr, cell in line.items():
            if cell.diverged:
                lines.diverged(axes, look, lr)
        best = _best(line)
        if best is not None:
            axes.plot([best], [line[best].over_seeds.mean], **_RING)  # type: ignore[arg-type]
    axes.set_title(look.name, pad=6)


def _beneath(found: Found) -> list[int | None]:
    """BN's largest and smallest batch, which every other norm is seen against."""
    sizes = _sizes(found, "bn")
    return list(dict.fromkeys([*sizes[:1], *sizes[-1:]]))


_RING = {
    "marker": "o", "markersize": 7.5, "markerfacecolor": "none", "markeredgecolor": "black", "markeredgewidth": 0.7,
    "linestyle": "", "zorder": 5,
}  # fmt: skip


def _scale(axes: Axes, found: Found) -> None:
    """The scale of all panels, which share it; the name of its y axis stands once for all."""
    rates = _rates(found)
    named = set(rates[:: -(-len(rates) // 3)])  # three labels fit under a panel
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(rates))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value in named else ""))
    axes.set_ylabel(scales.AXIS_LABELS[stats.METRIC])
    scales.value_axis(axes, [], [cell.over_seeds for line in found.values() for cell in line.values()])


def _handles(found: Found, lines_of: dict[int | None, Look], usual: float | None) -> list[Line2D]:
    handles = [lines.handle(look, look.name) for look in dict.fromkeys(lines_of.values())]
    beneath = " and ".join(str(batch) for batch in _beneath(found))
    if beneath:
        handles.append(lines.handle(Look(style.GREY, "", "-", ""), f"BN at {beneath}"))
    handles.append(Line2D([], [], label="best", **_RING))  # type: ignore[arg-type]
    if usual is not None:
        handles.append(
            Line2D([], [], color=style.GREY, marker="|", markersize=9, linestyle="", label="the recipe's lr")
        )
    if any(cell.diverged for line in found.values() for cell in line.values()):
        handles.append(Line2D([], [], color="black", marker="x", linestyle="", label="diverged"))
    return handles


def _notes(own: pd.DataFrame, found: Found, lacking: list[str], log: bool) -> list[str]:
    summaries = [cell.over_seeds for line in found.values() for cell in line.values() if cell.over_seeds.n]
    counts = sorted({summary.n for summary in summaries})
    n = " to ".join(str(count) for count in dict.fromkeys([*counts[:1], *counts[-1:]]))
    chosen_on = "Best: the least mean that is shown; to choose it on the test set flatters."
    said = [f"{lines.spread_text(summaries, log, n)} {chosen_on}", lines.missing_text(lacking), origin.in_words(own)]
    return [setting.in_words(own), *said]


def _numbers(found: Found, norms: list[str], looks: dict[str, Look], usual: float | None) -> pd.DataFrame:
    """A row a curve: its errors by rate, its best rate, what the recipe's costs it in points."""
    rows = {}
    for norm in norms:
        for batch in _sizes(found, norm):
            line, best = found[norm, batch], _best(found[norm, batch])
            row = {f"{lr:g}": stats.in_words(line[lr]) if lr in line else "missing" for lr in _rates(found)}
            row["best lr"] = "" if best is None else f"{best:g}"
            at_usual = line[usual].over_seeds.mean if usual in line else math.nan
            cost = math.nan if best is None else at_usual - line[best].over_seeds.mean
            row["recipe's lr costs"] = "" if math.isnan(cost) else f"{cost:.2f}"
            rows[f"{looks[norm].name} at {batch}" if batch else f"{looks[norm].name}, any batch"] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("learning rate")
