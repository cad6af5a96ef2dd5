"""The report's figures and tables: each for every network and data set, or why there is none."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from normbench.config import ConfigError
from normbench.study.figures.by_name import FIGURES, draw
from normbench.study.figures.drawing import Drawing
from normbench.study.figures.style import COLUMN_WIDTH
from normbench.study.read import experiments
from normbench.study.read.missing import in_short
from normbench.study.report import figure_svg
from normbench.study.tables.by_name import TABLES
from normbench.study.tables.table import Table


@dataclass(frozen=True)
class Item:
    """A figure with its numbers, or a table, of one network on one data set."""

    name: str
    about: str
    data: str
    model: str
    numbers: list[list[str]]  # the head first
    norms: list[str] = field(default_factory=list)  # those in it; none where it belongs to all
    figure: Markup = field(default_factory=Markup)
    wide: bool = False  # more than a column of a paper
    notes: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)  # that fill what is missing
    sentences: tuple[str, ...] = ()  # columns of prose
    fill: dict[str, list[str]] = field(default_factory=dict)  # by row, what trains what it lacks


@dataclass(frozen=True)
class NotMade:
    """A figure or a table that the runs at hand cannot fill, and the reason."""

    name: str
    data: str
    model: str
    reason: str


def figures(runs: pd.DataFrame, profile: Path, strict: bool = False) -> tuple[list[Item], list[NotMade]]:
    """Every figure that the runs can fill, even in part, and the rest."""
    made: list[Item] = []
    not_made: list[NotMade] = []
    for name, function in FIGURES.items():
        for data, model, own in _settings(runs):
            try:
                made.append(
                    _figure(name, data, model, draw(name, own, profile, strict), _about(function), f"f{len(made)}")
                )
            except ConfigError as error:
                not_made.append(NotMade(name, data, model, str(error)))
    return made, not_made


def tables(runs: pd.DataFrame, strict: bool = False) -> tuple[list[Item], list[NotMade]]:
    """Every table that the runs can fill, even in part, the summary first, and the rest."""
    made: list[Item] = []
    not_made: list[NotMade] = []
    for name in sorted(TABLES, key=lambda name: name != "summary"):
        for data, model, own in _settings(runs):
            try:
                made.append(_table(data, model, TABLES[name](own, strict)))
            except ConfigError as error:
                not_made.append(NotMade(name, data, model, str(error)))
    return made, not_made


def _settings(runs: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    for (data, model), own in runs.groupby(["data", "model"], sort=False):
        yield str(data), str(model), own


# ---------------------------------------------------------------------------- one of them


def _figure(name: str, data: str, model: str, drawing: Drawing, about: str, prefix: str) -> Item:
    return Item(
        name=name,
        about=about,
        data=data,
        model=model,
        numbers=_text(drawing.numbers),
        norms=list(dict.fromkeys(cell.norm for cell in drawing.cells)),
        figure=figure_svg.inline(drawing.figure, prefix, f"{name}, {data}, {model}: {about}"),
        wide=drawing.figure.get_figwidth() > 1.2 * COLUMN_WIDTH,
        notes=_notes(drawing.remarks, drawing.missing),
        commands=[*experiments.commands(name, drawing.of), *drawing.fill] if drawing.missing else [],
    )


def _table(data: str, model: str, table: Table) -> Item:
    return Item(
        name=table.name,
        about=table.caption,
        data=data,
        model=model,
        numbers=_text(table.text),
        notes=_notes(table.remarks, table.missing),
        commands=experiments.commands(table.experiment, table.of or [f"data={data}", f"model={model}"])
        if table.missing
        else [],
        sentences=table.sentences,
        fill=table.fill,
    )


def _notes(remarks: list[str], missing: list[str]) -> list[str]:
    return [*remarks, *([f"missing: {', '.join(in_short(missing))}"] if missing else [])]


def _text(table: pd.DataFrame | None) -> list[list[str]]:
    """A table as text, its index first."""
    if table is None or table.empty:
        return []
    plain = table.reset_index()
    return [[str(name) for name in plain.columns], *([str(value) for value in row] for row in plain.to_numpy())]


def _about(function: Callable[..., Drawing]) -> str:
    """What a figure's function says of itself in its first paragraph."""
    return " ".join((function.__doc__ or "").partition("\n\n")[0].split())
