"""What a command would train: how far each run is on disk, and what the rest of it costs. No torch.

The hours are those of one device that plays all of the workers, at the images per second of
results/profile.csv. That was measured on images in memory, so what it takes to read and decode them
is not in the hours.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from normbench import class_folders, facts, measured, records
from normbench.config import ConfigError
from normbench.measured import Row
from normbench.run_checks import check_train_size, with_classes_counted
from normbench.runs import Run
from normbench.typed import FREE


@dataclass
class PlannedRun:
    """A run: how it is typed, how far it is on disk, and what it takes."""

    typed: list[str]
    run: Run
    state: str  # one of records.STATES
    epochs_done: int  # that a rerun would not repeat
    steps_per_epoch: int
    evaluated_per_epoch: int  # images, one more time for each further eval_stats
    row: Row | None = None  # of the profile

    @property
    def epochs(self) -> int:
        return self.run.recipe.epochs

    @property
    def epochs_left(self) -> int:
        ended = self.state in records.FINISHED and not self.run.overwrite
        return 0 if ended else max(0, self.epochs - self.epochs_done)

    @property
    def epoch_hours(self) -> float | None:
        """None where nobody has measured it."""
        if self.row is None:
            return None
        seconds = self.steps_per_epoch * self.run.sgd_batch / _speed(self.row, "train_img_per_s")
        return (seconds + self.evaluated_per_epoch / _speed(self.row, "infer_img_per_s")) / 3600

    @property
    def hours_left(self) -> float | None:
        """None where it is not known."""
        if self.epochs_left == 0:
            return 0.0
        return None if self.epoch_hours is None else self.epochs_left * self.epoch_hours


def plan(composed: list[tuple[list[str], Run]]) -> tuple[list[PlannedRun], list[str]]:
    """The runs, each folder once, and what there is to say about their numbers of images.

    composed: each run with the overrides that make it. Raises ConfigError where a folder holds too
    few images.
    """
    remarks: dict[str, None] = {}
    by_folder: dict[Path, PlannedRun] = {}
    for overrides, asked in composed:
        run, train_images, test_images, remark = _with_images_counted(asked)
        remarks[remark] = None
        by_folder.setdefault(run.folder, _planned(overrides, run, train_images, test_images))
    return list(by_folder.values()), [remark for remark in remarks if remark]


def _planned(overrides: list[str], run: Run, train_images: int, test_images: int) -> PlannedRun:
    used, tested = run.data.train_size or train_images, run.data.test_size or test_images
    check_train_size(run, used)
    stats = [run.eval_stats, *(run.eval_also or [])]
    state, rows = records.state(run.folder), records.read_rows(run.folder)
    kept = not run.overwrite and (state in records.FINISHED or records.has_checkpoint(run.folder))
    return PlannedRun(
        typed=_as_typed(overrides),
        run=run,
        state=state,
        epochs_done=rows[-1]["epoch"] if rows and kept else 0,
        steps_per_epoch=run.steps_per_epoch(used),
        evaluated_per_epoch=len(stats) * tested + ("precise" in stats) * run.precise_images,
    )


def _as_typed(overrides: list[str]) -> list[str]:
    """As one would type them: the experiment first, without the ++ before a network's options."""
    plain = [o.removeprefix("++") if o.removeprefix("++").startswith(FREE) else o for o in overrides]
    return sorted(plain, key=lambda o: not o.startswith("experiment="))


# ---------------------------------------------------------------------------- how many images


def _with_images_counted(run: Run) -> tuple[Run, int, int, str]:
    """The run, its numbers of training and test images, and what there is to say about them.

    Where the data set is folders of images and they are there, what is in them is counted and told
    apart, as for a run. Where they are not, the numbers are those of the release.
    """
    name, known = run.data.name, facts.of_data(run.data)
    train, test = known.train_images, known.test_images
    if not known.class_folders:
        return run, train, test, ""
    root = Path(str(run.data.root)).expanduser()
    if run.data.root is None or not all((root / folder).is_dir() for folder in known.folders):
        missing = " and ".join(f"{folder}/" for folder in known.folders)
        seen = "no data.root is given" if run.data.root is None else f"data.root={run.data.root} has no {missing}"
        published = f"{train:,} training and {test:,} test images are assumed, as published for {known.release}"
        return run, train, test, f"{name}: {published}; {seen}, and training needs data.root=FOLDER"
    run = replace(run, data=with_classes_counted(run.data))
    train, test = (class_folders.found(root).images[split] for split in class_folders.SPLITS)
    return run, train, test, f"{name}: {train:,} training and {test:,} test images, counted in {root}"


# ---------------------------------------------------------------------------- the profile


def match(planned: list[PlannedRun], rows: list[Row]) -> str | None:
    """Gives each run its row of the profile, all of one machine; returns the machine, or None.

    The machine is the one measured last; of those of one day, the one with rows for most runs.
    """
    fitting = [[row for row in reversed(rows) if _fits(row, each.run)] for each in planned]
    machines = dict.fromkeys(_machine(row) for found in fitting for row in found)
    last: dict[str, tuple[str, int]] = {}
    for name in machines:
        dates = [max(own) for found in fitting if (own := [row["date"] for row in found if _machine(row) == name])]
        last[name] = max(dates), len(dates)
    chosen = max(machines, key=lambda name: last[name], default=None)
    for each, found in zip(planned, fitting, strict=True):
        own = [row for row in found if _machine(row) == chosen]
        each.row = max(own, key=lambda row: row["date"], default=None)
    return chosen


def _fits(row: Row, run: Run) -> bool:
    """Whether the row was measured on what the run trains.

    How the SGD batch is split is nothing to a batch-free run.
    """
    asked = {"label": run.norm.label, "data": run.data.name, "model": run.model.label, "precision": run.precision}
    asked |= {"sgd_batch": str(run.sgd_batch)}
    if not run.batch_free:
        asked |= {"batch": str(run.batch), "workers": str(run.workers)}
    if run.data.image_size is not None:  # else the data set decides it
        asked["image_size"] = str(run.data.image_size)
    if run.threads is not None:
        asked["threads"] = str(run.threads)
    gpu = run.device.startswith("cuda") and row["device"] not in ("cpu", "mps")
    return (run.device in ("auto", row["device"]) or gpu) and all(row[key] == value for key, value in asked.items())


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
        raise ConfigError(f"{measured.PATH}: {column} must be above 0, got {row[column]!r}; measure that row anew")
    return speed
