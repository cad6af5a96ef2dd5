"""Figures by name, each a pure function of the records on disk: `python -m normbench.figures demo gn_fig1`."""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
from rich.table import Table

from normbench.config import ConfigError
from normbench.hints import nearest
from normbench.study import (
    collect,
    cost,
    error_vs_batch,
    experiments,
    heatmap,
    population,
    probes,
    published,
    training,
    windows,
)
from normbench.study.command import parser, terminal
from normbench.study.drawn import Drawn
from normbench.study.experiments import Grid
from normbench.study.selection import commonest, differing, select, setting_free
from normbench.study.style import save

LEGIBLE = 10  # norms in one figure of curves

# ---------------------------------------------------------------------------- error against batch


def demo(runs: pd.DataFrame) -> Drawn:
    """Error against batch on the embedded digits; of several settings the one with most runs.

    Every norm there is, or those of its experiment where there are more than curves that can be told apart.
    """
    digits = runs[runs["data"] == "digits"]
    if digits.empty:
        raise ConfigError(f"no runs on data=digits yet; make them with {command('demo')}")
    shown, remarks = digits, []
    if digits["norm"].nunique() > LEGIBLE:
        wanted = experiments.read("demo")
        shown = digits.loc[[experiments.is_of(label, wanted) for label in digits["norm"]]]
        others = set(experiments.of_norms_as_they_come(digits)["norm"]) - set(shown["norm"])
        remarks = [f"left out: {len(others)} more norms, which figure all_norms shows"] if others else []
        shown = experiments.belonging(shown, "demo")[0]
    chosen = commonest(shown)
    fields = differing(shown, setting_free(shown))
    if fields:
        remarks.append(f"left out: {len(shown) - len(chosen)} runs that differ from these in {', '.join(fields)}")
    return replace(error_vs_batch.draw(chosen, experiments.grid("demo", chosen)), remarks=remarks)


def gn_fig1(runs: pd.DataFrame) -> Drawn:
    """Wu & He 2018, Figure 1: BN and GN against batch.

    Over the paper's own curves, beside them where ours are of other data; without runs, the paper's alone.
    """
    return _like_the_paper(runs, "gn_fig1", "group_norm_2018", "Table 2", "resnet50")


def cbn_fig1(runs: pd.DataFrame) -> Drawn:
    """Yao et al. 2021, Figure 1: BN, GN, Batch Renorm, naive CBN and CBN against batch; the paper's are from memory."""
    return _like_the_paper(runs, "cbn_fig1", "cross_iteration_bn_2021", "Figure 1", "resnet18")


def evonorm_fig(runs: pd.DataFrame) -> Drawn:
    """Liu et al. 2020, Table 3: BN, GN, FRN and EvoNorm against batch."""
    return _like_the_paper(runs, "evonorm_fig", "evonorm_2020", "Table 3", "resnet50")


def mabn_errors(runs: pd.DataFrame) -> Drawn:
    """Yan et al. 2020: BN, Batch Renorm and MABN against batch."""
    return _like_the_paper(runs, "mabn_errors", "mabn_2020", "error against batch size", "resnet50")


def _like_the_paper(runs: pd.DataFrame, name: str, paper: str, item: str, network: str) -> Drawn:
    """A figure's own norms, over the curves of a paper that are of the same data and network, else beside its own."""
    own, remarks = experiments.belonging(runs, name)
    if own.empty and len(runs) and not published.curve(paper, item, *runs[["data", "model"]].iloc[0]).size:
        raise experiments.none_yet(name)
    data, model = own[["data", "model"]].iloc[0] if len(own) else ("imagenet", network)
    theirs = published.curve(paper, item, data, model)
    apart = theirs.empty
    theirs = published.as_errors(published.curve(paper, item, "imagenet", network) if apart else theirs)
    theirs = theirs[theirs["norm"].isin([*experiments.read(name).norms, *own["norm"]])]
    return replace(error_vs_batch.draw(own, experiments.grid(name, own), theirs, apart), remarks=remarks)


