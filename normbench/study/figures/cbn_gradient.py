"""CBN taken apart: error against its window, its filters' lengths, what its compensation explains.

To CBN's published gradient the window's past is constant. Under BN the loss does not change with
the length of a filter, so the gradient is orthogonal to it; here a longer filter moves the present
batch alone.
"""

from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from normbench.study.figures import error_vs_option, layout, lines, scales, style
from normbench.study.figures.drawing import Drawing
from normbench.study.figures.looks import Look, looks_of
from normbench.study.figures.sheet import PAPER, Sheet
from normbench.study.read import experiments, origin, overrides, probes, setting, stats
from normbench.study.read.belonging import alike
from normbench.study.read.missing import missing
from normbench.study.read.selection import plain

WINDOW, THROUGH = "norm.window", "norm.through_window"
WINDOWED = ("cbn", "through", "cbn_naive")
Found = dict[int, dict[str, dict[float, stats.Summary]]]  # by batch, kind and window
Kinds = dict[str, pd.DataFrame]  # the runs of BN and of each of WINDOWED


def cbn_gradient(runs: pd.DataFrame, strict: bool = False, sheet: Sheet = PAPER) -> Drawing:
    """CBN with and without its gradient through the window, and naive CBN: error against it,
    the filters' lengths and the compensation's share through training.

    The share is of the mean square; the mean's compensation is exact.
    """
    own, remarks = alike(runs, "cbn_gradient", strict=strict)
    kinds = _kinds(own)
    batches = sorted({int(b) for kind in WINDOWED for b in kinds[kind]["batch"].dropna()}, reverse=True)
    found = {batch: _against_window(kinds, batch) for batch in batches}
    if not any(line for at in found.values() for line in at.values()):
        raise experiments.none_yet("cbn_gradient")
    inside = _of_one_window(kinds, batches[0])
    lacking = missing(own, "cbn_gradient")
    with style.paper(sheet):
        rows = max(2, len(batches))
        figure, axes = layout.new_panels(sheet, rows, 2, 1.5 * rows, one_scale="")
        _draw_errors(axes[0 : 2 * len(batches) : 2], found, kinds)
        _draw_lengths(axes[1], inside)
        _draw_shares(axes[3], inside)
        for spare in (*axes[2 * len(batches) :: 2], *axes[5::2]):
            spare.set_axis_off()
        handles = [lines.handle(look, look.name) for kind, look in LOOKS.items() if len(kinds[kind])]
        layout.legend(figure, sheet, handles)
        layout.finish(figure, sheet, *_notes(own, inside, batches[0], lacking))
    numbers = _numbers(found, kinds)
    return Drawing(figure, missing=lacking, remarks=remarks, numbers=numbers, of=overrides.beside("cbn_gradient", own))


def _looks() -> dict[str, Look]:
    known = looks_of(["bn", "cbn", "gn", "cbn_naive"])
    return {
        "bn": known["bn"],
        "cbn": known["cbn"],
        "through": replace(known["gn"], name="CBN, through the window"),
        "cbn_naive": known["cbn_naive"],
    }


LOOKS = _looks()

# ---------------------------------------------------------------------------- which runs


def _kinds(own: pd.DataFrame) -> Kinds:
    through = own[THROUGH].map(plain) != "null" if THROUGH in own else pd.Series(False, index=own.index)
    of = {name: own["norm.name"] == name for name in ("bn", "cbn", "cbn_naive")}
    return {
        "bn": own[of["bn"]], "cbn": own[of["cbn"] & ~through], "through": own[of["cbn"] & through],
        "cbn_naive": own[of["cbn_naive"]],
    }  # fmt: skip


def _against_window(kinds: Kinds, batch: int) -> dict[str, dict[float, stats.Summary]]:
    return {kind: error_vs_option.by_option(kinds[kind][kinds[kind]["batch"] == batch], WINDOW) for kind in WINDOWED}


def _windows(found: Found) -> list[float]:
    return sorted({k for at in found.values() for line in at.values() for k in line})


def _of_one_window(kinds: Kinds, batch: int) -> Kinds:
    """Of the kinds at one batch the runs with the window that most have, and those of BN."""
    at = {kind: own[own["batch"] == batch] for kind, own in kinds.items()}
    windowed = pd.concat([at[kind] for kind in WINDOWED])
    window = float(windowed[WINDOW].mode().iloc[-1])
    return {kind: own if kind == "bn" else own[own[WINDOW] == window] for kind, own in at.items()}


# ---------------------------------------------------------------------------- the panels


