"""A mirror of the records as TensorBoard's event files, in the folder `tensorboard` of each run.

`tensorboard --logdir results/runs` shows all of them. A run that goes on adds a file; an epoch that
stands in the files of an earlier attempt is not written twice.
"""

import json
import math
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

from normbench import records
from normbench.runs import Run

FOLDER = "tensorboard"


class TensorBoardTracker:
    """A scalar for each number of a row, the epoch being its step; config and result as text."""

    def __init__(self, run: Run, folder: Path) -> None:
        # 1 s to import; TensorBoard itself is the extra normbench[tensorboard]
        from torch.utils.tensorboard import SummaryWriter

        self._place = folder / FOLDER
        rows = records.read_rows(folder)
        if not rows:  # anew
            shutil.rmtree(self._place, ignore_errors=True)
        self._written = _written(self._place)
        self._writer = SummaryWriter(str(self._place))
        if not rows:
            described = json.dumps(run.description(), indent=2, default=str)
            self._writer.add_text("config", _verbatim(described), 0)
        for row in rows:  # of an attempt without this tracker, or killed before it had written them
            self.log(row)

    def __enter__(self) -> "TensorBoardTracker":
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._writer.close()

    def log(self, row: dict[str, Any]) -> None:
        """Adds one epoch's numbers."""
        self._add({key: value for key, value in row.items() if key != "epoch"}, row["epoch"])

    def finish(self, result: dict[str, Any]) -> None:
        """Adds the metric of record at the last epoch, and the whole result as text."""
        numbers = {
            f"result/{key}_{statistic}": number
            for key, value in result.items()
            if isinstance(value, dict)  # a metric: {median_last5, final}
            for statistic, number in value.items()
        }
        self._add(numbers, result.get("epochs", 0))
        self._writer.add_text("result", _verbatim(json.dumps(result, indent=2)), result.get("epochs", 0))
        self._writer.flush()

    def _add(self, numbers: dict[str, Any], step: int) -> None:
        for tag, value in numbers.items():
            if isinstance(value, (int, float)) and math.isfinite(value) and (tag, step) not in self._written:
                self._writer.add_scalar(tag, value, step)
                self._written.add((tag, step))
        self._writer.flush()  # or a killed process would take the last ones along


def _verbatim(text: str) -> str:
    """As Markdown, which TensorBoard renders, that keeps its lines."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def _written(place: Path) -> set[tuple[str, int]]:
    """The tag and step of every number in the event files there; a torn end is read as absent."""
    if not place.is_dir():
        return set()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(place), size_guidance={"scalars": 0})  # 0: all of them
    found.Reload()
    return {(tag, event.step) for tag in found.Tags()["scalars"] for event in found.Scalars(tag)}
