"""Run folders to read, written through the real records."""

import json
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from normbench import records
from normbench.config import Recipe

PAPER = {
    "data__name": "imagenet", "data__num_classes": 1000, "data__image_size": 224, "model__name": "resnet50",
    "model__options": {}, "recipe": asdict(Recipe(name="gn2018")),
}  # fmt: skip


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    return write_run


@pytest.fixture(scope="session")
def of_the_paper() -> dict[str, Any]:
    """What makes a run one of Wu & He's: their data, network and recipe."""
    return PAPER


def write_run(
    root: Path, norm: str = "bn", batch: int = 32, seed: int = 0, error: float | None = 7.5, *,
    state: str = "done", epochs: int = 2, batch_free: bool = False, **changed: Any,
) -> Path:  # fmt: skip
    """A run folder as training leaves it; changed: dotted keys with __ for the dot, e.g. recipe__epochs=30."""
    identity = f"{zlib.crc32(json.dumps([norm, batch, seed, changed], sort_keys=True).encode()):08x}"
    folder = root / "digits" / "cifar_resnet8" / norm / f"b{batch}x{64 // batch}" / f"s{seed}-{identity}"
    folder.mkdir(parents=True)
    config: dict[str, Any] = {
        "model": {"name": "cifar_resnet8", "options": {"width": 16}, "gn_min_channels": 4},
        "data": {"name": "digits", "num_classes": 10, "train_size": None, "root": None},
        "norm": {"name": norm.split("-")[0], "batch_free": batch_free, "eps": 1e-5},
        "recipe": {"name": "digits", "epochs": 15, "lr": 0.1, "lr_batch": 32, "nesterov": False, "milestones": [0.3]},
        "protocol": {"name": "fixed_sgd", "workers": None, "sgd_batch": None},
        "batch": batch, "workers": 64 // batch, "sgd_batch": 64, "seed": seed, "precision": "fp32",
        "eval_stats": "worker0", "device": "cpu", "out": str(root), "experiment": None,
        "label": norm, "identity": identity, "batch_free": batch_free,
    }  # fmt: skip
    for key, value in changed.items():
        *groups, name = key.split("__")
        node = config
        for group in groups:
            node = node.setdefault(group, {})
        node[name] = value
    records.write_config(folder, config)
    for epoch in range(1, epochs + 1):
        records.append_row(folder, {"epoch": epoch, "images_seen": 8000 * epoch, "lr": 0.1, "top1_error_pct": error})
    if state in ("done", "diverged"):
        metric = {"median_last5": error, "final": error}
        result = {"status": state, "top1_error_pct": metric, "epochs": epochs, "images_seen": 16000, "seconds": 1.5}
        records.write_json(folder / "result.json", result)
    return folder
