"""`python -m normbench.profile norm=bn,gn,frn batch=2,32`: what a norm costs, as rows of results/profile.csv.

Takes the config of a run, with lists as in a sweep, and needs no data: only the shapes matter. One process plays all of the
workers, as in a run without torchrun; workers=1 measures a single one's share.
"""

import csv
import io
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from normbench import command, records
from normbench.compose import cells, model_label, norm_label
from normbench.config import Config, ConfigError

if TYPE_CHECKING:  # torch is loaded once the overrides are known to be right
    from normbench.train.cost import Subject

OUT = "results/profile.csv"
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


def main(arguments: list[str] | None = None) -> None:
    """Measures every cell, prints the table and writes its rows, each over an older one of the same cell."""
    reader = command.bare_parser("profile", "Measures speed and memory of norms in training and in inference.")
    reader.add_argument("overrides", nargs="*", metavar="key=value", help="the config, as for a sweep")
    reader.add_argument("--seconds", type=float, default=3.0, help="of timing for each row, about (%(default)g)")
    reader.add_argument("--out", default=OUT, metavar="FILE", help="the table (%(default)s)")
    options = reader.parse_intermixed_args(arguments)
    out = Path(options.out)
    rows = read(out)
    shapes = _by_shape(cells(options.overrides, files=False))
    from normbench.train.cost import measure

    names = ("norm", "batch", "workers", "train img/s", "infer img/s", "saved MiB", "state KiB")
    shown = Table(*names, box=None, pad_edge=False)
    for configs in shapes:
        for subject in measure(configs, options.seconds):
            row = row_of(subject)
            rows[key_of(row)] = row
            speeds = [f"{row[name]:,.0f}" for name in ("train_img_per_s", "infer_img_per_s")]
            sizes = [f"{row['saved_bytes'] / 2**20:,.1f}", f"{row['state_bytes'] / 2**10:,.1f}"]
            shown.add_row(row["label"], str(row["batch"]), str(row["workers"]), *speeds, *sizes)
        write(out, rows)  # after each shape, so that what is measured is not lost
    console = command.terminal()
    console.print(shown)
    console.print(f"wrote {out}: {len(rows)} rows", markup=False)


def row_of(subject: "Subject") -> dict[str, Any]:
    """What was measured, and of what."""
    import torch

    config, device, images = subject.config, subject.device, len(subject.images)
    return {
        "norm": config.norm["name"],
        "label": norm_label(config),
        "data": config.data.name,
        "image_size": subject.images.shape[-1],
        "model": model_label(config),
        "batch": config.batch,
        "workers": config.workers,
        "sgd_batch": config.sgd_batch,
        "precision": config.precision,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "train_img_per_s": round(images / subject.train_seconds, 2),
        "infer_img_per_s": round(images / subject.infer_seconds, 2),
        "saved_bytes": subject.saved_bytes(),
        "state_bytes": subject.state_bytes(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _by_shape(configs: list[Config]) -> list[list[Config]]:
    """The configs that differ in the norm alone together, in their order; a seed makes no new cell here."""
    shapes: dict[Any, dict[str, Config]] = {}
    for c in configs:
        shape = c.data.name, c.data.image_size, model_label(c), c.batch, c.workers, c.precision, c.device, c.threads
        shapes.setdefault(shape, {}).setdefault(norm_label(c), c)
    return [list(by_norm.values()) for by_norm in shapes.values()]


# ---------------------------------------------------------------------------- results/profile.csv


def read(path: Path) -> dict[tuple[str, ...], dict[str, Any]]:
    """The rows by their key; none where there is no file. Raises ConfigError for another table."""
    if not path.exists():
        return {}
    with open(path, newline="", encoding="utf-8") as f:
        table = csv.DictReader(f)
        if tuple(table.fieldnames or ()) != COLUMNS:
            raise ConfigError(f"{path} has other columns than a profile's; move it away, then measure anew")
        return {key_of(row): dict(row) for row in table}


def write(path: Path, rows: dict[tuple[str, ...], dict[str, Any]]) -> None:
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    records.write_text(path, text.getvalue())


def key_of(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in KEY)


if __name__ == "__main__":
    sys.exit(command.run(main))
