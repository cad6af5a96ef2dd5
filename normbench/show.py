"""`normbench show RUN`: one run on one screen.

normbench show results/runs/digits/cifar_resnet8/gn/any64/s0-3f2a1b7c
normbench show 3f2a              the run below --runs whose identity begins so
normbench show 3f2a --quick      its records alone: no network, no images, no torch
"""

import sys
import warnings
from collections.abc import Sequence

import pandas as pd
from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from normbench import command, confusion, records
from normbench.config import ConfigError
from normbench.following import duration
from normbench.opened import OpenedRun, open_run
from normbench.study.read.text import as_text

EPOCHS = 12  # of the curve: more would leave no room for the rest
WIDTH = 40  # columns of its longest bar


def main(arguments: list[str] | None = None) -> None:
    """Prints what the run was, its curve, its errors by class, and how it goes on."""
    reader = command.bare_parser("show", "Shows one run on one screen.")
    reader.add_argument("run", metavar="RUN", help="its folder, its identity or the beginning of that")
    reader.add_argument("--runs", default="results/runs", metavar="DIR", help="where to look for it (%(default)s)")
    reader.add_argument("--quick", action="store_true", help="leave out the errors by class, which take the network")
    reader.add_argument("--root", metavar="DIR", help="data.root, where the images lie elsewhere now")
    reader.add_argument("--device", help="where to evaluate: cpu, cuda; by default where the run was trained")
    options = reader.parse_args(arguments)
    run = open_run(options.run, options.runs, options.root, options.device)
    console, rows = command.terminal(), run.rows()
    console.print(head(run, rows))
    if len(rows):
        console.print()
        console.print(curve(rows))
    if not options.quick:
        console.print()
        _print_classes(console, run)


def head(run: OpenedRun, rows: pd.DataFrame) -> Text:
    """What the run was, in what time, and what continues it: lines that can be copied whole."""
    settings, made = run.settings, run.environment
    recipe, norm = settings.recipe, settings.norm
    lines = {
        "run": f"{settings.data.name}, {settings.model.label}, {norm.label}, seed {settings.seed}",
        "folder": str(run.folder),
        "state": _state(run, rows),
        "batch": _batch(run),
        "recipe": f"{recipe.name}: {recipe.epochs} epochs, {recipe.optimizer}, lr {settings.lr:g}, {recipe.schedule}, "
        f"{settings.precision}",
        "norm": ", ".join(f"{key}={value}" for key, value in norm.options.items() if value is not None),
        "evaluated": _evaluated(run),
        "time": _time(rows),
        "made": _made(made),
        _way(run): run.command or "its command was in env.json, which is gone",
    }
    said = [Text.assemble((f"{name:<12}", "dim"), as_text(line)) for name, line in lines.items() if line]
    return Text("\n").join(said)


def curve(rows: pd.DataFrame) -> Table:
    """The errors by epoch; of many epochs some, the first and the last among them."""
    count = min(EPOCHS, len(rows))
    places = [round(i * (len(rows) - 1) / max(1, count - 1)) for i in range(count)]
    worst = max(float(rows["top1_error_pct"].iloc[places].max()), 1e-9)
    table = Table(box=None, pad_edge=False)
    for heading in ("epoch", "lr", "train error %", "error %"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column(f"0 to {worst:.4g} %", no_wrap=True)
    for place in places:
        row = rows.iloc[place]
        error = float(row["top1_error_pct"])
        cells = [f"{row['epoch']:.0f}", f"{row['lr']:.3g}", f"{row['train_error_pct']:.2f}", f"{error:.2f}"]
        table.add_row(*cells, Bar(worst, 0, error, width=WIDTH))
    return table


def _print_classes(console: Console, run: OpenedRun) -> None:
    """The errors by class of a run that is done; else, in a line, why there are none."""
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", UserWarning)
            tables = confusion.tables(run.predictions(), run.classes)
    except ConfigError as e:
        console.print(f"no errors by class: {e}")
        return
    console.print(_beside(tables))
    for warning in said:
        console.print(str(warning.message))


def _beside(tables: Sequence[Table]) -> Table:
    grid = Table.grid(padding=(0, 4, 0, 0))
    grid.add_row(*tables)
    return grid


# ---------------------------------------------------------------------------- one line each


def _state(run: OpenedRun, rows: pd.DataFrame) -> str:
    state, epochs = run.state, run.settings.recipe.epochs
    if state == "diverged":
        return f"diverged in epoch {len(rows) + 1} of {epochs}"
    said = f"{state}, {len(rows)} of {epochs} epochs"
    if state == "failed":
        said += f": {records.error(run.folder)}"
    if error := run.result.get("top1_error_pct"):
        said += f": {error['median_last5']:.2f} % top-1 error, median of the last {min(5, len(rows))} epochs; "
        said += f"{error['final']:.2f} % final"
    return said


def _batch(run: OpenedRun) -> str:
    settings = run.settings
    if settings.batch_free:
        return f"any of an SGD batch of {settings.sgd_batch}: the norm is batch-free ({settings.protocol})"
    return f"{settings.batch} x {settings.workers} workers = SGD batch of {settings.sgd_batch} ({settings.protocol})"


def _evaluated(run: OpenedRun) -> str:
    settings = run.settings
    if settings.norm.batch_free:
        return "" if settings.recipe.ema is None else "with averaged weights"
    return f"by eval_stats={settings.eval_stats}" + ("" if settings.recipe.ema is None else ", with averaged weights")


def _time(rows: pd.DataFrame) -> str:
    if not len(rows) or not float(rows["seconds"].iloc[-1]):
        return ""
    seconds = float(rows["seconds"].iloc[-1])
    speed = float(rows["images_seen"].iloc[-1]) / seconds
    return f"{duration(seconds)}, {speed:,.0f} training images per second, evaluation included"


def _made(made: dict[str, object]) -> str:
    versions = made.get("versions")
    torch = versions.get("torch") if isinstance(versions, dict) else None
    parts = [made.get("time"), made.get("device")]
    counts = (made.get("threads"), "thread", "threads"), (made.get("world_size"), "process", "processes")
    parts += [f"{count} {one if count == 1 else many}" for count, one, many in counts if count]
    parts += [f"torch {torch}" if torch else None, f"commit {made['commit']}" if made.get("commit") else None]
    return ", ".join(str(part) for part in parts if part)


def _way(run: OpenedRun) -> str:
    """What the command of a run does when it is typed again."""
    return "command" if run.state in records.FINISHED else "go on with"


if __name__ == "__main__":
    sys.exit(command.run(main))
