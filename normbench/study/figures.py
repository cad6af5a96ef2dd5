"""Figures by name, each a pure function of the records on disk: `python -m normbench.figures demo gn_fig1`."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
from omegaconf import OmegaConf
from rich.table import Table

from normbench import paths
from normbench.config import ConfigError
from normbench.hints import nearest
from normbench.study import collect, error_vs_batch, published
from normbench.study.command import parser, terminal
from normbench.study.error_vs_batch import Drawn, Grid
from normbench.study.selection import commonest, differing, select, setting_free
from normbench.study.stats import METRIC, Cell, mean_sd
from normbench.study.style import AXIS_LABELS, save

# ---------------------------------------------------------------------------- the figures


def demo(runs: pd.DataFrame) -> Drawn:
    """Error against batch on the embedded digits, every norm there is; of several settings the one with most runs."""
    digits = runs[runs["data"] == "digits"]
    if digits.empty:
        raise ConfigError(f"no runs on data=digits yet; make them with {command('demo')}")
    chosen = commonest(digits)
    drawn = error_vs_batch.draw(chosen, experiment_grid("demo", chosen))
    others = differing(digits, setting_free(digits))
    left_out = f"left out: {len(digits) - len(chosen)} runs that differ from these in {', '.join(others)}"
    return replace(drawn, remarks=[left_out] if others else [])


def gn_fig1(runs: pd.DataFrame) -> Drawn:
    """Wu & He 2018, Figure 1: BN and GN against batch, over the paper's own curves where data and network are its own.

    Without runs, the paper's curves alone.
    """
    runs = runs[runs["norm"].str.split("-").str[0].isin(["bn", "gn"])]
    data, model = ("imagenet", "resnet50") if runs.empty else runs[["data", "model"]].iloc[0]
    paper = published.curve("group_norm_2018", "Table 2", data, model)
    return error_vs_batch.draw(runs, experiment_grid("gn_fig1", runs), paper)


FIGURES: dict[str, Callable[[pd.DataFrame], Drawn]] = {"demo": demo, "gn_fig1": gn_fig1}


# ---------------------------------------------------------------------------- what an experiment asks for


def experiment_grid(name: str, runs: pd.DataFrame) -> Grid:
    """The cells of conf/experiment/<name>.yaml, joined by those on disk."""
    path = paths.conf() / "experiment" / f"{name}.yaml"
    wanted = OmegaConf.select(OmegaConf.load(path), "hydra.sweeper.params") if path.exists() else None
    swept = {key: str(value).split(",") for key, value in (wanted or {}).items()}
    norms = dict.fromkeys([*swept.get("norm", []), *runs["norm"]])
    batches = {int(b) for b in [*swept.get("batch", []), *runs["batch"].dropna()]}
    seeds = {int(s) for s in [*swept.get("seed", []), *runs["seed"]]}
    return Grid([norm.strip() for norm in norms], sorted(batches, reverse=True), sorted(seeds))


def command(name: str, filters: list[str] | None = None) -> str:
    """What fills a figure's missing cells; a sweep skips the runs that are done."""
    return " ".join(["python -m normbench -m", f"experiment={name}", *(filters or [])])


# ---------------------------------------------------------------------------- the command


def main(arguments: list[str] | None = None) -> None:
    """Draws each named figure from what is on disk, and prints its numbers."""
    reader = parser("figures", "Draws figures from the records on disk.")
    reader.add_argument("what", nargs="*", metavar="NAME | key=value", help=f"of {', '.join(FIGURES)}; filters of runs")
    reader.add_argument("--out", default="results/figures", metavar="DIR", help="where to write them (%(default)s)")
    options = reader.parse_intermixed_args(arguments)
    names = [text for text in options.what if "=" not in text]
    filters = [text for text in options.what if "=" in text]
    if not names:
        raise ConfigError(f"which figure? one or more of {', '.join(FIGURES)}")
    for name in names:
        if name not in FIGURES:
            raise ConfigError(f"{name}: no such figure{nearest(name, FIGURES)}; one of {', '.join(FIGURES)}")
    runs, problems = collect.runs(options.runs) if Path(options.runs).is_dir() else (collect.no_runs(), [])
    for problem in problems:
        print(f"skipped {problem}", file=sys.stderr)
    chosen = select(runs, filters) if len(runs) else runs
    console = terminal()
    for name in names:
        drawn = FIGURES[name](chosen)
        written = save(drawn.figure, Path(options.out) / name)
        if drawn.cells:
            console.print(_table(name, drawn.cells))
        for remark in drawn.remarks:
            console.print(remark, markup=False)
        if drawn.missing:
            console.print(f"missing: {', '.join(drawn.missing)}", markup=False)
            console.print(f"fill it: {command(name, _settings(chosen, filters))}", markup=False)
        console.print(f"wrote {', '.join(map(str, written))}", markup=False)


def _settings(runs: pd.DataFrame, filters: list[str]) -> list[str]:
    """The filters, and the data and network of the runs where no filter says them."""
    said = {text.partition("=")[0] for text in filters}
    return [*filters, *(f"{key}={runs[key].iloc[0]}" for key in ("data", "model") if len(runs) and key not in said)]


def _table(name: str, cells: list[Cell]) -> Table:
    """A row a batch size, a column a norm; a run that serves every batch stands beside every one."""
    norms = list(dict.fromkeys(cell.norm for cell in cells))
    batches = sorted({cell.batch for cell in cells if cell.batch}, reverse=True)
    by_cell = {(cell.norm, cell.batch): _text(cell) for cell in cells}
    table = Table(title=f"{name}: {AXIS_LABELS[METRIC]}, mean ± sd over seeds (n)", title_justify="left")
    for heading in ["images per worker", *norms]:
        table.add_column(heading, justify="right")
    rows: list[int | None] = [*batches] or [None]
    for batch in rows:
        row = [by_cell.get((norm, batch), by_cell.get((norm, None), "missing")) for norm in norms]
        table.add_row("any" if batch is None else str(batch), *row)
    return table


def _text(cell: Cell) -> str:
    diverged = f"{cell.diverged} diverged" if cell.diverged else ""
    return " ".join(filter(None, (mean_sd(cell.over_seeds), diverged))) or f"{cell.unfinished} unfinished"
