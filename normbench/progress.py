"""Shows how a run goes: a bar on a terminal or in a notebook, one line per epoch elsewhere."""

import time
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from normbench import bars
from normbench.runs import Run
from normbench.tracker import NoTracker

SHOW_SECONDS = 0.5


class Progress:
    """Is told of every step and every row.

    A null object where it is not enabled: other ranks, quiet callers.
    """

    def __init__(self, run: Run, train_images: int, enabled: bool) -> None:
        self.tracker: NoTracker = NoTracker()
        self._enabled = enabled
        self._steps, self._epochs = run.steps_per_epoch(train_images), run.recipe.epochs
        self._sgd_batch = run.sgd_batch
        self._name = run.short()
        self._shown = time.monotonic()
        self._first: tuple[float, int] | None = None  # when and where this process began to count
        self._error = float("nan")
        self._notebook = bars.NotebookBar() if enabled and bars.in_notebook() else None
        self._bar = _bar() if enabled and (self._notebook or bars.on_terminal()) else None

    def __enter__(self) -> "Progress":
        if self._bar is not None:
            if self._notebook is None:
                self._bar.start()
            steps = self._epochs * self._steps
            self._task = self._bar.add_task(self._name, total=steps, epoch="-", error="-", speed="-")
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        if self._notebook is not None:
            self._notebook.clear()
        elif self._bar is not None:
            self._bar.stop()

    def step(self, epoch: int, step: int) -> None:
        now, done = time.monotonic(), (epoch - 1) * self._steps + step
        if self._first is None:
            self._first = (now, done)
        if self._bar is not None and now - self._shown > SHOW_SECONDS:
            self._shown = now
            self._bar.update(
                self._task,
                completed=done,
                epoch=f"{epoch}/{self._epochs}",
                error="-" if self._error != self._error else f"{self._error:.2f} %",
                speed=f"{self._speed(now, done):,.0f}",
            )
            if self._notebook is not None:
                self._notebook.show(self._bar)

    def row(self, row: dict[str, Any]) -> None:
        self._error = row["top1_error_pct"]
        self.tracker.log(row)
        if self._enabled and self._bar is None:
            speed = self._speed(time.monotonic(), row["epoch"] * self._steps)
            print(
                f"{self._name}  epoch {row['epoch']}/{self._epochs}  train {row['train_error_pct']:.2f} %  "
                f"error {row['top1_error_pct']:.2f} %  {speed:,.0f} img/s",
                flush=True,
            )

    def _speed(self, now: float, done: int) -> float:
        """Images per second of this process so far, evaluation included."""
        if self._first is None or now <= self._first[0]:
            return 0.0
        return (done - self._first[1]) * self._sgd_batch / (now - self._first[0])


def _bar() -> Bar:
    return Bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("epoch {task.fields[epoch]}  error {task.fields[error]}  {task.fields[speed]} img/s"),
        TimeRemainingColumn(),
        transient=True,
    )
