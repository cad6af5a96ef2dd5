"""`--dry`: what a command would train, how much of it is on disk, and what the rest costs. Nothing is written. No torch.

The hours are those of one device that plays all of the workers, at the images per second of results/profile.csv. That was
measured on images in memory, so what it takes to read and decode them is not in the hours.
"""

import os
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from normbench import command, profile, records
from normbench.checks import check_folder, check_train_size
from normbench.compose import config_of, model_label, norm_label, planned
from normbench.config import Config, ConfigError, Data, resolved
from normbench.execute import folder_of

ENDED = ("done", "diverged")
IMAGES = {  # for training and for testing
    "digits": (8_000, 2_000),  # normbench.data.digits
    "cifar10": (50_000, 10_000),  # Krizhevsky 2009
    "cifar100": (50_000, 10_000),
    "imagenet": (1_281_167, 50_000),  # ILSVRC-2012's train and val: Russakovsky et al. 2015
}
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # those that torchvision reads

Row = dict[str, Any]  # of results/profile.csv


@dataclass
class Cell:
    """A run: how it is typed, how far it is on disk, and what it takes."""

    typed: list[str]
    config: Config
    model: str
    norm: str
    state: str
    epochs_done: int  # that a rerun would not repeat
    steps_an_epoch: int
    forwards_an_epoch: int  # images seen in evaluation
    row: Row | None = None  # of the profile

    @property
    def epochs(self) -> int:
        return self.config.recipe.epochs

    @property
    def epochs_left(self) -> int:
        ended = self.state in ENDED and not self.config.overwrite
        return 0 if ended else max(0, self.epochs - self.epochs_done)

    @property
    def epoch_hours(self) -> float | None:
        if self.row is None:
            return None
        trained = self.steps_an_epoch * resolved(self.config.sgd_batch)
        seconds = trained / _speed(self.row, "train_img_per_s")
        return (seconds + self.forwards_an_epoch / _speed(self.row, "infer_img_per_s")) / 3600

    @property
    def hours_left(self) -> float | None:
        """None where it is not known."""
        if self.epochs_left == 0:
            return 0.0
        return None if self.epoch_hours is None else self.epochs_left * self.epoch_hours


def show(typed: list[str], sweep: bool) -> None:
    """Prints the cells of a command, their states and costs, and the commands that run what is left of them."""
    plan = planned(typed, files=False) if sweep else [(typed, config_of(typed, files=False))]
    remarks: dict[str, None] = {}
    by_folder: dict[Path, Cell] = {}  # a run that serves several batches once
    for overrides, config in plan:
        train_images, test_images, remark = _images(config.data)
        remarks[remark] = None
        by_folder.setdefault(folder_of(config), _cell(overrides, config, train_images, test_images))
    cells = list(by_folder.values())
    machine = _match(cells, list(profile.read(Path(profile.OUT)).values()))
    lines = [*_totals(cells, machine), *filter(None, remarks), *_commands(cells, typed, sweep)]
    command.terminal().print(_table(cells), Text("\n".join(lines)), sep="")


# ---------------------------------------------------------------------------- cells


def _images(data: Data) -> tuple[int, int, str]:
    """Training and test images, and what there is to say about them: counted in a folder, or the published numbers.

    Where there is a folder its classes are counted too: they tell one run from another.
    """
    train, test = IMAGES[data.name]
    if data.name != "imagenet":
        return train, test, ""
    try:
        check_folder(data)
    except ConfigError:
        seen = "no data.root is given" if data.root is None else f"data.root={data.root} has no train/ and val/"
        published = f"{train:,} training and {test:,} test images are assumed, as published for ILSVRC-2012"
        return train, test, f"imagenet: {published}; {seen}, and training needs data.root=FOLDER"
    root = Path(str(data.root)).expanduser()
    train, test = _count(root / "train"), _count(root / "val")
    return train, test, f"imagenet: {train:,} training and {test:,} test images, counted in {root}"


@cache
def _count(folder: Path) -> int:
    """The images in the class folders, by their names."""
    walked = os.walk(folder, followlinks=True)
    return sum(n.lower().endswith(SUFFIXES) for at, _, names in walked if at != str(folder) for n in names)


def _cell(overrides: list[str], config: Config, train_images: int, test_images: int) -> Cell:
    used = config.data.train_size or train_images
    check_train_size(config, used)
    folder, stats = folder_of(config), [config.eval_stats, *(config.eval_also or [])]
    state, rows = records.state(folder), records.read_rows(folder)
    kept = not config.overwrite and (state in ENDED or (folder / "checkpoint.pt").exists())
    return Cell(
        typed=_as_typed(overrides),
        config=config,
        model=model_label(config),
        norm=norm_label(config),
        state=state,
        epochs_done=rows[-1]["epoch"] if rows and kept else 0,
        steps_an_epoch=config.steps_per_epoch(used),
        forwards_an_epoch=len(stats) * test_images + ("precise" in stats) * config.precise_images,
    )


def _as_typed(overrides: list[str]) -> list[str]:
    """As one would type them: the experiment first, and without the ++ that compose adds to a network's options."""
    plain = [o.removeprefix("++") if o.startswith("++model.options.") else o for o in overrides]
    return sorted(plain, key=lambda o: not o.startswith("experiment="))


# ---------------------------------------------------------------------------- the profile


