"""`normbench collect`: what runs there are, and all their epochs as one table.

normbench collect                                the coverage, and results/collected.csv
normbench collect data=digits --out FILE         of some runs only
normbench collect --missing                      the commands that complete the grid
normbench collect --missing gn_fig1 data=digits  those that complete an experiment
normbench collect data=digits --reference DIR    the finished runs as reference data
normbench collect --prune                        removes runs that were cut or failed
"""

import sys
from pathlib import Path

import pandas as pd
from rich.table import Table

from normbench import command
from normbench.config import ConfigError
from normbench.prune import prune
from normbench.records import FINISHED
from normbench.study.read import collected, coverage, gaps, origin, reference, reference_files
from normbench.study.read.reference_files import FILES
from normbench.study.read.selection import refuse_twins, select
from normbench.study.read.text import as_cells

OUT = "results/collected.csv"


def main(arguments: list[str] | None = None) -> None:
    """Prints the coverage and writes the table of all epochs; or prints what fills the gaps."""
    reader = command.parser("collect", "Shows what runs there are, and writes all their epochs as one CSV table.")
    what = "filters of runs; with --missing also experiments"
    reader.add_argument("what", nargs="*", metavar="NAME | key=value", help=what)
    reader.add_argument("--out", metavar="FILE", help=f"the table ({OUT}; without it a part of the runs is only shown)")
    gap = "print the commands that fill the gaps of the experiments named, or of the grid of runs that are there"
    reader.add_argument("--missing", action="store_true", help=gap)
    data = f"write the finished runs as data, {', '.join(FILES)}, instead of the table"
    reader.add_argument("--reference", metavar="DIR", help=data)
    reader.add_argument("--prune", action="store_true", help="remove the runs that were cut or failed, after asking")
    reader.add_argument("--yes", action="store_true", help="with --prune: without asking")
    options = reader.parse_intermixed_args(arguments)
    names, filters = command.names_and_filters(options.what)
    if names and not options.missing:
        raise ConfigError(f"{names[0]}: an experiment goes with --missing; a filter is key=value")
    asked = [flag for flag in ("missing", "reference", "prune") if getattr(options, flag)]
    if len(asked) > 1:
        raise ConfigError(f"--{asked[0]} and --{asked[1]} are two commands; give one of them")
    if options.yes and not options.prune:
        raise ConfigError("--yes goes with --prune, which asks before it removes")
    found = collected.read(options.runs, options.with_reference)
    command.say_skipped(found.problems)
    runs = select(found.runs, filters) if len(found.runs) else found.runs
    console = command.terminal()
    if options.with_reference:
        console.print(f"at hand: {origin.counted(runs)}", markup=False)
    for table in coverage_tables(runs):
        console.print(table)
    if options.missing:
        lines = gaps.of_experiments(runs, names, filters) if names else gaps.of_grid(runs)
        for line in lines or ["nothing is missing"]:
            console.print(line, markup=False)
        return
    if options.reference:
        for line in write_reference(runs, Path(options.reference)):
            console.print(line, markup=False)
        return
    if options.prune:
        own = runs[~runs["path"].map(reference.holds)]
        prune(own, Path(options.runs), options.yes, lambda line: console.print(line, markup=False))
        return
    if filters and options.out is None:
        console.print(f"{OUT} is left as it is: --out FILE writes the epochs of these {len(runs)} runs", markup=False)
        return
    out = command.file_at(options.out or OUT, "collected.csv")
    epochs = found.epochs[found.epochs["path"].isin(set(runs["path"]))]
    as_cells(epochs).to_csv(out, index=False)
    console.print(f"wrote {out}: {len(epochs)} epochs of {len(runs)} runs", markup=False)


def write_reference(runs: pd.DataFrame, folder: Path) -> list[str]:
    """Writes the finished of some runs as the data of reference runs; returns what to say of it.

    Raises ConfigError, and writes nothing, where none is finished, one is there twice, or one has
    no identity.
    """
    finished = runs[runs["state"].isin(FINISHED)]
    if finished.empty:
        raise ConfigError("no run is finished, so there is nothing to write; make runs with normbench")
    if nameless := list(finished[finished["identity"].isna()]["path"]):
        raise ConfigError(f"{nameless[0]} has no identity in its config.yaml; leave it out of the folder of runs")
    refuse_twins(finished)
    whole = [reference.whole(p) if reference.holds(p) else reference_files.whole(Path(p)) for p in finished["path"]]
    written = reference_files.write(folder, whole)
    sizes = ", ".join(f"{path} ({path.stat().st_size / 1000:.0f} kB)" for path in written)
    left_out = f"; {len(runs) - len(finished)} not finished, left out" if len(runs) > len(finished) else ""
    return [f"wrote {sizes}: {len(finished)} runs{left_out}"]


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
