"""`normbench profile norm=bn,gn batch=2,32`: measures what norms cost.

The rows go to results/profile.csv.

Takes the config of a run, with lists as in a sweep, and needs no data: only the shapes matter. One
process plays all of the workers, as in a run without torchrun; workers=1 measures a single one.
"""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from normbench import command, measured
from normbench.compose import runs_of
from normbench.runs import Run

if TYPE_CHECKING:  # torch is loaded once the overrides are known to be right
    from normbench.train.cost import TimedNetwork


def main(arguments: list[str] | None = None) -> None:
    """Measures every run, prints a table, and writes rows over older ones of the same key."""
    reader = command.bare_parser("profile", "Measures speed and memory of norms in training and in inference.")
    reader.add_argument("overrides", nargs="*", metavar="key=value", help="the config, as for a sweep")
    reader.add_argument("--seconds", type=float, default=3.0, help="of timing for each row, about (%(default)g)")
    reader.add_argument("--out", default=measured.PATH, metavar="FILE", help="the table (%(default)s)")
    options = reader.parse_intermixed_args(arguments)
    out = Path(options.out)
    rows = measured.read(out)
    shapes = _by_shape(runs_of(options.overrides, files=False))
    from normbench.train.cost import measure

    names = ("norm", "batch", "workers", "train img/s", "infer img/s", "saved MiB", "state KiB")
    shown = Table(*names, box=None, pad_edge=False)
    for runs in shapes:
        for network in measure(runs, options.seconds):
            row = row_of(network)
            rows[measured.key_of(row)] = row
            speeds = [f"{row[name]:,.0f}" for name in ("train_img_per_s", "infer_img_per_s")]
            sizes = [f"{row['saved_bytes'] / 2**20:,.1f}", f"{row['state_bytes'] / 2**10:,.1f}"]
            shown.add_row(row["label"], str(row["batch"]), str(row["workers"]), *speeds, *sizes)
        measured.write(out, rows)  # after each shape, so that what is measured is not lost
    console = command.terminal()
    console.print(shown)
    console.print(f"wrote {out}: {len(rows)} rows", markup=False)


def row_of(network: "TimedNetwork") -> measured.Row:
    """What was measured, and of what."""
    import torch

    run, device, images = network.run, network.device, len(network.images)
    return {
        "norm": run.norm.name,
        "label": run.norm.label,
        "data": run.data.name,
        "image_size": network.images.shape[-1],
        "model": run.model.label,
        "batch": run.batch,
        "workers": run.workers,
        "sgd_batch": run.sgd_batch,
        "precision": run.precision,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "train_img_per_s": round(images / network.train_seconds, 2),
        "infer_img_per_s": round(images / network.infer_seconds, 2),
        "saved_bytes": network.saved_bytes(),
        "state_bytes": network.state_bytes(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _by_shape(runs: list[Run]) -> list[list[Run]]:
    """Puts runs together that differ in the norm alone; of several seeds it takes the first."""
    shapes: dict[Any, dict[str, Run]] = {}
    for r in runs:
        shape = r.data.name, r.data.image_size, r.model.label, r.batch, r.workers, r.precision, r.device, r.threads
        shapes.setdefault(shape, {}).setdefault(r.norm.label, r)
    return [list(by_norm.values()) for by_norm in shapes.values()]


if __name__ == "__main__":
    sys.exit(command.run(main))