def _match(cells: list[Cell], rows: list[Row]) -> str | None:
    """Gives each cell its row of the profile, all of one machine: the one measured last, of one day that of most cells."""
    fitting = [[row for row in reversed(rows) if _fits(row, cell)] for cell in cells]
    machines = dict.fromkeys(_machine(row) for found in fitting for row in found)
    last: dict[str, tuple[str, int]] = {}
    for name in machines:
        dates = [max(own) for found in fitting if (own := [row["date"] for row in found if _machine(row) == name])]
        last[name] = max(dates), len(dates)
    chosen = max(machines, key=lambda name: last[name], default=None)
    for cell, found in zip(cells, fitting, strict=True):
        own = [row for row in found if _machine(row) == chosen]
        cell.row = max(own, key=lambda row: row["date"], default=None)
    return chosen


def _fits(row: Row, cell: Cell) -> bool:
    """Whether the row was measured on what the cell trains. How the SGD batch is cut is nothing to a batch-free run."""
    c = cell.config
    asked = {"label": cell.norm, "data": c.data.name, "model": cell.model, "precision": c.precision}
    asked |= {"sgd_batch": str(c.sgd_batch)}
    if not c.batch_free:
        asked |= {"batch": str(c.batch), "workers": str(c.workers)}
    if c.data.image_size is not None:  # else the data set decides it
        asked["image_size"] = str(c.data.image_size)
    if c.threads is not None:
        asked["threads"] = str(c.threads)
    gpu = c.device.startswith("cuda") and row["device"] not in ("cpu", "mps")
    return (c.device in ("auto", row["device"]) or gpu) and all(row[key] == value for key, value in asked.items())


def _machine(row: Row) -> str:
    """What was measured on, as it is said; a CPU's speed is that of so many threads."""
    if row["device"] != "cpu":
        return str(row["device"])
    return f"cpu, {row['threads']} thread{'s' if row['threads'] != '1' else ''}"


def _speed(row: Row, column: str) -> float:
    try:
        speed = float(row[column])
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise ConfigError(f"{profile.OUT}: {column} must be above 0, got {row[column]!r}; measure that row anew")
    return speed


# ---------------------------------------------------------------------------- what is printed


def _table(cells: list[Cell]) -> Table:
    names = ("data", "model", "norm", "batch", "workers", "seed", "state", "epochs", "steps left", "device-hours left")
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, justify="left" if name in ("data", "model", "norm", "state") else "right", no_wrap=True)
    for cell in cells:
        c = cell.config
        cut = ("any", "any") if c.batch_free else (str(c.batch), str(c.workers))
        done = f"{cell.epochs_done}/{cell.epochs}"
        steps = f"{cell.epochs_left * cell.steps_an_epoch:,}"
        table.add_row(c.data.name, cell.model, cell.norm, *cut, str(c.seed), cell.state, done, steps, _hours(cell))
    return table


def _hours(cell: Cell) -> str:
    return "-" if cell.hours_left is None else _hours_text(cell.hours_left)


def _hours_text(hours: float) -> str:
    """Hours to about three digits."""
    return "0" if hours == 0 else f"{hours:,.{1 if hours >= 10 else 2 if hours >= 1 else 3}f}"


def _totals(cells: list[Cell], machine: str | None) -> list[str]:
    """Counts and sums, what the hours rest on, and how to measure those that are not known."""
    states = [cell.state for cell in cells]
    counts = "  ".join(f"{states.count(state)} {state}" for state in records.STATES if state in states)
    left = sum(cell.epochs_left * cell.steps_an_epoch for cell in cells)
    whole = sum(cell.epochs * cell.steps_an_epoch for cell in cells)
    lines = [f"cells: {len(cells)}, {counts}", f"steps: {left:,} left of {whole:,}"]
    known = [cell for cell in cells if cell.epoch_hours is not None]
    if known:
        to_pay = _hours_text(sum(cell.hours_left or 0.0 for cell in known))
        in_all = _hours_text(sum(cell.epochs * (cell.epoch_hours or 0.0) for cell in known))
        of = f", for the {len(known)} of {len(cells)} cells that are measured" if len(known) < len(cells) else ""
        lines += [
            f"device-hours on {machine}: {to_pay} still to pay of {in_all}{of}",
            f"(one device plays all workers, at the img/s of {profile.OUT}; reading images is not in it)",
        ]
    if unknown := [cell for cell in cells if cell.hours_left is None]:
        lines.append(f"not measured yet: {len(unknown)} of {len(cells)} cells; {_measure(unknown)}")
    return lines


def _measure(cells: list[Cell]) -> str:
    """The command that profiles these cells, and those between them where they are no whole grid."""
    values: dict[str, dict[str, None]] = {}
    for cell in cells:
        for override in cell.typed:
            key, given, value = override.partition("=")
            if key.lstrip("+") not in ("seed", "out", "overwrite"):
                values.setdefault(key + given, {})[value] = None
    return shlex.join(["python", "-m", "normbench.profile", *(key + ",".join(v) for key, v in values.items())])


def _commands(cells: list[Cell], typed: list[str], sweep: bool) -> list[str]:
    """The command of the whole sweep, and that of each cell that is neither finished nor being trained."""
    open_cells = [cell for cell in cells if cell.epochs_left and cell.state != "running"]
    if not open_cells:
        running = sum(cell.state == "running" for cell in cells)
        return [f"nothing to start: {running} running" if running else "nothing to start: all is finished"]
    alone = [shlex.join(["python", "-m", "normbench", *cell.typed]) for cell in open_cells]
    if not sweep:
        return ["to start it, or continue it:", *alone]
    whole = shlex.join(["python", "-m", "normbench", "-m", *typed])
    return ["to start it, or continue it:", whole, "or cell by cell:", *alone]