def _draw_errors(axes: list[Axes], found: Found, kinds: Kinds) -> None:
    windows = _windows(found)
    levels = {batch: stats.mean_over_seeds(kinds["bn"][kinds["bn"]["batch"] == batch]) for batch in found}
    means = [*levels.values(), *(summary for at in found.values() for line in at.values() for summary in line.values())]
    for ax, (batch, at) in zip(axes, found.items(), strict=True):
        ax.set_ylabel(scales.AXIS_LABELS[stats.METRIC])
        scales.value_axis(ax, [], means)  # one scale for all batches
        level = levels[batch]
        if level.n:
            lines.level(ax, LOOKS["bn"], level, [])
        for kind, line in at.items():
            if line:
                lines.points(ax, LOOKS[kind], line, windows, size=3.5, width=1.1)
            own = kinds[kind]
            lost = own[(own["batch"] == batch) & (own["state"] == "diverged")]
            for k in sorted(set(lost[WINDOW].dropna())):
                lines.diverged(ax, LOOKS[kind], float(k))
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_locator(FixedLocator(windows))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.set_title(f"{batch} image{'s' * (batch > 1)}")
    axes[-1].set_xlabel("window k (batches)")


def _draw_lengths(axes: Axes, inside: Kinds) -> None:
    heights: list[float] = []
    for kind, own in inside.items():
        trace = probes.over_seeds(own, probes.filter_length)
        _draw_trace(axes, trace, LOOKS[kind], "-")
        heights += [*trace["mean"]]
    axes.set_title("filters")
    axes.set_ylabel("length")
    scales.value_axis(axes, heights)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))


def _draw_shares(axes: Axes, inside: Kinds) -> None:
    for kind in ("cbn", "through"):
        _draw_trace(axes, probes.over_seeds(inside[kind], probes.explained), LOOKS[kind], "-")
        _draw_trace(axes, probes.over_seeds(inside[kind], probes.by_weights), LOOKS[kind], ":")
    axes.set_title("compensation's share")
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), 1.05)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_xlabel("epoch")


def _draw_trace(axes: Axes, trace: pd.DataFrame, look: Look, line: str) -> None:
    """The mean over seeds with a band of its sd."""
    axes.plot(trace.index, trace["mean"], color=look.color, linestyle=line, linewidth=0.9, zorder=3)
    low, high = trace["mean"] - trace["sd"], trace["mean"] + trace["sd"]
    axes.fill_between(trace.index, low, high, color=look.color, alpha=0.18, linewidth=0, zorder=2)


# ---------------------------------------------------------------------------- in words


def _notes(own: pd.DataFrame, inside: Kinds, batch: int, lacking: list[str]) -> list[str]:
    seeds = max(stats.mean_over_seeds(runs).n for runs in inside.values())
    windowed = pd.concat([inside[kind] for kind in WINDOWED])
    window = int(windowed[WINDOW].iloc[0])
    spread = f"Mean ± sd, {seeds} seeds at k = {window}. " if seeds > 1 else "A single seed. "
    said = [f"{spread}Band: BN, which k = 1 is. Right: k = {window} at {batch} images."]
    if probes.watched(windowed):
        layer = str(windowed["probe.layer"].dropna().iloc[0])
        said += [
            "Length: geometric mean over the layers.",
            f"Share, of the mean square in {'the last norm' if layer == 'last' else layer}: whole, of what its weights "
            "did to a past batch, what is compensated; dotted, what they did beside all that lies between two batches.",
        ]
    return [setting.in_words(own), " ".join(said), lines.missing_text(lacking), origin.in_words(own)]


def _numbers(found: Found, kinds: Kinds) -> pd.DataFrame:
    """A row a batch and window: the error of each; BN's, which has no window, in every row."""
    rows = {}
    windows = _windows(found)
    for batch, at in found.items():
        level = stats.mean_over_seeds(kinds["bn"][kinds["bn"]["batch"] == batch])
        for k in windows:
            row = {LOOKS["bn"].name: stats.mean_sd(level) or "missing"}
            row |= {LOOKS[kind].name: _in_words(kinds[kind], batch, k, line.get(k)) for kind, line in at.items()}
            rows[f"{k:g} at {batch}"] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("window")


def _in_words(own: pd.DataFrame, batch: int, window: float, found: stats.Summary | None) -> str:
    lost = int(((own["batch"] == batch) & (own[WINDOW] == window) & (own["state"] == "diverged")).sum())
    said = [stats.mean_sd(found) if found else "", f"{lost} diverged" if lost else ""]
    return " ".join(filter(None, said)) or "missing"
