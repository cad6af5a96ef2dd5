"""Every norm at every batch size, with how much the batch matters to it."""

import math

import pandas as pd

from normbench.study.figures.looks import Look, looks_of
from normbench.study.read import experiments, origin, setting, stats
from normbench.study.read.belonging import chosen, without_variants
from normbench.study.read.missing import missing
from normbench.study.read.stats import Cell
from normbench.study.tables import comparison
from normbench.study.tables.table import Table


def summary(runs: pd.DataFrame, strict: bool = False) -> Table:
    """The error, robustness and critical batch of every norm; the most robust first."""
    own, remarks = chosen(without_variants(runs), "all_norms", "a table", any_norm=True, strict=strict)
    if own.empty:
        raise experiments.none_yet("all_norms")
    batches = experiments.grid("all_norms", own).batches
    cells = stats.against_batch(own)
    looks = looks_of(list(dict.fromkeys(own["norm"])), origin.marks(own))
    rows = [_row(look, [cell for cell in cells if cell.norm == norm], batches) for norm, look in looks.items()]
    numbers, text = (pd.DataFrame(list(side)) for side in zip(*rows, strict=True))
    # The mean decides between equals, and many are: the robustness of every batch-free norm is 0.
    means = numbers[[str(batch) for batch in batches]].mean(axis=1)
    order = numbers.assign(mean=means).sort_values(["robustness", "mean", "norm"], na_position="last").index
    where = f"{own['model'].iloc[0]} on {own['data'].iloc[0]}, {setting.protocol(own)}"
    words = f"Top-1 error (%) by images per worker, {where}, the most robust norm first, of equals the better; "
    caption = words + comparison.caption("mean", "excess", "robustness", "critical")
    caption = " ".join(filter(None, [caption, origin.in_words(own)]))
    lacking = missing(own, "all_norms")
    text, numbers, of = text.loc[order].set_index("norm"), numbers.loc[order], setting.filters(own)
    return Table("summary", text, numbers, caption, "all_norms", lacking, remarks, of)


def _row(look: Look, cells: list[Cell], batches: list[int]) -> tuple[dict[str, object], dict[str, str]]:
    """The cells of one norm, of which there is at least one: as numbers, and as text."""
    excess = comparison.excess(cells, batches)
    robustness, critical = comparison.robustness(excess), comparison.critical_batch(excess)
    numbers: dict[str, object] = {"norm": cells[0].norm, "batch_free": any(cell.batch is None for cell in cells)}
    text = {"norm": look.name}
    for batch in batches:
        cell = next((cell for cell in cells if cell.batch in (None, batch)), None)
        over_seeds = cell.over_seeds if cell else stats.summarise([])
        numbers |= {f"{batch}": over_seeds.mean, f"{batch} sd": over_seeds.sd, f"{batch} n": over_seeds.n}
        numbers[f"{batch} diverged"] = cell.diverged if cell else 0
        text[str(batch)] = stats.in_words(cell) if cell else ""
    numbers |= {"robustness": robustness, "critical_batch": critical.at, "critical_batch_open": critical.open}
    # One size alone tells nothing of others.
    one_size = sum(not math.isnan(value) for value in excess.values()) < 2
    text["robustness"] = "" if math.isnan(robustness) else f"{robustness:.2f}"
    text["critical batch"] = "" if one_size else str(critical)
    return numbers, text
