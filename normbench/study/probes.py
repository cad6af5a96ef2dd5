"""What happens inside one layer through training: the figures of probes.jsonl."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from normbench import records
from normbench.study import experiments, lines, style
from normbench.study.drawn import Drawn
from normbench.study.selection import refuse_unlike

PERCENTILES = ("99", "80", "20", "1")
STATISTICS = {  # field of a probe, and what the MABN paper calls it; y is the layer's output before gamma and beta
    "mean": r"mean $\mu_B$",
    "var": r"variance $\sigma_B^2$",
    "grad_mean": r"$g_B$, mean of $\partial L/\partial y$",
    "grad_product": r"$\Psi_B$, mean of $y\,\partial L/\partial y$",
}


def gn_fig6(runs: pd.DataFrame) -> Drawn:
    """Wu & He 2018, Figure 6: percentiles 1, 20, 80 and 99 of a layer's features before the norm, through training."""
    probed, own, remarks = _probed(runs, "gn_fig6")
    norms = [norm for norm in experiments.read("gn_fig6").norms if norm in set(probed["norm"])]
    looks = style.shades([f"{percentile} %" for percentile in PERCENTILES])
    lacking = experiments.missing(own, "gn_fig6")
    with style.paper():
        figure, axes = style.new_panels(1, len(norms), 1.9, share="x")  # a scale each: they differ by far
        for ax, norm in zip(axes, norms, strict=True):
            found = _first_seed(probed[probed["norm"] == norm])
            for percentile, look in zip(PERCENTILES, looks, strict=True):
                values = found["percentiles"].map(lambda row, p=percentile: row.get(p))
                ax.plot(found["epochs"], values, color=look.color, linestyle=look.line, linewidth=0.8)
            ax.set_title(style.looks([norm])[norm].name, fontsize=7.5)
            ax.set_xlabel("epoch")
            ax.xaxis.set_major_locator(MaxNLocator(3, integer=True))
            ax.yaxis.set_major_locator(MaxNLocator(5))
            ax.tick_params(labelsize=6.5)
        axes[0].set_ylabel("input of the norm")
        style.legend(figure, [lines.handle(look, look.name, marker=False) for look in looks], ncols=4)
        style.under(figure, f"{_layer(probed)} {lines.missing_text(lacking)}")
    return Drawn(figure, missing=lacking, remarks=remarks)


def mabn_fig(runs: pd.DataFrame) -> Drawn:
    """Yan et al. 2020: mean, variance and the backward pass's two statistics of one BN layer, by batch size."""
    probed, own, remarks = _probed(runs, "mabn_fig")
    sizes = sorted({int(b) for b in probed["batch"].dropna()})  # the noisiest first, beneath
    looks = dict(zip(sizes, [style.looks([n])[n] for n in ("brn", "bn", "gn", "ln", "in")], strict=False))
    lacking = experiments.missing(own, "mabn_fig")
    with style.paper():
        figure, axes = style.new_panels(2, 2, 3.0, share="x")
        for ax, (field, symbol) in zip(axes, STATISTICS.items(), strict=True):
            for place, (batch, look) in enumerate(looks.items()):
                found = _first_seed(probed[probed["batch"] == batch])
                values = pd.to_numeric(found[field]) if field in found else pd.Series(dtype=float)
                dark = place == len(looks) - 1
                ax.plot(
                    found["step"][values.index], values, color=look.color, linewidth=0.9 if dark else 0.5,
                    linestyle="-", zorder=2 + place,
                )  # fmt: skip
            ax.set_title(symbol, fontsize=7.5)
            _thin_ticks(ax)
        for ax in axes[2:]:
            ax.set_xlabel("iteration")
        handles = [
            lines.handle(style.Look(look.color, "", "-", ""), f"{batch} images", False) for batch, look in looks.items()
        ]
        style.legend(figure, handles[::-1], ncols=3)
        style.under(figure, f"{_layer(probed)} Channel 0 of worker 0. {lines.missing_text(lacking)}")
    return Drawn(figure, missing=lacking, remarks=remarks, numbers=_spreads(probed, sizes))


# ---------------------------------------------------------------------------- parts


def _probed(runs: pd.DataFrame, name: str) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """The runs of a figure that were watched; all of its runs; remarks on others."""
    own, remarks = experiments.belonging(runs, name)
    watched = own[own["probe.layer"].notna()] if "probe.layer" in own else own[:0]
    probed = watched.loc[[bool(records.read_probes(Path(path))) for path in watched["path"]]]
    if probed.empty:
        raise experiments.none_yet(name)
    refuse_unlike(probed, "a figure", ("seed", "norm", "batch", "workers", "sgd_batch"))
    return probed, watched, remarks


def _first_seed(runs: pd.DataFrame) -> pd.DataFrame:
    """The probes of one run: traces are no means, and the seeds of a cell are all alike."""
    run = runs.sort_values("seed").iloc[0]
    rows: list[dict[str, Any]] = records.read_probes(Path(run["path"]))
    table = pd.DataFrame(rows)
    images = table["images_seen"].max() / table["epoch"].max() if len(table) else 1
    return table.assign(epochs=table["images_seen"] / images)


def _layer(probed: pd.DataFrame) -> str:
    layer, model, data = probed[["probe.layer", "model", "data"]].iloc[0]
    return f"{'The last norm' if layer == 'last' else layer} of {model} on {data}, seed {probed['seed'].min()}."


def _thin_ticks(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.ticklabel_format(axis="y", scilimits=(-2, 3), useMathText=True)
    axes.yaxis.get_offset_text().set_fontsize(6)
    axes.tick_params(labelsize=6.5)


def _spreads(probed: pd.DataFrame, sizes: list[int]) -> pd.DataFrame:
    """The standard deviation of each trace over the iterations."""
    traces = {batch: _first_seed(probed[probed["batch"] == batch]) for batch in sizes}
    return pd.DataFrame(
        {
            f"sd at {batch} images": {
                field: f"{pd.to_numeric(trace[field]).std(ddof=1):.3g}" for field in STATISTICS if field in trace
            }
            for batch, trace in sorted(traces.items(), reverse=True)
        }
    ).rename_axis("statistic")
