"""What the study's commands have in common: their --runs option, and errors of one line."""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from rich.console import Console

from normbench.config import ConfigError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see {self.prog} --help")


def bare_parser(name: str, description: str) -> argparse.ArgumentParser:
    """The argument parser of `python -m normbench.<name>`."""
    return _Parser(prog=f"python -m normbench.{name}", description=description)


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """The argument parser of a command that reads runs."""
    made = bare_parser(name, description)
    made.add_argument("--runs", default="results/runs", metavar="DIR", help="the folder of runs (%(default)s)")
    return made


def terminal() -> Console:
    """Where tables and lines go. A pipe or a log has no width of its own; 80 columns would fold every table."""
    console = Console(highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=140)


def run(main: Callable[[], None]) -> int:
    """Runs a command; what the user can mend becomes one line and exit code 1."""
    try:
        main()
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()
        return 1
    return 0
