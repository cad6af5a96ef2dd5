"""A mirror of the records on Weights & Biases, or a null object with the same methods. Never the source of truth.

Nothing here can stop a run: a server that does not answer, a full disk or a key that is refused becomes one printed line.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from normbench import records
from normbench.compose import model_label, norm_label
from normbench.config import Config, ConfigError, as_dict, identity, run_path

MODES = ("auto", "online", "offline", "disabled")
INIT_SECONDS = 20.0  # how long a server that does not answer may hold up the first run of a process
FINISH_SECONDS = 60.0  # and how long the end of a run; what is not sent by then stays on disk for `wandb sync`
TAG_LETTERS = 64  # W&B refuses longer tags
CURVES = ("top1_error_pct", "train_error_pct")


class NoTracker:
    """Does nothing."""

    def __enter__(self) -> "NoTracker":
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        pass

    def log(self, row: dict[str, Any]) -> None:
        pass

    def finish(self, result: dict[str, Any]) -> None:
        pass


class WandbTracker(NoTracker):
    """One W&B run a run folder, under the same id whenever it is resumed."""

    def __init__(self, config: Config, folder: Path) -> None:
        import wandb

        self._wandb, self._folder = wandb, folder
        rows = records.read_rows(folder)
        wanted = {"config": _config(config, folder), **_names(config), "dir": str(folder)}
        wanted["resume"] = "allow" if rows else None  # None: a run that starts anew replaces what W&B has of it
        self._run = self._init(_mode(config), wanted)
        self._run.define_metric("*", step_metric="epoch")
        self._run.define_metric("images_seen", summary="max")
        for row in rows:  # an offline segment starts empty, and a killed process had not sent its last rows
            if row["epoch"] >= self._run.step:
                self.log(row)

    def _init(self, mode: str, wanted: dict[str, Any]) -> Any:
        """Starts the W&B run, offline where online fails, and says where it is."""
        wandb = self._wandb
        wanted["reinit"] = "finish_previous"
        wanted["settings"] = wandb.Settings(
            console="off",
            init_timeout=INIT_SECONDS,
            finish_timeout=FINISH_SECONDS,
            finish_timeout_raises=True,
        )
        try:
            run = wandb.init(mode=mode, **wanted)
        except Exception as e:
            if mode != "online":
                raise
            print(f"wandb: {_line(e)}; this process tracks offline from here on", flush=True)
            os.environ["WANDB_MODE"] = "offline"  # or every run of a sweep would wait for the server
            wandb.teardown()  # the client's own process still holds the id
            return wandb.init(mode="offline", **wanted)
        if mode == "online":
            print(f"wandb: {run.url}", flush=True)
        return run

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        _quietly(lambda: self._run.finish(exit_code=0 if kind is None else 1))

    def log(self, row: dict[str, Any]) -> None:
        _quietly(lambda: self._run.log(row, step=row["epoch"]))

    def finish(self, result: dict[str, Any]) -> None:
        """The metric of record goes into the summary; the rows as a table and their curves into the last epoch."""
        summary: dict[str, Any] = {"status": result["status"]}
        if result.get("seconds"):
            summary["images_per_second"] = result["images_seen"] / result["seconds"]  # evaluation included
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


def build(config: Config, folder: Path, enabled: bool) -> NoTracker:
    """The tracker that the config names, on the one rank that writes."""
    if not enabled or config.tracker.name == "none":
        return NoTracker()
    if config.tracker.mode not in MODES:
        raise ConfigError(f"tracker.mode={config.tracker.mode}: one of {', '.join(MODES)}")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")  # our line says where the run is; W&B's own would be six
    # tables wait here until they are sent: beside the runs, not in a home folder that a cluster may not let us write
    os.environ.setdefault("WANDB_DATA_DIR", str((Path(config.out) / ".wandb").resolve()))
    try:
        return WandbTracker(config, folder)
    except Exception as e:  # noqa: BLE001 - a tracker never stops a run
        print(f"wandb: {_line(e)}; this run is not tracked", flush=True)
        return NoTracker()


# ---------------------------------------------------------------------------- what W&B is told


def _config(config: Config, folder: Path) -> dict[str, Any]:
    """The resolved config, the names under which the run is found, the commit, and what else it was made with."""
    made_with = records.read_json(folder / "env.json") or {}
    return {
        **as_dict(config),
        "identity": identity(config),
        "label": norm_label(config),
        "model_label": model_label(config),
        "lr": config.lr,
        "batch_free": config.batch_free,
        "commit": made_with.pop("commit", None),
        "environment": made_with,
    }


def _names(config: Config) -> dict[str, Any]:
    """Where the run stands on W&B. A group is a cell: what W&B averages over it differs in nothing but the seed."""
    model, norm = model_label(config), norm_label(config)
    cut = run_path(config, model, norm).parts[-2]  # b2x32, or any64
    like = identity(replace(config, seed=0))[:4]
    tags = [config.data.name, model, norm, config.protocol.name]
    if isinstance(config.experiment, str):
        tags.append(config.experiment)
    return {
        "project": config.tracker.project,
        "id": f"{identity(config)}-s{config.seed}",
        "group": f"{config.data.name}-{model}-{norm}-{cut}-{like}",
        "name": f"{norm}-{cut}-s{config.seed}",
        "job_type": "train",
        "tags": [tag[:TAG_LETTERS] for tag in tags],
    }


def _mode(config: Config) -> str:
    """auto: what WANDB_MODE says, else online where a key is set, else offline."""
    import wandb

    if config.tracker.mode != "auto":
        return config.tracker.mode
    if said := os.environ.get("WANDB_MODE"):
        return said
    return "online" if wandb.login(prompt=False, verify=False) else "offline"


def _quietly(call: Callable[[], Any]) -> None:
    try:
        call()
    except Exception as e:  # noqa: BLE001 - a tracker never stops a run
        print(f"wandb: {_line(e)}", flush=True)


def _line(error: Exception) -> str:
    """The first line of what W&B says: it goes on to advise settings that are ours."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
