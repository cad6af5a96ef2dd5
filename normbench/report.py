"""`normbench report`: everything on disk as one HTML file that needs no network."""

import sys
from pathlib import Path

from normbench import command
from normbench.study.figures.cost import PROFILE
from normbench.study.read import collected, origin
from normbench.study.read.collected import Collected
from normbench.study.read.selection import select
from normbench.study.report.page import page


def main(arguments: list[str] | None = None) -> None:
    """Writes the report of what is on disk."""
    reader = command.parser("report", "Writes one self-contained HTML file: coverage, figures, tables, and every run.")
    reader.add_argument("filters", nargs="*", metavar="key=value", help="only the runs that match, e.g. data=digits")
    reader.add_argument("--out", default="results/report.html", metavar="FILE", help="the page (%(default)s)")
    reader.add_argument("--profile", default=str(PROFILE), metavar="FILE", help="speed and memory (%(default)s)")
    command.add_strict(reader)
    options = reader.parse_intermixed_args(arguments)
    found = collected.read(options.runs, options.with_reference)
    command.say_skipped(found.problems)
    if options.filters and len(found.runs):
        runs = select(found.runs, options.filters)
        epochs = found.epochs[found.epochs["path"].isin(runs["path"])]
        found = Collected(runs, epochs, found.problems)
    if options.with_reference:
        command.terminal().print(f"at hand: {origin.counted(found.runs)}", markup=False)
    out = command.file_at(options.out, "report.html")
    text = page(found, Path(options.profile), options.strict)
    out.write_text(text, encoding="utf-8")
    size = f"{len(text.encode()) / 1e6:.1f} MB"
    command.terminal().print(f"wrote {out}: {len(found.runs)} runs, {size}; open it in a browser", markup=False)


if __name__ == "__main__":
    sys.exit(command.run(main))
