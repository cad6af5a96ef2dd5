"""`python -m normbench.tables gn_table1 summary`: tables of ours beside the published numbers."""

import sys
from pathlib import Path

import pandas as pd

from normbench import command, named
from normbench.study.tables.by_name import TABLES


def main(arguments: list[str] | None = None) -> None:
    """Writes each named table as Markdown, CSV and LaTeX, and prints it."""
    reader = named.parser("table", TABLES, "Writes tables from the records on disk, beside the published numbers.")
    options = reader.parse_intermixed_args(arguments)

    def make(name: str, runs: pd.DataFrame) -> named.Made:
        table = TABLES[name](runs, options.strict)
        written = table.write(Path(options.out))
        text = table.text if table.shown is None else table.shown
        notes = [table.caption, *table.remarks]
        # What fills a single row is in the files; the experiment fills them all.
        return named.Made(written, text, notes, table.missing, table.experiment, [], table.of, table.sentences)

    named.make_all("table", TABLES, options, make)


if __name__ == "__main__":
    sys.exit(command.run(main))
