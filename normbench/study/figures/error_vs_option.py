"""Error against an option of a norm: a line for each norm, its means and spreads over the seeds."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from normbench.study.figures import layout, lines, scales, style
from normbench.study.figures.drawing import Drawing
from normbench.study.figures.looks import Look
from normbench.study.figures.sheet import Sheet
from normbench.study.read import experiments, origin, overrides, setting, stats
from normbench.study.read.missing import missing
from normbench.study.read.selection import plain
from normbench.study.read.stats import METRIC, Summary

Line = tuple[Look, str, dict[float, Summary]]  # its look, its name, its mean at each x


def draw(
    name: str, own: pd.DataFrame, found: Sequence[Line], xs: list[float], x: str, remarks: list[str], log: bool,
    sheet: Sheet,
) -> Drawing:  # fmt: skip
    """The lines over the values xs of an option; x: its name; log: on a logarithmic scale.

    own: the runs of the figure `name`. Raises ConfigError where no line has a point.
    """
    if not any(line for _, _, line in found):
        raise experiments.none_yet(name)
    lacking = missing(own, name)
    with style.paper(sheet):
        figure, axes = layout.new_axes(sheet, 2.2)
        axes.set_ylabel(scales.AXIS_LABELS[METRIC])
        summaries = [summary for _, _, line in found for summary in line.values()]
        scales.value_axis(axes, [], summaries)
        handles = []
        for look, label, line in found:
            if line:
                lines.points(axes, look, line, xs)
                handles.append(lines.handle(look, lines.seeds(label, list(line.values()))))
        if log:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_locator(FixedLocator(xs))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel(x)
        layout.legend(figure, sheet, handles)
        said = [lines.spread_text(summaries, axes.get_yscale() == "log"), lines.missing_text(lacking)]
        layout.finish(figure, sheet, setting.in_words(own), *said, origin.in_words(own))
    table = pd.DataFrame({label: {f"{at:g}": stats.mean_sd(s) for at, s in line.items()} for _, label, line in found})
    table = table.reindex([f"{at:g}" for at in xs]).astype(object).fillna("missing").rename_axis(x.partition(" (")[0])
    return Drawing(figure, missing=lacking, remarks=remarks, numbers=table, of=overrides.beside(name, own))


def by_option(runs: pd.DataFrame, option: str) -> dict[float, Summary]:
    """The mean over seeds at each value of an option; runs that do not say theirs have no place."""
    if option not in runs:
        return {}
    values = [value for value in runs[option].map(plain).unique() if value != "null"]
    at = {float(value): stats.mean_over_seeds(runs[runs[option].map(plain) == value]) for value in values}
    return {value: summary for value, summary in at.items() if summary.n}
