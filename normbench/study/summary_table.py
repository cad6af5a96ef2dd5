"""Every norm at every batch size, with how much the batch matters to it."""

import math

import pandas as pd

from normbench.study import beside, comparison, error_vs_batch, experiments, stats, style
from normbench.study.selection import commonest
from normbench.study.table import Table


def summary(runs: pd.DataFrame) -> Table:
    """The error of every norm at every batch size, its robustness and its critical batch; the most robust first."""
    own, remarks = experiments.belonging(experiments.of_norms_as_they_come(runs), "all_norms", any_norm=True)
    if own.empty:
        raise experiments.none_yet("all_norms")
    chosen = commonest(own)
    if len(chosen) < len(own):
        remarks = [*remarks, f"left out: {len(own) - len(chosen)} runs of other settings"]
    batches = experiments.grid("all_norms", chosen).batches
    looks = style.looks(list(dict.fromkeys(chosen["norm"])))
    numbers, text = [], []
    cells = stats.against_batch(chosen)
    for norm, look in looks.items():
        mine = [cell for cell in cells if cell.norm == norm]
        found = comparison.excess(mine, batches)
        robustness, critical = comparison.robustness(found), comparison.critical_batch(found)
        at = {batch: next((cell for cell in mine if cell.batch in (None, batch)), None) for batch in batches}
        texts = {str(batch): error_vs_batch.in_words(cell) if cell else "" for batch, cell in at.items()}
        shown = "" if math.isnan(robustness) else f"{robustness:.2f}"
        unknown = sum(not math.isnan(value) for value in found.values()) < 2  # one size tells nothing of others
        text.append(
            {"norm": look.name, **texts, "robustness": shown, "critical batch": "" if unknown else str(critical)}
        )
        row: dict[str, object] = {"norm": norm, "batch_free": any(cell.batch is None for cell in mine)}
        for batch, cell in at.items():
            over = cell.over_seeds if cell else stats.summarise([])
            row |= {f"{batch}": over.mean, f"{batch} sd": over.sd, f"{batch} n": over.n}
            row[f"{batch} diverged"] = cell.diverged if cell else 0
        numbers.append(
            {**row, "robustness": robustness, "critical_batch": critical.at, "critical_batch_open": critical.open}
        )
    table = pd.DataFrame(numbers)
    table = table.assign(
        mean=table[[str(batch) for batch in batches]].mean(axis=1)
    )  # many norms are batch-free: 0 to all
    order = table.sort_values(["robustness", "mean", "norm"], na_position="last").index
    where = f"{chosen['model'].iloc[0]} on {chosen['data'].iloc[0]}, {beside.protocol(chosen)}"
    words = f"Top-1 error (%) by images per worker, {where}, the most robust norm first, of equals the better; "
    caption = words + comparison.caption("mean", "excess", "robustness", "critical")
    return Table(
        "summary", pd.DataFrame(text).loc[order].set_index("norm"), pd.DataFrame(numbers).loc[order], caption, "all_norms",
        experiments.missing(own, "all_norms"), remarks,
    )  # fmt: skip
