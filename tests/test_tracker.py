"""Weights & Biases: what the real client wrote offline is what the records hold."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import normbench
from normbench import records
from normbench.compose import config_of
from normbench.config import ConfigError
from normbench.tracker import NoTracker, build


def test_the_offline_run_holds_the_rows_the_config_and_the_metric_of_record(tiny: list[str]) -> None:
    result = normbench.run([*tiny, "tracker=wandb", "tracker.mode=offline"])
    log = next(result.path.rglob("*.wandb"))
    shown = subprocess.run(
        [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(log)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    text = json.dumps(json.loads(shown.stdout))
    assert '"top1_error_pct_median_last5"' in text
    assert str(result.top1_error_pct) in text
    rows = records.read_rows(result.path)
    assert str(rows[-1]["train_loss"]) in text


def test_the_tracker_does_not_fork_a_run_and_no_tracker_writes_nothing(tiny: list[str]) -> None:
    result = normbench.run(tiny)
    assert not list(result.path.rglob("*.wandb"))
    assert normbench.run([*tiny, "tracker=wandb"]) == result


def test_a_wrong_mode_is_refused_and_other_ranks_track_nothing(tmp_path: Path) -> None:
    config = config_of(["tracker=wandb", "tracker.mode=onlin"])
    with pytest.raises(ConfigError, match="one of auto, online, offline, disabled"):
        build(config, tmp_path, enabled=True)
    assert type(build(config, tmp_path, enabled=False)) is NoTracker
