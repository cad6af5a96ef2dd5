"""How far the runs of a sweep are, read from their folders, whoever trains them and wherever.

No torch. A folder may hold an earlier attempt's files, so what counts is what was written since the
sweep began to be followed.
"""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from normbench import records
from normbench.cells import Cell
from normbench.runs import Run

# of a file, None for none: another one tells that it was written
Stamp = tuple[int, int, int] | None
FEW_EPOCHS = 5  # the first ones are slow
FILES = ("result.json", "error.json", "running.json", "epochs.jsonl")


@dataclass
class Followed:
    """A run of the sweep as it was last seen."""

    cell: Cell
    epochs_before: int  # that an earlier attempt has left to go on from
    epochs: int
    seen: dict[str, Stamp] = field(repr=False)
    outcome: str | None = None  # done, diverged or failed
    running: bool = False

    @property
    def run(self) -> Run:
        return self.cell.run

    def words(self) -> str:
        """The run and what became of it: bn b2 s0  6.97 %  25 s"""
        result = records.read_object(self.run.folder / "result.json") if self.outcome in records.FINISHED else {}
        error = result.get("top1_error_pct", {}).get("median_last5")
        said = f"{error:.2f} %" if error is not None else str(self.outcome)
        if self.outcome == "diverged":
            said += f" in epoch {self.epochs + 1}"
        return "  ".join([self.cell.name, said, *([duration(result["seconds"])] if "seconds" in result else [])])


class Following:
    """The runs that a sweep trains. before: how many others of it were finished when it began."""

    def __init__(self, cells: list[Cell], before: int) -> None:
        self.runs = [_followed(cell) for cell in cells]
        self.before = before
        self._since: float | None = None  # when the first of them was seen to train

    @property
    def all(self) -> int:
        return self.before + len(self.runs)

    @property
    def finished(self) -> int:
        return self.before + sum(one.outcome is not None for one in self.runs)

    @property
    def running(self) -> list[Followed]:
        return [one for one in self.runs if one.running]

    def count(self, outcome: str) -> int:
        return sum(one.outcome == outcome for one in self.runs)

    def look(self) -> list[Followed]:
        """Reads the folders; the runs that ended since the last look, in the sweep's order."""
        ended = [one for one in self.runs if one.outcome is None and _look(one)]
        if self._since is None and (ended or self.running):
            self._since = time.monotonic()
        return ended

    def share(self) -> float:
        """How much of the sweep is done, from 0 to 1, the epochs of those running included."""
        parts = (1.0 if one.outcome else min(1.0, one.epochs / one.run.recipe.epochs) for one in self.runs)
        return (self.before + sum(parts)) / self.all

    def seconds_left(self) -> float | None:
        """At the speed so far, an epoch being as long as its images are many.

        None until a run or a few epochs have ended.
        """
        epochs = sum(one.epochs - one.epochs_before for one in self.runs)
        done = sum((one.epochs - one.epochs_before) * _images(one.run) for one in self.runs)
        left = sum((one.run.recipe.epochs - one.epochs) * _images(one.run) for one in self.runs if not one.outcome)
        if self._since is None or done <= 0 or (epochs < FEW_EPOCHS and self.finished == self.before):
            return None
        return (time.monotonic() - self._since) * max(0, left) / done


def duration(seconds: float) -> str:
    """25 s, 12 min, 3.5 h"""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _followed(cell: Cell) -> Followed:
    folder = cell.run.folder
    kept = _epochs(folder) if records.has_checkpoint(folder) and not cell.run.overwrite else 0
    return Followed(cell, kept, kept, {name: _stamp(folder / name) for name in FILES})


def _look(one: Followed) -> bool:
    """Whether the run has ended. A folder that is not there yet has no file in it."""
    folder = one.run.folder
    now = {name: _stamp(folder / name) for name in FILES}
    new = {name for name in FILES if now[name] is not None and now[name] != one.seen[name]}
    if "epochs.jsonl" in new:
        one.epochs = max(one.epochs_before, _epochs(folder))
        one.seen["epochs.jsonl"] = now["epochs.jsonl"]
    one.running = "running.json" in new
    if "result.json" in new:
        status = str(records.read_object(folder / "result.json").get("status"))
        one.outcome = status if status in records.FINISHED else None
    elif "error.json" in new:
        one.outcome = "failed"
    if one.outcome:
        one.running = False
    return one.outcome is not None


def _epochs(folder: Path) -> int:
    rows = records.read_rows(folder)
    return int(rows[-1]["epoch"]) if rows else 0


def _stamp(path: Path) -> Stamp:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _images(run: Run) -> int:
    return run.data.train_size or run.data.train_images or 1
