"""Error against an option of a norm: CBN's window, CBN's burn-in."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from normbench.study import experiments, lines, scales, stats, style
from normbench.study.drawn import Drawn
from normbench.study.selection import plain, refuse_unlike, setting_free
from normbench.study.stats import METRIC, Summary

Line = tuple[style.Look, str, dict[float, Summary]]  # its look, its name, its mean at each x


def cbn_window(runs: pd.DataFrame) -> Drawn:
    """Yao et al. 2021: error against the window k of CBN and naive CBN, and of BN with k times the images."""
    own, remarks = _own(runs, "cbn_window")
    wanted = experiments.read("cbn_window")
    looks = style.looks([*wanted.norms, "bn"])
    windowed = own[own["norm.name"].isin(wanted.norms)]
    batch = int(wanted.fixed["batch"]) if windowed.empty else int(windowed["batch"].mode().iloc[0])
    windowed = windowed[windowed["batch"] == batch]
    found: list[Line] = [
        (looks[norm], looks[norm].name, _by_option(windowed[windowed["norm.name"] == norm], "norm.window"))
        for norm in wanted.norms
    ]
    bound = own[own["norm"] == "bn"]
    at = {b / batch: stats.mean_over_seeds(bound[bound["batch"] == b]) for b in bound["batch"].unique() if b >= batch}
    found.append((looks["bn"], f"BN, k × {batch} images", {k: summary for k, summary in at.items() if summary.n}))
    ks = sorted({*map(float, wanted.swept["norm.window"]), *(k for _, _, line in found for k in line)})
    x = f"window k (batches of {batch} images)"
    return _drawn("cbn_window", own, found, ks, x, remarks, log=True)


def cbn_burnin(runs: pd.DataFrame) -> Drawn:
    """Yao et al. 2021: error against the epochs of plain BN before CBN sets in."""
    own, remarks = _own(runs, "cbn_burnin")
    look = style.looks(["cbn"])["cbn"]
    found = [(look, look.name, _by_option(own, "norm.burnin_epochs"))]
    epochs = sorted({*map(float, experiments.read("cbn_burnin").swept["norm.burnin_epochs"]), *found[0][2]})
    return _drawn("cbn_burnin", own, found, epochs, "burn-in (epochs of plain BN)", remarks, log=False)


# ---------------------------------------------------------------------------- parts


def _own(runs: pd.DataFrame, name: str) -> tuple[pd.DataFrame, list[str]]:
    own, remarks = experiments.belonging(runs, name)
    if own.empty:
        raise experiments.none_yet(name)
    swept = [key for part in experiments.parts(name) for key in experiments.read(part).swept]
    refuse_unlike(own, "a figure", (*setting_free(own), *swept))
    return own, remarks


def _by_option(runs: pd.DataFrame, option: str) -> dict[float, Summary]:
    """The mean over seeds at each value of an option; where it is not said, the run chose it and has no place."""
    if option not in runs:
        return {}
    values = [value for value in runs[option].map(plain).unique() if value != "null"]
    at = {float(value): stats.mean_over_seeds(runs[runs[option].map(plain) == value]) for value in values}
    return {value: summary for value, summary in at.items() if summary.n}


def _drawn(
    name: str, own: pd.DataFrame, found: Sequence[Line], xs: list[float], x: str, remarks: list[str], log: bool
) -> Drawn:
    if not any(line for _, _, line in found):
        raise experiments.none_yet(name)
    lacking = experiments.missing(own, name)
    with style.paper():
        figure, axes = style.new_axes(2.2)
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
        axes.set_ylabel(scales.AXIS_LABELS[METRIC])
        scales.value_axis(axes, stats.ends([summary for _, _, line in found for summary in line.values()]))
        style.legend(figure, handles)
        spread = any(summary.n > 1 for _, _, line in found for summary in line.values())
        style.under(
            figure, "\n".join(filter(None, ["Mean ± sd over n seeds." if spread else "", lines.missing_text(lacking)]))
        )
    table = pd.DataFrame({label: {f"{at:g}": stats.mean_sd(s) for at, s in line.items()} for _, label, line in found})
    table = table.reindex([f"{at:g}" for at in xs]).astype(object).fillna("missing").rename_axis(x.partition(" (")[0])
    return Drawn(figure, missing=lacking, remarks=remarks, numbers=table)
