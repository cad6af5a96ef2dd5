"""A mirror of the records on Weights & Biases, or a null object with the same methods. Never the source of truth."""

import os
from pathlib import Path
from types import TracebackType
from typing import Any

from normbench.compose import norm_label
from normbench.config import Config, ConfigError, identity, science

INIT_SECONDS = 20  # how long an unreachable server may hold a run up


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
    """One W&B run a run folder, under the same id when it is resumed; its failures never stop a run."""

    def __init__(self, config: Config, folder: Path) -> None:
        import wandb

        label = norm_label(config)
        cell = f"{config.data.name}-{config.model.name}-{label}-b{config.batch}"
        settings: dict[str, Any] = {
            "project": config.tracker.project,
            "dir": str(folder),
            "id": f"{identity(config)}-s{config.seed}",
            "resume": "allow",
            "group": cell,
            "name": f"{cell}-s{config.seed}",
            "tags": [config.data.name, config.model.name, label, config.protocol.name],
            "config": science(config),
            "reinit": "finish_previous",
        }
        mode: Any = config.tracker.mode
        if mode == "auto":
            mode = "online" if wandb.api.api_key else "offline"
        settings["settings"] = wandb.Settings(console="off", silent=True, init_timeout=INIT_SECONDS)
        try:
            self._run = wandb.init(mode=mode, **settings)
        except Exception as e:  # noqa: BLE001 - a tracker never stops a run
            print(f"wandb: {' '.join(str(e).split())}; tracking offline", flush=True)
            self._run = wandb.init(mode="offline", **settings)
        self._run.define_metric("*", step_metric="epoch")

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._quietly(lambda: self._run.finish(exit_code=0 if kind is None else 1))

    def log(self, row: dict[str, Any]) -> None:
        self._quietly(lambda: self._run.log(row, step=row["epoch"]))

    def finish(self, result: dict[str, Any]) -> None:
        summary = {
            "status": result["status"],
            **{f"top1_error_pct_{k}": v for k, v in result["top1_error_pct"].items()},
        }
        self._quietly(lambda: self._run.summary.update(summary))

    @staticmethod
    def _quietly(call: Any) -> None:
        try:
            call()
        except Exception as e:  # noqa: BLE001 - a tracker never stops a run
            print(f"wandb: {' '.join(str(e).split())}", flush=True)


def build(config: Config, folder: Path, enabled: bool) -> NoTracker:
    """The tracker that the config names, on the one rank that writes."""
    if not enabled or config.tracker.name == "none":
        return NoTracker()
    if config.tracker.mode not in ("auto", "online", "offline", "disabled"):
        raise ConfigError(f"tracker.mode={config.tracker.mode}: one of auto, online, offline, disabled")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    return WandbTracker(config, folder)
