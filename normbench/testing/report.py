"""What a check found, and the table of all of them."""

import math
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


class Skip(Exception):
    """Raised by a check that does not apply to the layer; its text is the reason."""


@dataclass(frozen=True)
class Outcome:
    """One check of one layer.

    measured and limit: the largest error seen and what is allowed; measured is NaN where nothing
    could be measured.
    note: what was compared, why the check was skipped, or what went wrong.
    """

    check: str
    state: str  # passed | failed | skipped
    measured: float = math.nan
    limit: float = math.nan
    note: str = ""


@dataclass(frozen=True)
class Report:
    """All outcomes of one layer. str(report) is the table; rich prints it in colour."""

    name: str
    outcomes: tuple[Outcome, ...]

    @property
    def ok(self) -> bool:
        return not self.failures

    @property
    def failures(self) -> list[Outcome]:
        return [o for o in self.outcomes if o.state == "failed"]

    @property
    def skipped(self) -> list[Outcome]:
        return [o for o in self.outcomes if o.state == "skipped"]

    def __rich__(self) -> Table:
        colour = {"passed": "green", "failed": "bold red", "skipped": "yellow"}
        title = f"{self.name}: {'all checks passed' if self.ok else f'{len(self.failures)} checks failed'}"
        table = Table(title=title, title_justify="left")
        for heading in ("check", "state", "measured", "limit", "note"):
            table.add_column(heading, justify="right" if heading in ("measured", "limit") else "left")
        for o in self.outcomes:
            state = f"[{colour[o.state]}]{o.state}[/]"
            table.add_row(o.check, state, _number(o.measured), _number(o.limit), o.note.replace("[", r"\["))
        return table

    def __str__(self) -> str:
        console = Console(width=140, color_system=None, highlight=False)
        with console.capture() as text:
            console.print(self)
        return text.get()


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1e}"
