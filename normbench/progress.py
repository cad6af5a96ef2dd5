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
        self._last = 0.0, 0  # when the last step ended, and of which epoch it was
        self._images, self._seconds = 0, 0.0  # of this process's training steps so far
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
        before, of = self._last
        if of == epoch:  # else an evaluation lies between
            self._images, self._seconds = self._images + self._sgd_batch, self._seconds + now - before
        self._last = now, epoch
        if self._bar is not None and now - self._shown > SHOW_SECONDS:
            self._shown = now
            self._bar.update(
                self._task,
                completed=done,
                epoch=f"{epoch}/{self._epochs}",
                error="-" if self._error != self._error else f"{self._error:.2f} %",
                speed=self._speed(),
            )
            if self._notebook is not None:
                self._notebook.show(self._bar)

    def row(self, row: dict[str, Any]) -> None:
        self._error = row["top1_error_pct"]
        self.tracker.log(row)
        if self._enabled and self._bar is None:
            print(
                f"{self._name}  epoch {row['epoch']}/{self._epochs}  train {row['train_error_pct']:.2f} %  "
                f"error {row['top1_error_pct']:.2f} %  {self._speed()} img/s",
                flush=True,
            )

    def _speed(self) -> str:
        """Images per second of this process's training steps, evaluation left out."""
        return f"{self._images / self._seconds:,.0f}" if self._seconds else "-"


def _bar() -> Bar:
    return Bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("epoch {task.fields[epoch]}  error {task.fields[error]}  {task.fields[speed]} img/s"),
        TimeRemainingColumn(),
        transient=True,
    )
