"""What the tests share: a run small enough to train in a second, and an environment that reaches for nothing outside."""

import os
from pathlib import Path

import pytest

os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true", WANDB_CONSOLE="off")
os.environ.setdefault("OMP_NUM_THREADS", "1")

TINY = ["data.train_size=256", "recipe.epochs=3", "sgd_batch=32", "batch=8", "model.options.width=4"]


@pytest.fixture
def tiny(tmp_path: Path) -> list[str]:
    """Overrides of a run on 256 digits, recorded under tmp_path."""
    return [*TINY, f"out={tmp_path / 'runs'}"]
