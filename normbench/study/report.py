"""The report: coverage, figures, tables and every run in one HTML file that needs no network and no server.

The same records give the same bytes. Whatever comes from a record is escaped by the template, and the page's own policy
forbids every script but the one it was written with.
"""

import base64
import hashlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from normbench.records import STATES
from normbench.study import collect, cost, coverage, report_items, report_runs
from normbench.study.collect import Collected
from normbench.study.command import parser, terminal
from normbench.study.coverage import ROW
from normbench.study.selection import select

TEMPLATES = Path(__file__).parent / "templates"
KEYS = ("data", "model", "norm")  # what a reader of the page can filter by; the norm by its name


# ---------------------------------------------------------------------------- what is shown


def grids(runs: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The coverage grid, one table for each network on each data set under each protocol."""
    table = coverage.grid(runs)
    for key, rows in table.groupby([name for name in ROW if name != "norm"], sort=False):
        columns = [name for name in table.columns[len(ROW) + 1 :] if (rows[name] != "-").any()]
        yield {
            **dict(zip([name for name in ROW if name != "norm"], key, strict=True)),
            "columns": columns,
            "rows": [
                {"norm": row["norm"], "else": row["else"], "cells": [_counts(row[name]) for name in columns]}
                for row in rows.to_dict("records")
            ],
        }


def _counts(cell: str) -> list[tuple[str, str]]:
    """A cell of the grid, "2 done 1 cut", as pairs of count and state."""
    words = cell.split()
    return list(zip(words[::2], words[1::2], strict=False))


# ---------------------------------------------------------------------------- the page


def page(found: Collected, profile: Path = cost.PROFILE) -> str:
    """The whole report, as the text of one HTML file."""
    runs = found.runs
    figures, not_drawn = report_items.figures(runs, profile)
    tables, not_filled = report_items.tables(runs)
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["names"] = _names
    counts = runs["state"].value_counts()
    return environment.get_template("report.html.jinja").render(
        states={state: int(counts[state]) for state in STATES if state in counts},
        choices={key: sorted(set(_names(runs[key]) if key == "norm" else runs[key])) for key in KEYS},
        grids=list(grids(runs)),
        figures=figures,
        tables=tables,
        not_made=[*not_drawn, *not_filled],
        runs=report_runs.of(found),
        epochs=len(found.epochs),
        problems=found.problems,
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),  # ours
        script=Markup(script),  # ours
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _names(labels: Iterable[str]) -> list[str]:
    """Norms by name alone: gn-groups8 goes with gn, or a page of variants would be nothing but buttons."""
    return list(dict.fromkeys(label.partition("-")[0] for label in labels))


def main(arguments: list[str] | None = None) -> None:
    """Writes the report of what is on disk."""
    reader = parser("report", "Writes one self-contained HTML file: coverage, figures, tables, and every run.")
    reader.add_argument("filters", nargs="*", metavar="key=value", help="only the runs that match, e.g. data=digits")
    reader.add_argument("--out", default="results/report.html", metavar="FILE", help="the page (%(default)s)")
    reader.add_argument("--profile", default=str(cost.PROFILE), metavar="FILE", help="speed and memory (%(default)s)")
    options = reader.parse_intermixed_args(arguments)
    found = collect.read(options.runs)
    for problem in found.problems:
        print(f"skipped {problem}", file=sys.stderr)
    if options.filters and len(found.runs):
        chosen = select(found.runs, options.filters)
        epochs = found.epochs[found.epochs["path"].isin(chosen["path"])]
        found = Collected(chosen, epochs, found.problems)
    out = Path(options.out)
    if out.is_dir() or not out.suffix:
        out = out / "report.html"  # --out DIR, as the other commands take it
    out.parent.mkdir(parents=True, exist_ok=True)
    text = page(found, Path(options.profile))
    out.write_text(text, encoding="utf-8")
    size = f"{len(text.encode()) / 1e6:.1f} MB"
    terminal().print(f"wrote {out}: {len(found.runs)} runs, {size}; open it in a browser", markup=False)
