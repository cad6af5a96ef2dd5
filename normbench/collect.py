"""`python -m normbench.collect`: what runs there are, and all their epochs as one table.

python -m normbench.collect data=digits                    the coverage, and results/collected.csv
python -m normbench.collect --missing                      the commands that complete the grid
python -m normbench.collect --missing gn_fig1 data=digits  those that complete an experiment
"""

import sys

import pandas as pd
from rich.table import Table

from normbench import command
from normbench.config import ConfigError
from normbench.study.read import collected, coverage, gaps
from normbench.study.read.selection import select
from normbench.study.read.text import as_cells


def main(arguments: list[str] | None = None) -> None:
    """Prints the coverage and writes the table of all epochs; or prints what fills the gaps."""
    reader = command.parser("collect", "Shows what runs there are, and writes all their epochs as one CSV table.")
    what = "filters of runs; with --missing also experiments"
    reader.add_argument("what", nargs="*", metavar="NAME | key=value", help=what)
    reader.add_argument("--out", default="results/collected.csv", metavar="FILE", help="the table (%(default)s)")
    gap = "print the commands that fill the gaps of the experiments named, or of the grid of runs that are there"
    reader.add_argument("--missing", action="store_true", help=gap)
    options = reader.parse_intermixed_args(arguments)
    names, filters = command.names_and_filters(options.what)
    if names and not options.missing:
        raise ConfigError(f"{names[0]}: an experiment goes with --missing; a filter is key=value")
    found = collected.read(options.runs)
    command.say_skipped(found.problems)
    runs = select(found.runs, filters) if len(found.runs) else found.runs
    console = command.terminal()
    for table in coverage_tables(runs):
        console.print(table)
    if options.missing:
        lines = gaps.of_experiments(runs, names, filters) if names else gaps.of_grid(runs)
        for line in lines or ["nothing is missing"]:
            console.print(line, markup=False)
        return
    out = command.file_at(options.out, "collected.csv")
    epochs = found.epochs[found.epochs["path"].isin(set(runs["path"]))]
    as_cells(epochs).to_csv(out, index=False)
    console.print(f"wrote {out}: {len(epochs)} epochs of {len(runs)} runs", markup=False)


def coverage_tables(runs: pd.DataFrame) -> list[Table]:
    """The coverage as text: one table per network, data set and protocol, one row per norm."""
    tables = []
    for setting, sizes, rows in coverage.blocks(coverage.grid(runs)):
        table = Table("images per worker", *sizes, title=", ".join(setting.values()), title_justify="left")
        for row in rows.to_dict("records"):
            table.add_row(f"{row['norm']} {row['else']}".strip(), *(row[size] for size in sizes))
        tables.append(table)
    return tables


if __name__ == "__main__":
    sys.exit(command.run(main))
