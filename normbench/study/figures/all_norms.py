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
from normbench.study.read import experiments, origin, setting, stats
from normbench.study.read.belonging import chosen, without_variants
from normbench.study.read.missing import missing
from normbench.study.read.stats import Cell
from normbench.study.read.text import as_label


def all_norms(runs: pd.DataFrame, strict: bool = False) -> Drawing:
    """The error of every norm at every batch size, best mean first; darker is better."""
    own, remarks = chosen(without_variants(runs), "all_norms", any_norm=True, strict=strict)
    if own.empty:
        raise experiments.none_yet("all_norms")
    batches = experiments.grid("all_norms", own).batches
    cells = [cell for cell in stats.against_batch(own) if cell.batch is None or cell.batch in batches]
    errors = _errors(cells, batches)
    if errors.isna().all(axis=None):
        raise ConfigError(f"no run of all_norms is finished; {', '.join(experiments.commands('all_norms'))} goes on")
    order = errors.fillna(100.0).mean(axis=1).sort_values(kind="stable").index
    lost = {(cell.norm, cell.batch) for cell in cells if cell.diverged}
    free = {cell.norm for cell in cells if cell.batch is None}
    looks = looks_of(list(order), origin.marks(own))
    lacking = missing(own, "all_norms")
    with style.paper():
        figure, axes = layout.new_axes(0.6 + 0.135 * len(order))
        _draw_map(axes, errors.loc[order], lost)
        axes.set_xticks(range(len(batches)), [str(batch) for batch in batches])
        axes.set_yticks(
            range(len(order)), [as_label(looks[norm].name) + (" †" if norm in free else "") for norm in order]
        )
        axes.tick_params(length=0, labelsize=6.5)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("batch size (images per worker)")
        layout.under(figure, "\n".join(filter(None, [_notes(cells, free, lost, lacking), origin.in_words(own)])))
    return Drawing(figure, cells, lacking, remarks, of=setting.filters(own))


def _draw_map(axes: Axes, errors: pd.DataFrame, lost: set[tuple[str, int | None]]) -> None:
    """One row per norm, one column per batch size, its number in each field; lost: the diverged."""
    shown = errors.to_numpy()
    low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
    colors = LogNorm(low, max(high, low * 1.01))
    axes.imshow(shown, cmap="cividis", norm=colors, aspect="auto")
    scale = matplotlib.colormaps["cividis"]
    for y, norm in enumerate(errors.index):
        for x, batch in enumerate(map(int, errors.columns)):
            value = float(shown[y, x])
            unknown = math.isnan(value)
            diverged = (norm, batch) in lost or (norm, None) in lost
            text = ("div." if diverged else "") if unknown else f"{value:.1f}" + ("*" if diverged else "")
            dark = not unknown and sum(scale(colors(value))[:3]) < 1.5
            axes.text(x, y, text, ha="center", va="center", fontsize=6, color="white" if dark else "black")


def _errors(cells: list[Cell], batches: list[int]) -> pd.DataFrame:
    """Mean error by norm and batch; a batch-free norm's stands at every batch."""
    table = pd.DataFrame(index=list(dict.fromkeys(cell.norm for cell in cells)), columns=batches, dtype=float)
    for cell in cells:
        for batch in batches if cell.batch is None else [cell.batch]:
            table.loc[cell.norm, batch] = cell.over_seeds.mean
    return table


def _notes(cells: list[Cell], free: set[str], lost: set[tuple[str, int | None]], lacking: list[str]) -> str:
    seeds = sorted({cell.over_seeds.n for cell in cells if cell.over_seeds.n})
    n = f"n = {seeds[0]}" if len(seeds) == 1 else f"n = {seeds[0]} to {seeds[-1]}"
    said = [f"Top-1 error (%), mean over seeds ({n}); best mean first; colour on a log scale."]
    if free:
        said.append("† batch-free: one run serves every size.")
    if lost:
        said.append("div.: diverged; * some of the seeds did.")
    return "\n".join(filter(None, [" ".join(said), lines.missing_text(lacking)]))
