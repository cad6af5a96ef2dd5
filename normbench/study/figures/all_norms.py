"""Every norm at every batch size, as a heat map: so many curves would hide each other."""

import math

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from normbench.config import ConfigError
from normbench.study.figures import layout, lines, style
from normbench.study.figures.drawing import Drawing
from normbench.study.figures.looks import looks_of
from normbench.study.figures.sheet import PAPER, Sheet
from normbench.study.read import experiments, origin, overrides, setting, stats
from normbench.study.read.belonging import chosen, without_variants
from normbench.study.read.missing import missing
from normbench.study.read.stats import Cell
from normbench.study.read.text import as_label

Found = dict[tuple[str, int | None], Cell]  # by norm and batch


def all_norms(runs: pd.DataFrame, strict: bool = False, sheet: Sheet = PAPER) -> Drawing:
    """The error of every norm at every batch size with its sd, that of the least error at small
    batches first; darker is better.
    """
    own, remarks = chosen(without_variants(runs), "all_norms", any_norm=True, strict=strict)
    if own.empty:
        raise experiments.none_yet("all_norms")
    batches = experiments.grid("all_norms", own).batches
    cells = [cell for cell in stats.against_batch(own) if cell.batch is None or cell.batch in batches]
    if not any(cell.over_seeds.n for cell in cells):
        raise ConfigError(f"no run of all_norms is finished; {', '.join(experiments.commands('all_norms'))} goes on")
    order = stats.by_small_batches(cells, batches)
    free = {cell.norm for cell in cells if cell.batch is None}
    looks = looks_of(order, origin.marks(own))
    lacking = missing(own, "all_norms")
    with style.paper(sheet):
        figure, axes = layout.new_axes(sheet, 0.5 + 0.16 * len(order), page=True)
        _draw_map(axes, {(cell.norm, cell.batch): cell for cell in cells}, order, batches)
        axes.set_xticks(range(len(batches)), [str(batch) for batch in batches])
        axes.set_yticks(
            range(len(order)), [as_label(looks[norm].name) + (" †" if norm in free else "") for norm in order]
        )
        axes.tick_params(length=0)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("batch size (images per worker)")
        said = [setting.in_words(own), _notes(cells, free), lines.missing_text(lacking), origin.in_words(own)]
        layout.finish(figure, sheet, *said)
    return Drawing(figure, cells, lacking, remarks, of=overrides.beside("all_norms", own))


def _draw_map(axes: Axes, at: Found, order: list[str], batches: list[int]) -> None:
    """One row per norm, one column per batch size, mean and sd in each field; a batch-free norm's
    stands in every column.
    """
    fields = [[at.get((norm, batch), at.get((norm, None))) for batch in batches] for norm in order]
    errors = np.array([[cell.over_seeds.mean if cell else math.nan for cell in row] for row in fields])
    low, high = float(np.nanmin(errors)), float(np.nanmax(errors))
    colors = LogNorm(low, max(high, low * 1.01))
    axes.imshow(errors, cmap="cividis", norm=colors, aspect="auto")
    scale = matplotlib.colormaps["cividis"]
    for y, row in enumerate(fields):
        for x, cell in enumerate(row):
            if cell:
                dark = cell.over_seeds.n and sum(scale(colors(cell.over_seeds.mean))[:3]) < 1.5
                color = "white" if dark else "black"
                axes.text(x, y, _field(cell), ha="center", va="center", fontsize="small", color=color)


def _field(cell: Cell) -> str:
    """5.9 ± 0.3, with a star where a further seed diverged; div. where all did."""
    found = cell.over_seeds
    if not found.n:
        return "div." if cell.diverged else ""
    spread = f" ± {found.sd:.1f}" if found.n > 1 else ""
    return f"{found.mean:.1f}{spread}{'*' if cell.diverged else ''}"


def _notes(cells: list[Cell], free: set[str]) -> str:
    seeds = sorted({cell.over_seeds.n for cell in cells if cell.over_seeds.n})
    n = f"n = {seeds[0]}" if len(seeds) == 1 else f"n = {seeds[0]} to {seeds[-1]}"
    said = [f"Top-1 error (%), mean ± sd over seeds ({n}); {stats.ORDER}; colour on a log scale."]
    if 1 in seeds:
        said.append("Without ±: a single seed.")
    if free:
        said.append("† batch-free: one run serves every size.")
    if any(cell.diverged for cell in cells):
        said.append("div.: diverged; * some of the seeds did.")
    return " ".join(said)
