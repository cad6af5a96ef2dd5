"""What `figures` and `tables`, the commands that make things by name, have in common.

normbench figures NAME... key=value... --runs DIR --out DIR
"""

import argparse
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.table import Table

from normbench import command
from normbench.config import ConfigError
from normbench.hints import nearest
from normbench.study.read import collected, experiments, origin, overrides, published, setting
from normbench.study.read.missing import in_short
from normbench.study.read.selection import select

MOST_NAMED = 20  # of what is missing, in a terminal; the files have it all


@dataclass(frozen=True)
class Made:
    """A figure or a table that was written, and what its command says of it."""

    written: list[Path]
    numbers: pd.DataFrame | None  # as text
    notes: list[str]
    missing: list[str]  # in words
    experiment: str  # that fills what is missing,
    fill: list[str]  # with these further commands
    of: list[str]  # what the runs in it are of, data and network first, as it is typed
    sentences: Collection[str] = ()  # columns of prose


def parser(kind: str, names: Collection[str], description: str) -> argparse.ArgumentParser:
    """The argument parser of the command; kind: "figure" or "table"."""
    reader = command.parser(f"{kind}s", description)
    reader.add_argument("what", nargs="*", metavar="NAME | key=value", help=f"of {', '.join(names)}; filters of runs")
    reader.add_argument("--out", default=f"results/{kind}s", metavar="DIR", help="where to write them (%(default)s)")
    command.add_strict(reader)
    return reader


def make_all(
    kind: str, names: Collection[str], options: argparse.Namespace, make: Callable[[str, pd.DataFrame], Made]
) -> None:
    """Makes each figure or table asked for; prints its numbers, notes, what it lacks, its files.

    Raises ConfigError where none is asked for or a name is unknown, before any is made.
    """
    asked, filters = command.names_and_filters(options.what)
    if not asked:
        raise ConfigError(f"which {kind}? one or more of {', '.join(names)}")
    for name in asked:
        if name not in names:
            raise ConfigError(f"{name}: no such {kind}{nearest(name, names)}; one of {', '.join(names)}")
    runs = runs_at_hand(options, filters)
    for name in asked:
        made = make(name, runs)
        of = overrides.and_filters(made.of or setting.filters(runs), filters)
        say(name, made, [*experiments.commands(made.experiment, of), *made.fill])


def runs_at_hand(options: argparse.Namespace, filters: list[str]) -> pd.DataFrame:
    """The runs that the options and filters choose; counts them where there are reference runs."""
    runs = runs_of(options.runs, filters, options.with_reference)
    if options.with_reference:
        command.terminal().print(f"at hand: {origin.counted(runs)}", markup=False)
    return runs


def say(name: str, made: Made, fill: list[str]) -> None:
    """Prints what was made, what it lacks, the commands that fill that, and its files."""
    console = command.terminal()
    if made.numbers is not None and len(made.numbers):
        console.print(_as_text(name, made.numbers, made.sentences))
    for note in made.notes:
        console.print(note, markup=False)
    if made.missing:
        console.print(f"missing: {_listed(in_short(made.missing))}", markup=False)
        for line in fill:
            console.print(f"fill it: {line}", markup=False)
    console.print(f"wrote {', '.join(map(str, made.written))}", markup=False)


def runs_of(folder: str, filters: list[str], reference: bool = False) -> pd.DataFrame:
    """The runs under a folder that match the filters; what is no run is named on stderr.

    reference: also the runs that normbench comes with. None where a filter asks for a paper's data
    or network of which there is no run: then the paper's numbers are shown alone.
    """
    there = reference or Path(folder).is_dir()
    runs, problems = collected.runs(folder, reference) if there else (collected.no_runs(), [])
    command.say_skipped(problems)
    for text in filters:
        key, _, value = text.partition("=")
        column = {"data": "dataset", "model": "model"}.get(key)
        if column and value in set(published.load()[column]) and value not in set(runs[key]):
            return runs[:0]
    return select(runs, filters) if len(runs) else runs


def _listed(lacking: list[str]) -> str:
    """All of them, or the first and how many more."""
    rest = len(lacking) - MOST_NAMED
    return ", ".join(lacking) if rest <= 0 else f"{', '.join(lacking[:MOST_NAMED])} and {rest} more"


def _as_text(title: str, numbers: pd.DataFrame, sentences: Collection[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in (str(numbers.index.name or ""), *map(str, numbers.columns)):
        table.add_column(heading, justify="left" if heading in sentences else "right", overflow="fold")
    for at, row in zip(numbers.index, numbers.itertuples(index=False), strict=True):
        table.add_row(str(at), *map(str, row))
    return table
