"""A row of numbers, ours and a paper's, as it is printed."""

import math

from normbench.study.claims.verdict import Comparison
from normbench.study.read import stats
from normbench.study.read.stats import Summary

# Fields that are printed within another one, or not at all.
_WITHIN = ("sd", "n", "recalled", "asked", "low", "high")


def number(value: object) -> float:
    """A field of a row, whose fields are of several types, as the number that it is."""
    return float(str(value))


def row_text(row: dict[str, object], index: str) -> dict[str, str]:
    """One row as printed, by head; index: the field that names the row.

    Mean, sd and n stand together, a difference has its sign, and what is absent is empty.
    """
    shown = {index: str(row[index])}
    for key, value in row.items():
        lead = key.rpartition(" ")[0] + " " if " " in key else ""
        if key == index or key.rpartition(" ")[2] in _WITHIN:
            continue
        if key.endswith("ours"):
            n, sd = int(number(row[f"{lead}n"])), number(row[f"{lead}sd"])
            absent = "missing" if row.get("asked", True) else ""
            shown[key] = stats.mean_sd(Summary(n, number(value), sd, math.nan, math.nan)) or absent
        elif key.endswith("published"):
            dagger = " †" if row[f"{lead}recalled"] else ""
            shown[key] = "" if math.isnan(number(value)) else f"{number(value):.2f}{dagger}"
        else:
            dagger = " †" if key.startswith("published") and row.get("recalled") else ""
            shown[key] = _signed(number(value), row.get(f"{key} low"), row.get(f"{key} high")) + dagger
    return shown


def difference_text(found: Comparison, fewest: int = 2) -> str:
    """-1.55 [-2.01, -1.09], and which side diverged on how many of the seeds.

    fewest: pairs that make an interval worth showing. Empty where there is no pair.
    """
    mean, n = found.difference, found.difference.n
    sides = zip(("left", "right", "both"), found.diverged, strict=True)
    said = [f"{side} diverged on {count} of {n + found.diverged[2]}" for side, count in sides if count]
    if not math.isnan(mean.mean):
        interval = f" [{mean.low:+.2f}, {mean.high:+.2f}]" if n >= fewest else ""
        said.insert(0, f"{mean.mean:+.2f}{interval}")
    return ", ".join(said)


def _signed(value: float, low: object = None, high: object = None) -> str:
    if math.isnan(value):
        return ""
    interval = low is not None and not math.isnan(number(low))
    return f"{value:+.2f}" + (f" [{number(low):+.2f}, {number(high):+.2f}]" if interval else "")
