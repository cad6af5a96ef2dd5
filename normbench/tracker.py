"""A mirror of the records on Weights & Biases or elsewhere, or a null object with the same methods.

Never the source of truth, and nothing here can stop a run: a server that does not answer, a full
disk or a key that is refused becomes one printed line.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from normbench import plugins, records
from normbench.hints import first_line
from normbench.runs import Run
from normbench.tensorboard import TensorBoardTracker

INIT_SECONDS = 20.0  # how long a server that does not answer may hold up the first run of a process
# and how long the end of a run; what is not sent by then stays on disk for `wandb sync`
FINISH_SECONDS = 60.0
TAG_LETTERS = 64  # W&B refuses longer tags
METHODS = ("__enter__", "__exit__", "log", "finish")  # of a tracker
CURVES = ("top1_error_pct", "train_error_pct")


class NoTracker:
    """Does nothing.

    A tracker is a class with these methods, built as Tracker(run, folder): the Run, and the folder
    of its records. It is entered before the first step and left at the end, whatever that is; log
    is told each epoch's row, finish the result. A run that goes on is told the rows that follow:
    those before stand in records.read_rows(folder).
    """

    def __enter__(self) -> "NoTracker":
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        pass

    def log(self, row: dict[str, Any]) -> None:
        pass

    def finish(self, result: dict[str, Any]) -> None:
        pass


class Quiet(NoTracker):
    """A tracker that cannot stop a run: what it raises becomes one line under its name."""

    def __init__(self, name: str, tracker: Any) -> None:
        for method in METHODS:
            if not callable(getattr(tracker, method, None)):
                raise TypeError(f"{type(tracker).__name__} has no {method}; a tracker is a normbench.tracker.NoTracker")
        self._name, self._tracker = name, tracker

    def __enter__(self) -> "Quiet":
        _quietly(self._tracker.__enter__, self._name)
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        _quietly(lambda: self._tracker.__exit__(kind, e, tb), self._name)

    def log(self, row: dict[str, Any]) -> None:
        _quietly(lambda: self._tracker.log(dict(row)), self._name)

    def finish(self, result: dict[str, Any]) -> None:
        _quietly(lambda: self._tracker.finish(dict(result)), self._name)


class WandbTracker(NoTracker):
    """One W&B run for each run folder, under the same id whenever it is resumed."""

    offline_is_said = False  # by this process: once is enough for a sweep

    def __init__(self, run: Run, folder: Path) -> None:
        import wandb

        self._wandb, self._folder = wandb, folder
        rows = records.read_rows(folder)
        wanted = {"config": _config(run, folder), **_names(run), "dir": str(folder)}
        # None: a run that starts anew replaces what W&B has of it
        wanted["resume"] = "allow" if rows else None
        self._run = self._init(_mode(run), wanted)
        self._run.define_metric("*", step_metric="epoch")
        self._run.define_metric("images_seen", summary="max")
        # an offline segment starts empty, and a killed process had not sent its last rows
        for row in rows:
            if row["epoch"] >= self._run.step:
                self.log(row)

    def _init(self, mode: str, wanted: dict[str, Any]) -> Any:
        """Starts the W&B run, offline where online fails, and says where it is."""
        wandb = self._wandb
        wanted["reinit"] = "finish_previous"
        wanted["settings"] = wandb.Settings(
            console="off", init_timeout=INIT_SECONDS, finish_timeout=FINISH_SECONDS, finish_timeout_raises=True
        )
        try:
            run = wandb.init(mode=mode, **wanted)
        except Exception as e:
            if mode != "online":
                raise
            sync = f"wandb sync {self._folder}/wandb/offline-run-* sends it later"
            print(f"wandb: {first_line(e)}; {sync}; this process tracks offline from here on", flush=True)
            WandbTracker.offline_is_said = True
            # or every run of a sweep would wait for the server
            os.environ["WANDB_MODE"] = "offline"
            wandb.teardown()  # the client's own process still holds the id
            return wandb.init(mode="offline", **wanted)
        if mode == "online":
            print(f"wandb: {run.url}", flush=True)
        if mode == "offline" and not WandbTracker.offline_is_said:
            print(f"wandb: offline; wandb sync {self._folder}/wandb/offline-run-* sends it", flush=True)
            WandbTracker.offline_is_said = True
        return run

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        _quietly(lambda: self._run.finish(exit_code=0 if kind is None else 1))

    def log(self, row: dict[str, Any]) -> None:
        _quietly(lambda: self._run.log(row, step=row["epoch"]))

    def finish(self, result: dict[str, Any]) -> None:
        """Puts the metric of record into the summary, rows and curves into the last epoch."""
        summary: dict[str, Any] = {"status": result["status"]}
        if result.get("seconds"):
            # evaluation included in the seconds
            summary["images_per_second"] = result["images_seen"] / result["seconds"]
        for key, value in result.items():
            if isinstance(value, dict):  # a metric: {median_last5, final}
                summary |= {f"{key}_{statistic}": number for statistic, number in value.items()}
        _quietly(lambda: self._run.summary.update(summary))
        _quietly(self._log_rows)

    def _log_rows(self) -> None:
        rows = records.read_rows(self._folder)
        if not rows:
            return
        columns: list[str | int] = list(dict.fromkeys(key for row in rows for key in row))
        table = self._wandb.Table(columns=columns, data=[[row.get(str(key)) for key in columns] for row in rows])
        drawn = [key for key in CURVES if key in columns]
        curves = self._wandb.plot.line_series(
            xs=[row["epoch"] for row in rows],
            ys=[[row.get(key) for row in rows] for key in drawn],
            keys=drawn,
            title="error (%)",
            xname="epoch",
        )
        self._run.log({"epochs": table, "curves": curves}, step=rows[-1]["epoch"])


def build(run: Run, folder: Path, enabled: bool) -> NoTracker:
    """The tracker that the run names, on the rank that writes; elsewhere one that does nothing."""
    name = run.tracker.name
    if not enabled or name == "none":
        return NoTracker()
    try:
        if name in plugins.offered("tracker"):
            return Quiet(name, plugins.load(name, "tracker")(run, folder))
        return Quiet(name, TensorBoardTracker(run, folder)) if name == "tensorboard" else _wandb(run, folder)
    except Exception as e:  # noqa: BLE001 - a tracker never stops a run
        print(f"{name}: {first_line(e)}; this run is not tracked", flush=True)
        return NoTracker()


def _wandb(run: Run, folder: Path) -> WandbTracker:
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    # our line says where the run is; W&B's own would be six
    os.environ.setdefault("WANDB_SILENT", "true")
    # tables wait here until they are sent: beside the runs, not in a home folder that a cluster may
    # not let us write
    os.environ.setdefault("WANDB_DATA_DIR", str((Path(run.out) / ".wandb").resolve()))
    return WandbTracker(run, folder)


# ---------------------------------------------------------------------------- what W&B is told


def _config(run: Run, folder: Path) -> dict[str, Any]:
    """Every setting, the run's names, the commit, and what else it was made with."""
    made_with = records.read_object(folder / "env.json")
    return {
        **run.settings(),
        "identity": run.identity,
        "label": run.norm.label,
        "model_label": run.model.label,
        "lr": run.lr,
        "batch_free": run.batch_free,
        "commit": made_with.pop("commit", None),
        "environment": made_with,
    }


