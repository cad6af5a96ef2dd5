"""Error against cost: runs beside the images per second and memory of results/profile.csv."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.ticker import MaxNLocator

from normbench.config import ConfigError
from normbench.study.figures import layout, lines, scales, style
from normbench.study.figures.drawing import Drawing
from normbench.study.figures.looks import Look, looks_of
from normbench.study.figures.sheet import PAPER, Sheet
from normbench.study.read import experiments, origin, overrides, setting, stats
from normbench.study.read.belonging import chosen
from normbench.study.read.missing import missing

PROFILE = Path("results/profile.csv")
MEMORY = "kept for backward (MiB)"


def cost(runs: pd.DataFrame, profile: Path = PROFILE, strict: bool = False, sheet: Sheet = PAPER) -> Drawing:
    """Error against training images per second (left) and against memory (right),
    a point a norm.

    profile: the table of speed and memory that `normbench profile` writes. Raises
    ConfigError where there is none, or no norm in it has runs of the same data, network and batch.
    """
    measure = f"normbench profile norm={','.join(experiments.read('cost').norms)} batch=2"
    if not profile.is_file():
        raise ConfigError(f"no {profile} yet; measure speed and memory with {measure}")
    own, remarks = chosen(runs, "cost", any_norm=True, strict=strict)
    measured = pd.read_csv(profile, keep_default_na=False, na_values={"batch": [""], "workers": [""]})
    rows = _with_errors(stats.against_batch(own), own, measured)
    if not rows:
        raise ConfigError(
            f"no norm in {profile} has runs on the same data, network and batch; {experiments.none_yet('cost')}"
        )
    looks = looks_of([row["norm"] for row in rows], origin.marks(own))
    lacking = [*missing(own, "cost"), *_unmeasured(measured)]
    with style.paper(sheet):
        figure, axes = layout.new_panels(sheet, 1, 2, 2.2, one_scale="y")
        summaries = [row["summary"] for row in rows]
        axes[0].set_ylabel(scales.AXIS_LABELS[stats.METRIC])
        scales.value_axis(axes[0], [], summaries)
        panels = [("train_img_per_s", "training (1000 images/s)", 1e3), ("saved_bytes", MEMORY, 2.0**20)]
        for ax, (field, label, unit) in zip(axes, panels, strict=True):
            for row in rows:
                _point(ax, row, float(row[field]) / unit, looks[row["norm"]])
            ax.set_xlabel(label)
            ax.xaxis.set_major_locator(MaxNLocator(4))
            ax.ticklabel_format(axis="x", useOffset=False)
            ax.margins(x=0.12)
        layout.legend(figure, sheet, [_handle(look) for look in looks.values()], ncols=4)
        where = rows[0]
        text = f"{setting.in_words(own)} {where['batch']} images per worker, on {where['device']}."
        said = [lines.spread_text(summaries, axes[0].get_yscale() == "log"), lines.missing_text(lacking)]
        layout.finish(figure, sheet, text, *said, origin.in_words(own))
    table = pd.DataFrame([_numbers(row) for row in rows]).set_index("norm")
    fill, of = [measure] if lacking else [], overrides.beside("cost", own)
    return Drawing(figure, missing=lacking, remarks=remarks, numbers=table, fill=fill, of=of)


# ---------------------------------------------------------------------------- parts


def _with_errors(cells: list[stats.Cell], runs: pd.DataFrame, measured: pd.DataFrame) -> list[dict[str, Any]]:
    """Errors with costs of the same norm, data, network and batch.

    The batch is the one that most norms have; of several measurements the last one counts.
    """
    if runs.empty:
        return []
    data, model = runs[["data", "model"]].iloc[0]
    like = measured[(measured["data"] == data) & (measured["model"] == model)]
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


def _point(axes: Any, row: dict[str, Any], x: float, look: Look) -> None:
    lines.points(axes, look, {x: row["summary"]}, [x], size=5)


def _handle(look: Look) -> Any:
    return lines.handle(Look(look.color, look.marker, "", look.name), look.name)


def _numbers(row: dict[str, Any]) -> dict[str, str]:
    return {
        "norm": row["norm"],
        "top-1 error %": stats.mean_sd(row["summary"]),
        "train img/s": f"{float(row['train_img_per_s']):.0f}",
        "infer img/s": f"{float(row['infer_img_per_s']):.0f}",
        MEMORY: f"{float(row['saved_bytes']) / 2**20:.1f}",
    }
