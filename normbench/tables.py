"""`normbench tables gn_table1 summary`: tables of ours beside the published numbers.

`normbench tables compare norm=gn,gn_ws batch=2`: any two settings against each other.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from normbench import command, named
from normbench.config import ConfigError
from normbench.study.tables.by_name import TABLES
from normbench.study.tables.compare import compare
from normbench.study.tables.table import Table

COMPARE = "compare"  # the one table whose words say what stands in it
NAMES = (*TABLES, COMPARE)


def main(arguments: list[str] | None = None) -> None:
    """Writes each named table as Markdown, CSV and LaTeX, and prints it."""
    reader = named.parser("table", NAMES, "Writes tables from the records on disk, beside the published numbers.")
    options = reader.parse_intermixed_args(arguments)
    asked, words = command.names_and_filters(options.what)
    if COMPARE in asked:
        _compare(options, asked, words)
        return

    def make(name: str, runs: pd.DataFrame) -> named.Made:
        return _made(TABLES[name](runs, options.strict), options)

    named.make_all("table", NAMES, options, make)


def _compare(options: argparse.Namespace, asked: list[str], words: list[str]) -> None:
    if asked != [COMPARE]:
        raise ConfigError(
            "compare is asked for alone: its key=value are settings, and filters of other tables; type two commands"
        )
    table = compare(named.runs_at_hand(options, []), words, options.strict)
    named.say(COMPARE, _made(table, options), [line for lines in table.fill.values() for line in lines])


def _made(table: Table, options: argparse.Namespace) -> named.Made:
    written = table.write(Path(options.out))
    text = table.text if table.shown is None else table.shown
    notes = [table.caption, *table.remarks]
    # What fills a single row is in the files; the experiment fills them all.
    return named.Made(written, text, notes, table.missing, table.experiment, [], table.of, table.sentences)


if __name__ == "__main__":
    sys.exit(command.run(main))
