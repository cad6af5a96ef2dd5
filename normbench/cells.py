"""What a sweep trains: of the cells asked for, each distinct run once, under a name of its own."""

from dataclasses import dataclass, replace
from pathlib import Path

from normbench.runs import Run

NAMED = ("norm", "batch", "seed")  # what every name says


@dataclass(frozen=True)
class Cell:
    """A run of a sweep.

    overrides: that make it. asked: how many of the sweep's cells it serves. others: what tells it
    from the sweep's other runs beside norm, batch and seed, e.g. freeze_from=0.8.
    """

    overrides: list[str]
    run: Run
    asked: int
    others: str

    @property
    def batch(self) -> str:
        """The images per worker; any where nothing in the run depends on them."""
        return "any" if self.run.batch_free else str(self.run.batch)

    @property
    def name(self) -> str:
        """bn b2 s0, gn any s0, bn b2 s0 freeze_from=0.8"""
        batch = self.batch if self.run.batch_free else f"b{self.batch}"
        return " ".join(filter(None, [self.run.norm.label, batch, f"s{self.run.seed}", self.others]))


def distinct(planned: list[tuple[list[str], Run]]) -> list[Cell]:
    """The runs of a sweep, of equal ones the first, in the order of their launch."""
    settings = [dict(text.lstrip("+").split("=", 1) for text in typed) for typed, _ in planned]
    values: dict[str, set[str | None]] = {key: set() for one in settings for key in one}
    for key, seen in values.items():
        seen.update(one.get(key) for one in settings)
    several = [key for key, seen in values.items() if len(seen) > 1]
    telling = sorted(key for key in several if key not in NAMED and not key.startswith("norm."))
    found: dict[Path, Cell] = {}
    for (typed, run), setting in zip(planned, settings, strict=True):
        others = " ".join(f"{key.rpartition('.')[2]}={setting[key]}" for key in telling if key in setting)
        before = found.get(run.folder)
        found[run.folder] = replace(before, asked=before.asked + 1) if before else Cell(typed, run, 1, others)
    return list(found.values())
