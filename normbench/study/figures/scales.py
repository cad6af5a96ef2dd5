"""The axes of every figure: errors, linear or logarithmic; batch sizes falling to the right."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from normbench.study.read import stats
from normbench.study.read.stats import Summary

AXIS_LABELS = {"top1_error_pct": "top-1 error (%)", "train_error_pct": "training error (%)"}
WIDE = 2.5  # times the least error is the largest where a linear scale would flatten the rest
Kind = Literal["linear", "log"]


def value_axis(
    axes: Axes, values: Sequence[float], means: Sequence[Summary] = (), *, room_above: bool = False,
    kind: Kind | None = None,
) -> None:  # fmt: skip
    """The y axis: linear as in the papers, logarithmic where one high value would flatten the rest.

    On a log scale equal ratios of error are equal heights, so 7 against 8 % and 7 against 33 % can
    both be read. It is set before anything is drawn, for a bar on a log scale ends at the least
    seed. values, means: what has to fit, the means with their bars. room_above: for marks on the
    upper edge. kind: the scale in any case, for figures whose differences are what they show.
    """
    on_log = [value for value in (*values, *stats.ends(means, log=True)) if value > 0 and math.isfinite(value)]
    if not on_log:
        return
    if kind == "log" or (kind is None and max(on_log) > WIDE * min(on_log)):
        axes.set_yscale("log")
        axes.set_ylim(min(on_log) / 1.12, max(on_log) * (1.35 if room_above else 1.12))
        _log_ticks(axes)
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_ylabel(f"{axes.get_ylabel()}, log scale")
    else:
        values = [value for value in (*values, *stats.ends(means)) if math.isfinite(value)]
        margin = max(0.05 * (max(values) - min(values)), 0.1)
        axes.set_ylim(min(values) - margin, max(values) + margin * (3 if room_above else 1))
        axes.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))


def same_span(one: Axes, other: Axes) -> None:
    """Makes equal heights of two panels equal ratios on log scales, else equal differences.

    Each keeps its middle where it can, for errors on unlike data have no common range.
    """
    log = one.get_yscale() == "log"
    to: Callable[[float], float] = math.log if log else float
    back: Callable[[float], float] = math.exp if log else float
    ranges = [(to(low), to(high)) for low, high in (one.get_ylim(), other.get_ylim())]
    span = max(high - low for low, high in ranges)
    for axes, (low, high) in zip((one, other), ranges, strict=True):
        # No error is more than 100 %, and none less than 0.
        bottom = min((low + high - span) / 2, max(to(100.0), high) - span)
        bottom = bottom if log or low < 0 else max(bottom, 0.0)
        axes.set_ylim(back(bottom), back(bottom + span))
        if log:
            _log_ticks(axes)


def _log_ticks(axes: Axes) -> None:
    """Round numbers, at least a tenth of the axis apart; on a narrow range as on a linear axis."""
    low, high = axes.get_ylim()
    ticks: Sequence[float] = []
    narrow = [MaxNLocator(n, steps=[1, 2, 5, 10]).tick_values(low, high) for n in (7, 5, 4)] if high < 3 * low else []
    leads = ((1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), (1, 1.5, 2, 3, 5, 7), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,))
    for candidates in (*narrow, *([lead * 10.0**power for power in range(-2, 3) for lead in own] for own in leads)):
        ticks = [float(tick) for tick in candidates if low <= tick <= high]
        gaps = [math.log(above / below) for below, above in pairwise(ticks)]
        if min(gaps, default=math.inf) >= 0.1 * math.log(high / low):
            break
    axes.yaxis.set_major_locator(FixedLocator(ticks))


def batch_axis(axes: Axes, batches: list[int]) -> None:
    """The x axis of the GN paper: log2, and decreasing to the right."""
    axes.set_xscale("log", base=2)
    axes.set_xlim(max(batches) * 1.2, min(batches) / 1.2)
    axes.xaxis.set_major_locator(FixedLocator([float(batch) for batch in batches]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("batch size (images per worker)")
