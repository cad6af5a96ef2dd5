"""What the commands have in common: their parser, their terminal, and errors of one line."""

import argparse
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.text import Text

from normbench.config import ConfigError
from normbench.study.read.text import as_text


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see {self.prog} --help")


def bare_parser(name: str, description: str) -> argparse.ArgumentParser:
    """The argument parser of `normbench <name>`."""
    return _Parser(prog=f"normbench {name}", description=description)


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """The argument parser of a command that reads runs."""
    made = bare_parser(name, description)
    made.add_argument("--runs", default="results/runs", metavar="DIR", help="the folder of runs (%(default)s)")
    beside = "show the reference runs that come with normbench too, beside yours if there are any"
    made.add_argument("--with-reference", action="store_true", help=beside)
    return made


def add_strict(reader: argparse.ArgumentParser) -> None:
    """--strict, for what draws or tabulates runs."""
    what = "refuse runs that differ, instead of taking the largest set that is alike and naming the rest"
    reader.add_argument("--strict", action="store_true", help=what)


def names_and_filters(words: list[str]) -> tuple[list[str], list[str]]:
    """What was typed in any order: names, and filters, which are key=value."""
    return [word for word in words if "=" not in word], [word for word in words if "=" in word]


def file_at(out: str, name: str) -> Path:
    """The file to write to, its folder made; out: the file, or the folder to hold `name`."""
    path = Path(out)
    if path.is_dir() or not path.suffix:
        path = path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


class _Terminal(Console):
    """A console to which text is text: neither markup nor control codes of a record do anything."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(as_text(text), **{**options, "markup": False, "emoji": False})


def terminal() -> Console:
    """Where tables and lines go. A pipe has no width, and 80 columns would fold every table."""
    console = _Terminal(highlight=False, soft_wrap=True)
    return console if console.is_terminal else _Terminal(highlight=False, soft_wrap=True, width=140)


def say_skipped(problems: Collection[object]) -> None:
    """Names the folders that could not be read as runs, and counts them."""
    for problem in problems:
        print(as_text(f"skipped {problem}"), file=sys.stderr)
    if problems:
        print(f"skipped {len(problems)} in all: what they hold is in nothing that follows", file=sys.stderr)


def run(main: Callable[[], None]) -> int:
    """Runs a command and returns its exit code: 1, after one line, for what the user can mend."""
    try:
        main()
    except ConfigError as error:
        print(as_text(f"error: {error}"), file=sys.stderr)
        return 1
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()
        return 1
    return 0
