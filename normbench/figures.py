"""`python -m normbench.figures demo gn_fig1`: figures from the records on disk."""

import sys
from pathlib import Path

import pandas as pd

from normbench import command, named
from normbench.study.figures.by_name import FIGURES, draw
from normbench.study.figures.cost import PROFILE
from normbench.study.figures.style import save


def main(arguments: list[str] | None = None) -> None:
    """Draws each named figure from what is on disk, and prints its numbers."""
    reader = named.parser("figure", FIGURES, "Draws figures from the records on disk.")
    reader.add_argument("--profile", default=str(PROFILE), metavar="FILE", help="speed and memory (%(default)s)")
    options = reader.parse_intermixed_args(arguments)

    def make(name: str, runs: pd.DataFrame) -> named.Made:
        drawing = draw(name, runs, Path(options.profile), options.strict)
        written = save(drawing.figure, Path(options.out) / name)
        return named.Made(written, drawing.numbers, drawing.remarks, drawing.missing, name, drawing.fill, drawing.of)

    named.make_all("figure", FIGURES, options, make)


if __name__ == "__main__":
    sys.exit(command.run(main))
