"""`normbench figures demo gn_fig1`: figures from the records on disk."""

import argparse
import sys
from pathlib import Path

import pandas as pd

from normbench import command, named
from normbench.config import ConfigError
from normbench.study.figures.by_name import FIGURES, draw
from normbench.study.figures.cost import PROFILE
from normbench.study.figures.sheet import STYLES, Sheet
from normbench.study.figures.style import FORMATS, save


def main(arguments: list[str] | None = None) -> None:
    """Draws each named figure from what is on disk, and prints its numbers."""
    reader = named.parser("figure", FIGURES, "Draws figures from the records on disk.")
    reader.add_argument("--profile", default=str(PROFILE), metavar="FILE", help="speed and memory (%(default)s)")
    _add_sheet(reader)
    options = reader.parse_intermixed_args(arguments)
    formats = _formats(options.format)
    sheet = Sheet(options.style, options.width, options.height, options.font_size, options.recalled)

    def make(name: str, runs: pd.DataFrame) -> named.Made:
        drawing = draw(name, runs, Path(options.profile), options.strict, sheet)
        written = save(drawing.figure, Path(options.out) / name, formats)
        return named.Made(written, drawing.numbers, drawing.remarks, drawing.missing, name, drawing.fill, drawing.of)

    named.make_all("figure", FIGURES, options, make)


def _add_sheet(reader: argparse.ArgumentParser) -> None:
    """The options of a figure's size and look."""
    reader.add_argument(
        "--format", default=",".join(FORMATS), metavar="KIND", help="files, several joined by commas (%(default)s)"
    )
    reader.add_argument("--style", default="paper", metavar="NAME", help=f"{' or '.join(STYLES)} (%(default)s)")
    inches = "inches, of the whole figure"
    reader.add_argument(
        "--width", type=float, metavar="W", help=f"{inches} (paper: 3.4, or 6.9 for two halves; slides: 7, 12.4)"
    )
    reader.add_argument("--height", type=float, metavar="H", help=f"{inches} (in proportion to the width)")
    reader.add_argument("--font-size", type=float, metavar="PT", help="points (paper: 7.5; slides: 14)")
    recalled = "draw the papers' numbers that are recalled from memory too, with open markers"
    reader.add_argument("--recalled", action="store_true", help=recalled)


def _formats(typed: str) -> list[str]:
    """The kinds of files asked for, each once; raises ConfigError for one that is not written."""
    kinds = list(dict.fromkeys(typed.split(",")))
    if unknown := [kind for kind in kinds if kind not in FORMATS]:
        raise ConfigError(f"--format is one or more of {','.join(FORMATS)}, got {unknown[0]!r}")
    return kinds


if __name__ == "__main__":
    sys.exit(command.run(main))