def _names(run: Run) -> dict[str, Any]:
    """Where the run stands on W&B.

    What W&B averages over a group differs in nothing but the seed.
    """
    model, norm = run.model.label, run.norm.label
    like = replace(run, seed=0).identity[:4]
    tags = [run.data.name, model, norm, run.protocol]
    if isinstance(run.experiment, str):
        tags.append(run.experiment)
    return {
        "project": run.tracker.project,
        "id": f"{run.identity}-s{run.seed}",
        "group": f"{run.data.name}-{model}-{norm}-{run.split}-{like}",
        "name": f"{norm}-{run.split}-s{run.seed}",
        "job_type": "train",
        "tags": [tag[:TAG_LETTERS] for tag in tags],
    }


def _mode(run: Run) -> str:
    """auto: what WANDB_MODE says, else online where a key is set, else offline."""
    import wandb

    if run.tracker.mode != "auto":
        return run.tracker.mode
    if said := os.environ.get("WANDB_MODE"):
        return said
    return "online" if wandb.login(prompt=False, verify=False) else "offline"


def _quietly(call: Callable[[], Any], name: str = "wandb") -> None:
    try:
        call()
    except Exception as e:  # noqa: BLE001 - a tracker never stops a run
        print(f"{name}: {first_line(e)}", flush=True)
