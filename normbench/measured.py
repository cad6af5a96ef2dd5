"""results/profile.csv: what norms cost, as normbench.profile measured it.

One row per norm, shape and machine. No torch.
"""

import csv
import io
from pathlib import Path
from typing import Any

from normbench import records
from normbench.config import ConfigError

Row = dict[str, Any]
PATH = "results/profile.csv"
KEY = (
    "norm",
    "label",
    "data",
    "image_size",
    "model",
    "batch",
    "workers",
    "sgd_batch",
    "precision",
    "device",
    "threads",
)
COLUMNS = (*KEY, "train_img_per_s", "infer_img_per_s", "saved_bytes", "state_bytes", "date")


def read(path: Path) -> dict[tuple[str, ...], Row]:
    """The rows by their key; none where there is no file. Raises ConfigError for another table."""
    if not path.exists():
        return {}
    with open(path, newline="", encoding="utf-8") as f:
        table = csv.DictReader(f)
        if tuple(table.fieldnames or ()) != COLUMNS:
            raise ConfigError(f"{path} has other columns than a profile's; move it away, then measure anew")
        return {key_of(row): dict(row) for row in table}


def write(path: Path, rows: dict[tuple[str, ...], Row]) -> None:
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    records.write_text(path, text.getvalue())


def key_of(row: Row) -> tuple[str, ...]:
    """What tells a row from another: a newer one of the same key takes its place."""
    return tuple(str(row[name]) for name in KEY)
