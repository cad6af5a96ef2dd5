"""Error against what it costs: images per second and memory, from results/profile.csv beside the runs."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.ticker import MaxNLocator

from normbench.config import ConfigError
from normbench.study import experiments, lines, scales, stats, style
from normbench.study.drawn import Drawn

PROFILE = Path("results/profile.csv")
KEYS = ("data", "model", "batch", "workers")


def cost(runs: pd.DataFrame, profile: Path = PROFILE) -> Drawn:
    """Error against training images per second (left) and against memory (right), a point a norm."""
    measure = f"python -m normbench.profile norm={','.join(experiments.read('cost').norms)} batch=2"
    if not profile.is_file():
        raise ConfigError(f"no {profile} yet; measure speed and memory with {measure}")
    own, remarks = experiments.belonging(runs, "cost", any_norm=True)
    measured = pd.read_csv(profile, keep_default_na=False, na_values={"batch": [""], "workers": [""]})
    rows = _joined(stats.against_batch(own), own, measured)
    if not rows:
        raise ConfigError(
            f"no norm in {profile} has runs on the same data, network and batch; {experiments.none_yet('cost')}"
        )
    memory = "peak_bytes" if "peak_bytes" in measured else "saved_bytes"
    looks = style.looks([row["norm"] for row in rows])
    lacking = [*experiments.missing(own, "cost"), *_unmeasured(measured)]
    with style.paper():
        figure, axes = style.new_panels(1, 2, 2.2, share="y")
        panels = [("train_img_per_s", "training (1000 images/s)", 1e3), (memory, _memory_label(memory), 2.0**20)]
        for ax, (field, label, unit) in zip(axes, panels, strict=True):
            for row in rows:
                _point(ax, row, float(row[field]) / unit, looks[row["norm"]])
            ax.set_xlabel(label)
            ax.xaxis.set_major_locator(MaxNLocator(4))
            ax.margins(x=0.12)
        axes[0].set_ylabel(scales.AXIS_LABELS[stats.METRIC])
        scales.value_axis(axes[0], stats.ends([row["summary"] for row in rows]))
        style.legend(figure, [_handle(look) for look in looks.values()], ncols=4)
        where = rows[0]
        text = f"{where['data']}, {where['model']}, {where['batch']} images per worker, on {where['device']}."
        style.under(figure, f"{text} {lines.missing_text(lacking)}")
    table = pd.DataFrame([_numbers(row, memory) for row in rows]).set_index("norm")
    return Drawn(figure, missing=lacking, remarks=remarks, numbers=table, fill=[measure] if lacking else [])


# ---------------------------------------------------------------------------- parts


def _joined(cells: list[stats.Cell], runs: pd.DataFrame, measured: pd.DataFrame) -> list[dict[str, Any]]:
    """Errors and costs of the same norm, data, network and batch: the batch that most norms have, the last measurement."""
    if runs.empty:
        return []
    setting = {"data": runs["data"].iloc[0], "model": runs["model"].iloc[0]}
    like = measured[(measured["data"] == setting["data"]) & (measured["model"] == setting["model"])]
    by_batch: dict[int, list[dict[str, Any]]] = {}
    for (norm, batch), seen in like.groupby([_label(like), "batch"], sort=False):
        cell = next((c for c in cells if c.norm == norm and c.batch in (None, int(batch)) and c.over_seeds.n), None)
        if cell is not None:
            row = {**seen.iloc[-1].to_dict(), "norm": norm, "batch": int(batch), "summary": cell.over_seeds}
            by_batch.setdefault(int(batch), []).append(row)
    return max(by_batch.values(), key=len, default=[])


def _label(measured: pd.DataFrame) -> "pd.Series[str]":
    """A norm's label, as runs have it: the name with the options that differ from its yaml."""
    return measured["label"] if "label" in measured else measured["norm"]


def _unmeasured(measured: pd.DataFrame) -> list[str]:
    return [f"cost of {norm}" for norm in experiments.read("cost").norms if norm not in set(_label(measured))]


def _point(axes: Any, row: dict[str, Any], x: float, look: style.Look) -> None:
    summary = row["summary"]
    axes.errorbar(
        [x], [summary.mean], yerr=[summary.sd if summary.n > 1 else 0.0], color=look.color, marker=look.marker,
        markersize=5, linestyle="", elinewidth=0.8, capsize=1.5,
    )  # fmt: skip


def _handle(look: style.Look) -> Any:
    return lines.handle(style.Look(look.color, look.marker, "", look.name), look.name)


def _memory_label(field: str) -> str:
    return "peak memory (MiB)" if field == "peak_bytes" else "kept for backward (MiB)"


def _numbers(row: dict[str, Any], memory: str) -> dict[str, str]:
    return {
        "norm": row["norm"],
        "top-1 error %": stats.mean_sd(row["summary"]),
        "train img/s": f"{float(row['train_img_per_s']):.0f}",
        "infer img/s": f"{float(row['infer_img_per_s']):.0f}",
        _memory_label(memory): f"{float(row[memory]) / 2**20:.1f}",
    }
