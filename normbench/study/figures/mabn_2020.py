"""Yan et al. 2020, Moving Average BN: error against batch, statistics of a BN layer."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from normbench.study.figures import layout, lines, style
from normbench.study.figures.drawing import Drawing
from normbench.study.figures.looks import Look, look_of
from normbench.study.figures.reproduction import reproduce
from normbench.study.figures.sheet import PAPER, Sheet
from normbench.study.read import origin, overrides, probes, setting
from normbench.study.read.missing import missing

# Fields of a probe, and what the paper calls them; y is the layer's output before gamma and beta.
STATISTICS = {
    "mean": r"mean $\mu_B$",
    "var": r"variance $\sigma_B^2$",
    "grad_mean": r"$g_B$, mean of $\partial L/\partial y$",
    "grad_product": r"$\Psi_B$, mean of $y\,\partial L/\partial y$",
}


def mabn_errors(runs: pd.DataFrame, strict: bool = False, sheet: Sheet = PAPER) -> Drawing:
    """Yan et al. 2020: BN, Batch Renorm and MABN against batch."""
    return reproduce(runs, "mabn_errors", "mabn_2020", "error against batch size", "resnet50", strict, sheet)


def mabn_fig(runs: pd.DataFrame, strict: bool = False, sheet: Sheet = PAPER) -> Drawing:
    """Yan et al. 2020: mean, variance and the backward pass's two statistics of one BN layer,
    by batch size.
    """
    probed, own, remarks = probes.probed_runs(runs, "mabn_fig", strict)
    sizes = sorted({int(b) for b in probed["batch"].dropna()})  # the noisiest first, beneath
    looks = dict(zip(sizes, [look_of(n) for n in ("brn", "bn", "gn", "ln", "in")], strict=False))
    lacking = missing(own, "mabn_fig")
    with style.paper(sheet):
        figure, axes = layout.new_panels(sheet, 2, 2, 3.0, one_scale="x")
        for ax, (field, symbol) in zip(axes, STATISTICS.items(), strict=True):
            for place, (batch, look) in enumerate(looks.items()):
                found = probes.first_seed(probed[probed["batch"] == batch])
                values = pd.to_numeric(found[field]) if field in found else pd.Series(dtype=float)
                dark = place == len(looks) - 1
                ax.plot(
                    found["step"][values.index], values, color=look.color, linewidth=0.9 if dark else 0.5,
                    linestyle="-", zorder=2 + place,
                )  # fmt: skip
            ax.set_title(symbol)
            _thin_ticks(ax)
        for ax in axes[2:]:
            ax.set_xlabel("iteration")
        handles = [
            lines.handle(Look(look.color, "", "-", ""), f"{batch} images", False) for batch, look in looks.items()
        ]
        layout.legend(figure, sheet, handles[::-1], ncols=3)
        said = [f"{probes.layer_in_words(probed)} Channel 0 of worker 0.", lines.missing_text(lacking)]
        layout.finish(figure, sheet, setting.in_words(probed), *said, origin.in_words(probed))
    of = overrides.beside("mabn_fig", own)
    return Drawing(figure, missing=lacking, remarks=remarks, numbers=_spreads(probed, sizes), of=of)


def _thin_ticks(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.ticklabel_format(axis="y", scilimits=(-2, 3), useMathText=True)
    axes.yaxis.get_offset_text().set_fontsize("small")
    axes.tick_params(labelsize="small")


def _spreads(probed: pd.DataFrame, sizes: list[int]) -> pd.DataFrame:
    """The standard deviation of each trace over the iterations."""
    traces = {batch: probes.first_seed(probed[probed["batch"] == batch]) for batch in sizes}
    return pd.DataFrame(
        {
            f"sd at {batch} images": {
                field: f"{pd.to_numeric(trace[field]).std(ddof=1):.3g}" for field in STATISTICS if field in trace
            }
            for batch, trace in sorted(traces.items(), reverse=True)
        }
    ).rename_axis("statistic")