FIGURES: dict[str, Callable[[pd.DataFrame], Drawn]] = {
    "demo": demo,
    "all_norms": heatmap.all_norms,
    "gn_fig1": gn_fig1,
    "gn_fig4": training.gn_fig4,
    "gn_fig5": training.gn_fig5,
    "gn_fig6": probes.gn_fig6,
    "cbn_fig1": cbn_fig1,
    "cbn_window": windows.cbn_window,
    "cbn_burnin": windows.cbn_burnin,
    "brn_fig": training.brn_fig,
    "mabn_fig": probes.mabn_fig,
    "mabn_errors": mabn_errors,
    "wj_fig": population.wj_fig,
    "wj_ema": training.wj_ema,
    "evonorm_fig": evonorm_fig,
    "cost": cost.cost,
}


def experiment_grid(name: str, runs: pd.DataFrame) -> Grid:
    """The cells of conf/experiment/<name>.yaml, joined by those on disk."""
    return experiments.grid(name, runs)


def command(name: str, filters: list[str] | None = None) -> str:
    """What fills a figure's missing cells; a sweep skips the runs that are done."""
    return " && ".join(experiments.commands(name, filters))


# ---------------------------------------------------------------------------- the command


def main(arguments: list[str] | None = None) -> None:
    """Draws each named figure from what is on disk, and prints its numbers."""
    reader = parser("figures", "Draws figures from the records on disk.")
    reader.add_argument("what", nargs="*", metavar="NAME | key=value", help=f"of {', '.join(FIGURES)}; filters of runs")
    reader.add_argument("--out", default="results/figures", metavar="DIR", help="where to write them (%(default)s)")
    reader.add_argument("--profile", default=str(cost.PROFILE), metavar="FILE", help="speed and memory (%(default)s)")
    options = reader.parse_intermixed_args(arguments)
    names = [text for text in options.what if "=" not in text]
    filters = [text for text in options.what if "=" in text]
    if not names:
        raise ConfigError(f"which figure? one or more of {', '.join(FIGURES)}")
    for name in names:
        if name not in FIGURES:
            raise ConfigError(f"{name}: no such figure{nearest(name, FIGURES)}; one of {', '.join(FIGURES)}")
    chosen = runs_of(options.runs, filters)
    console = terminal()
    for name in names:
        draw = partial(cost.cost, profile=Path(options.profile)) if name == "cost" else FIGURES[name]
        drawn = draw(chosen)
        written = save(drawn.figure, Path(options.out) / name)
        if drawn.numbers is not None:
            console.print(as_text(name, drawn.numbers))
        for remark in drawn.remarks:
            console.print(remark, markup=False)
        if drawn.missing:
            console.print(f"missing: {', '.join(experiments.in_short(drawn.missing))}", markup=False)
            for line in [*experiments.commands(name, settings(chosen, filters)), *drawn.fill]:
                console.print(f"fill it: {line}", markup=False)
        console.print(f"wrote {', '.join(map(str, written))}", markup=False)


def runs_of(folder: str, filters: list[str]) -> pd.DataFrame:
    """The runs under a folder that match the filters; what is no run is said. None on a paper's data: the paper alone."""
    runs, problems = collect.runs(folder) if Path(folder).is_dir() else (collect.no_runs(), [])
    for problem in problems:
        print(f"skipped {problem}", file=sys.stderr)
    for text in filters:
        key, _, value = text.partition("=")
        column = {"data": "dataset", "model": "model"}.get(key)
        if column and value in set(published.load()[column]) and value not in set(runs[key]):
            return runs[:0]
    return select(runs, filters) if len(runs) else runs


def as_text(title: str, numbers: pd.DataFrame) -> Table:
    """Numbers for a terminal."""
    table = Table(title=title, title_justify="left")
    table.add_column(str(numbers.index.name or ""), justify="right")
    for heading in numbers.columns:
        table.add_column(str(heading), justify="right")
    for at, row in zip(numbers.index, numbers.itertuples(index=False), strict=True):
        table.add_row(str(at), *map(str, row))
    return table


def settings(runs: pd.DataFrame, filters: list[str]) -> list[str]:
    """The filters, and the data and network of the runs where no filter says them."""
    said = {text.partition("=")[0] for text in filters}
    return [*filters, *(f"{key}={runs[key].iloc[0]}" for key in ("data", "model") if len(runs) and key not in said)]
