"""Runs that fill a figure: those that its experiments ask for, with what they make a run record."""

import itertools
from pathlib import Path
from typing import Any

from normbench import plugins, records
from normbench.compose import runs_of
from normbench.study.read import experiments


def fill(make_run: Any, root: Path, name: str) -> None:
    """Every run that the experiments of a figure ask for, with what they make a run record."""
    for wanted in experiments.read(name).products:
        norms = wanted.norms[:5]  # a few will do for all_norms
        others = {key: values for key, values in wanted.swept.items() if key not in ("norm", "seed")}
        for norm, values in itertools.product(norms, itertools.product(*others.values())):
            one_run(make_run, root, norm, wanted.fixed | dict(zip(others, values, strict=True)))


def one_run(make_run: Any, root: Path, norm: str, cell: dict[str, str]) -> None:
    batch = int(cell.pop("batch", "32"))
    probed = "probe.layer" in cell
    changed: dict[str, Any] = {"batch_free": plugins.schema(norm)["batch_free"] and not probed}
    label = norm
    for key, value in cell.items():
        if value == "null":
            continue
        changed[key.replace(".", "__")] = (
            ["batch", "precise"] if key == "eval_also" else float(value) if _number(value) else value
        )
        if key.startswith("norm.") and str(plugins.schema(norm)[key[5:]]) != value:
            label += f"-{key[5:]}{value}"
    if changed["batch_free"]:
        batch = 32  # one run serves every size
    try:
        made = make_run(root, norm=label, batch=batch, error=5 + 20 / batch, epochs=6, **changed)
    except FileExistsError:  # the same one for another size, or of another grid
        return
    (made / "epochs.jsonl").unlink()
    for epoch in range(1, 7):
        row = {
            "epoch": epoch,
            "images_seen": 8000 * epoch,
            "train_error_pct": 3.0 + 9 / epoch,
            "top1_error_pct": 7.0 + 9 / epoch,
        }
        more = {f"top1_error_pct_{stats}": 7.5 + 8 / epoch for stats in ("batch", "precise")}
        records.append_row(made, row | more)
    for step in range(10, 100, 10) if probed else ():
        spread = {str(p): (p - 50) / 20 for p in (1, 20, 80, 99)}
        row = {"step": step, "epoch": 1 + step // 50, "images_seen": 64 * step, "percentiles": spread}
        numbers = {"mean": 0.1, "var": 1.0 + step / 99, "grad_mean": 1e-4 * step, "grad_product": None}
        window = {
            "moved_square": 0.3,
            "missed_square": 0.1,
            "apart_square": 0.4,
            "filter_norms": {"bn1": 1 + step / 99},
        }
        records.append_probe(made, row | numbers | window)


def _number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def profile(root: Path) -> Path:
    """What normbench profile leaves."""
    lines = ["norm,data,model,batch,workers,device,train_img_per_s,infer_img_per_s,saved_bytes"]
    norms = experiments.read("cost").norms
    lines += [
        f"{norm},digits,cifar_resnet8,2,32,CPU,{900 + 10 * i},{2000 + i},{10**7 + i}" for i, norm in enumerate(norms)
    ]
    (root / "profile.csv").write_text("\n".join(lines) + "\n")
    return root / "profile.csv"


def finished(root: Path, overrides: list[str], error: float = 5.0) -> None:
    """The folders of runs that these overrides make, as if they had been trained."""
    for run in runs_of(overrides, files=False):
        folder = root / run.folder.relative_to(run.out)
        if folder.exists():  # one cell may be another under this protocol
            continue
        folder.mkdir(parents=True)
        records.write_config(folder, run.description())
        row = {f"top1_error_pct_{stats}": error for stats in run.eval_also or ()}
        records.append_row(folder, {"epoch": 1, "images_seen": 8000, "top1_error_pct": error, **row})
        metric = {"median_last5": error, "final": error}
        records.write_json(folder / "result.json", {"status": "done", "top1_error_pct": metric, "epochs": 1})
