"""The axes of every figure: errors, linear or logarithmic; batch sizes falling to the right."""

import math
from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

AXIS_LABELS = {"top1_error_pct": "top-1 error (%)", "train_error_pct": "training error (%)"}


def value_axis(axes: Axes, values: Sequence[float], room_above: bool = False, linear: bool = False) -> None:
    """The y axis: linear as in the papers, logarithmic where one high value would flatten the rest.

    On a log scale equal ratios of error are equal heights, so 7 against 8 % and 7 against 33 % can
    both be read. linear: in any case, for a figure whose differences are what it shows.
    """
    values = [value for value in values if value > 0 and math.isfinite(value)]
    if values and max(values) > 2.5 * min(values) and not linear:
        axes.set_yscale("log")
        low, high = min(values) / 1.12, max(values) * (1.35 if room_above else 1.12)
        axes.set_ylim(low, high)
        axes.yaxis.set_major_locator(FixedLocator(_round_on_log(low, high)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_ylabel(f"{axes.get_ylabel()}, log scale")
    elif values:
        margin = max(0.05 * (max(values) - min(values)), 0.1)
        axes.set_ylim(min(values) - margin, max(values) + margin * (3 if room_above else 1))
        axes.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))


def _round_on_log(low: float, high: float) -> list[float]:
    """Round numbers from low to high, as many as stand at least a tenth of the axis apart."""
    ticks: list[float] = []
    for leads in ((1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), (1, 1.5, 2, 3, 5, 7), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        ticks = [lead * 10.0**power for power in range(-2, 3) for lead in leads]
        ticks = [tick for tick in ticks if low <= tick <= high]
        gaps = [math.log(above / below) for below, above in pairwise(ticks)]
        if min(gaps, default=math.inf) >= 0.1 * math.log(high / low):
            break
    return ticks


def batch_axis(axes: Axes, batches: list[int]) -> None:
    """The x axis of the GN paper: log2, and decreasing to the right."""
    axes.set_xscale("log", base=2)
    axes.set_xlim(max(batches) * 1.2, min(batches) / 1.2)
    axes.xaxis.set_major_locator(FixedLocator([float(batch) for batch in batches]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("batch size (images per worker)")
