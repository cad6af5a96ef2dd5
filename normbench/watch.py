"""A sweep as a person sees it: one bar on a terminal or in a notebook, a line a run in a log.

Runs that are watched say nothing of their epochs. On a terminal all that the sweep's processes
still print, warnings and errors whole, goes through a pipe to stand above the bar.
"""

import codecs
import contextlib
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from normbench import bars, command
from normbench.following import Following, duration

WATCHED = "NORMBENCH_WATCHED"  # in the environment of a sweep's processes that are to say no epochs
LOOK_SECONDS = 0.5
LOOK_SHARE = 0.05  # of the time, where folders are many or far away


def quiet() -> bool:
    """Whether this process's runs leave it to the sweep to say how they go."""
    return os.environ.get(WATCHED) == "1"


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """While it lasts, the runs say nothing of their epochs, and nobody else does."""
    os.environ[WATCHED] = "1"
    try:
        yield
    finally:
        os.environ.pop(WATCHED, None)


class Watch:
    """Shows the runs of a sweep while it is held.

    quiet: whether the runs leave it to this. on_terminal, in_notebook: whether as a bar there.
    """

    def __init__(self, following: Following, quiet: bool, on_terminal: bool, in_notebook: bool = False) -> None:
        self._following, self._quiet = following, quiet
        self._pipe = _Pipe() if on_terminal else None
        self._over = threading.Event()
        shown: Callable[[], None] = self._bar if on_terminal else self._cell if in_notebook else self._lines
        self._thread = threading.Thread(target=shown, daemon=True)

    def __enter__(self) -> "Watch":
        if self._quiet:
            os.environ[WATCHED] = "1"
        if self._pipe:
            self._pipe.open()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        os.environ.pop(WATCHED, None)
        if self._pipe:
            self._pipe.restore()
        self._over.set()
        self._thread.join()

    # ------------------------------------------------------------ in a log

    def _lines(self) -> None:
        pause, over = LOOK_SECONDS, False
        while not over:
            over = self._over.wait(pause)
            began = time.monotonic()
            ended = self._following.look()
            with contextlib.suppress(BrokenPipeError):  # `| head` has seen enough
                for place, one in enumerate(ended, start=self._following.finished - len(ended) + 1):
                    print(f"{place}/{self._following.all}  {one.words()}", flush=True)
            pause = max(LOOK_SECONDS, (time.monotonic() - began) / LOOK_SHARE)

    # ------------------------------------------------------------ in a notebook

    def _cell(self) -> None:
        bar, over = bars.NotebookBar(), False
        while not over:
            began = time.monotonic()
            self._following.look()
            bar.show(self._shown())
            over = self._over.wait(max(LOOK_SECONDS, (time.monotonic() - began) / LOOK_SHARE))
        bar.clear()

    # ------------------------------------------------------------ on a terminal

    def _bar(self) -> None:
        assert self._pipe is not None
        console = Console(file=self._pipe.terminal, highlight=False)
        live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False)
        pause, over = LOOK_SECONDS, False
        try:
            with live:
                live.update(self._shown(), refresh=True)
                while not over:
                    over = self._over.is_set()
                    self._pass_on(console, 0.0 if over else pause)
                    began = time.monotonic()
                    self._following.look()
                    live.update(self._shown(), refresh=True)
                    pause = max(LOOK_SECONDS, (time.monotonic() - began) / LOOK_SHARE)
                console.print(Text.from_ansi(self._pipe.begun), end="", soft_wrap=True)
        finally:
            self._pipe.close()  # whatever ended this: nobody may wait for a reader that is gone

    def _pass_on(self, console: Console, seconds: float) -> None:
        """Prints above the bar what comes within that time, and all that has come before."""
        assert self._pipe is not None
        until = time.monotonic() + seconds
        while self._pipe.wait(max(0.0, until - time.monotonic())):
            for line in self._pipe.lines():
                console.print(Text.from_ansi(line), soft_wrap=True)

    def _shown(self) -> Table:
        """The bar with its counts, and below it what is running."""
        following = self._following
        said = [f"{following.finished}/{following.all} runs"]
        said += [f"{count} {what}" for what in ("failed", "diverged") if (count := following.count(what))]
        left = following.seconds_left()
        said += [f"{duration(left)} left"] if left is not None else []
        bar = Table.grid(expand=True, padding=(0, 2, 0, 0))
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True)
        bar.add_row(ProgressBar(total=1.0, completed=following.share()), Text("  ".join(said)))
        names = [f"{one.cell.name} {one.epochs}/{one.run.recipe.epochs}" for one in following.running]
        shown = Table.grid(expand=True)
        shown.add_column(no_wrap=True, overflow="ellipsis")
        shown.add_row(bar)
        shown.add_row(Text(f"running: {', '.join(names) or '-'}", style="dim"))
        return shown


def for_engine(engine: str, following: Following, alone: bool) -> Watch | None:
    """The watch over a sweep on this engine; None where NORMBENCH_PLAIN asks for a line an epoch.

    alone: whether all that writes to this terminal was started from here, so that it can be piped.
    """
    if os.environ.get("NORMBENCH_PLAIN"):
        return None
    console = command.terminal()
    on_terminal = alone and console.is_terminal and not console.is_dumb_terminal
    # a job array's cells write into files of their own, where an epoch's line is of use
    return Watch(following, engine != "slurm", on_terminal, bars.in_notebook())


class _Pipe:
    """Takes the place of the terminal as standard output and error, for child processes too."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        self._kept: dict[int, int] = {}
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self.begun = ""  # a line whose end has not come yet
        self.terminal = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")

    def open(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor in (1, 2):
            if os.isatty(descriptor):  # who writes errors to a file has them there
                self._kept[descriptor] = os.dup(descriptor)
                os.dup2(self._writing, descriptor)

    def restore(self) -> None:
        """Gives standard output and error back; what was written until then can still be read."""
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, kept in self._kept.items():
            os.dup2(kept, descriptor)
            os.close(kept)
        self._kept = {}

    def wait(self, seconds: float) -> bool:
        """Whether something came within that time."""
        return bool(select.select([self._reading], [], [], seconds)[0])

    def lines(self) -> list[str]:
        """The whole lines of what has come."""
        text = self.begun + self._decoder.decode(os.read(self._reading, 65536))
        *whole, self.begun = text.split("\n")
        return whole

    def close(self) -> None:
        self.restore()
        os.close(self._reading)
        os.close(self._writing)
        self.terminal.close()
