"""The report: coverage, figures, tables and every run in one HTML file that needs no network.

The same records give the same bytes. Whatever comes from a record is escaped by the template, and
the page's own policy forbids every script but the one it was written with.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from normbench.records import STATES
from normbench.study.figures.cost import PROFILE
from normbench.study.read import coverage, origin
from normbench.study.read.collected import Collected
from normbench.study.read.text import as_lines
from normbench.study.report import items
from normbench.study.report.runs import run_texts
from normbench.study.tables import pairs

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("report.js", "compare.js")  # one script on the page
CLAIMS = "claims"  # the table that has a section of its own
KEYS = ("data", "model", "norm")  # what a reader of the page can filter by; the norm by its name


# ---------------------------------------------------------------------------- what is shown


def grids(runs: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The coverage grid, one table for each network on each data set under each protocol."""
    for setting, columns, rows in coverage.blocks(coverage.grid(runs)):
        yield {
            **setting,
            "columns": columns,
            "rows": [
                {"norm": row["norm"], "else": row["else"], "counts": [_counts(row[name]) for name in columns]}
                for row in rows.to_dict("records")
            ],
        }


def _counts(text: str) -> list[tuple[str, str]]:
    """What stands in the grid, "2 done 1 cut", as pairs of count and state."""
    words = text.split()
    return list(zip(words[::2], words[1::2], strict=False))


# ---------------------------------------------------------------------------- the page


def page(found: Collected, profile: Path = PROFILE, strict: bool = False) -> str:
    """The whole report, as the text of one HTML file."""
    runs = found.runs
    figures, not_drawn = items.figures(runs, profile, strict)
    tables, not_filled = items.tables(runs, strict)
    script = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in SCRIPTS)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: as_lines(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["names"] = _names
    counts = runs["state"].value_counts()
    return environment.get_template("report.html.jinja").render(
        states={state: int(counts[state]) for state in STATES if state in counts},
        choices={key: sorted(set(_names(runs[key]) if key == "norm" else runs[key])) for key in KEYS},
        choices_of_two=list(pairs.choices(runs)),
        grids=list(grids(runs)),
        figures=figures,
        claims=[item for item in tables if item.name == CLAIMS],
        tables=[item for item in tables if item.name != CLAIMS],
        not_made=[*not_drawn, *not_filled],
        runs=run_texts(found),
        epochs=len(found.epochs),
        origins=origin.in_words(runs),
        problems=found.problems,
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),  # ours
        script=Markup(script),  # ours
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _names(labels: Iterable[str]) -> list[str]:
    """Norms by name alone: gn-groups8 goes with gn, or variants would be nothing but buttons."""
    return list(dict.fromkeys(label.partition("-")[0] for label in labels))
