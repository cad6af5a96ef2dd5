"""Tables by name, ours beside the published: `python -m normbench.tables gn_table1 summary`."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from normbench.config import ConfigError
from normbench.hints import nearest
from normbench.study import experiments, figures, paper_tables, summary_table
from normbench.study.command import parser, terminal
from normbench.study.table import Table

TABLES: dict[str, Callable[[pd.DataFrame], Table]] = {
    "gn_table1": paper_tables.gn_table1,
    "gn_table2": paper_tables.gn_table2,
    "gn_table3": paper_tables.gn_table3,
    "cbn_table": paper_tables.cbn_table,
    "summary": summary_table.summary,
}


def main(arguments: list[str] | None = None) -> None:
    """Writes each named table as Markdown, CSV and LaTeX, and prints it."""
    reader = parser("tables", "Writes tables from the records on disk, beside the published numbers.")
    reader.add_argument("what", nargs="*", metavar="NAME | key=value", help=f"of {', '.join(TABLES)}; filters of runs")
    reader.add_argument("--out", default="results/tables", metavar="DIR", help="where to write them (%(default)s)")
    options = reader.parse_intermixed_args(arguments)
    names = [text for text in options.what if "=" not in text]
    filters = [text for text in options.what if "=" in text]
    if not names:
        raise ConfigError(f"which table? one or more of {', '.join(TABLES)}")
    for name in names:
        if name not in TABLES:
            raise ConfigError(f"{name}: no such table{nearest(name, TABLES)}; one of {', '.join(TABLES)}")
    chosen = figures.runs_of(options.runs, filters)
    console = terminal()
    for name in names:
        table = TABLES[name](chosen)
        written = table.write(Path(options.out))
        console.print(figures.as_text(name, table.text))
        console.print(table.caption, markup=False)
        for remark in table.remarks:
            console.print(remark, markup=False)
        if table.missing:
            console.print(f"missing: {', '.join(experiments.in_short(table.missing))}", markup=False)
            for line in experiments.commands(table.experiment, figures.settings(chosen, filters)):
                console.print(f"fill it: {line}", markup=False)
        console.print(f"wrote {', '.join(map(str, written))}", markup=False)
