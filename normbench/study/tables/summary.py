"""Every norm at every batch size, with how much the batch matters to it."""

import math

import pandas as pd

from normbench.study.figures.looks import Look, looks_of
from normbench.study.read import experiments, origin, overrides, setting, stats
from normbench.study.read.belonging import chosen, without_variants
from normbench.study.read.missing import missing
from normbench.study.read.stats import Cell
from normbench.study.tables import comparison
from normbench.study.tables.table import Table


def summary(runs: pd.DataFrame, strict: bool = False) -> Table:
    """The error of every norm, at small batches and at each; its robustness and critical batch.

    The norm of the least error at small batches comes first.
    """
    own, remarks = chosen(without_variants(runs), "all_norms", "a table", any_norm=True, strict=strict)
    if own.empty:
        raise experiments.none_yet("all_norms")
    batches = experiments.grid("all_norms", own).batches
    cells = stats.against_batch(own)
    looks = looks_of(stats.by_small_batches(cells, batches), origin.marks(own))
    rows = [_row(look, [cell for cell in cells if cell.norm == norm], batches) for norm, look in looks.items()]
    numbers, text = (pd.DataFrame(list(side)) for side in zip(*rows, strict=True))
    where = f"{own['model'].iloc[0]} on {own['data'].iloc[0]}, {setting.protocol(own)}"
    words = f"Top-1 error (%) by images per worker, {where}, {stats.ORDER}; "
    caption = words + comparison.caption("mean", "small", "excess", "robustness", "critical")
    caption = " ".join(filter(None, [caption, origin.in_words(own)]))
    lacking = missing(own, "all_norms")
    text, of = text.set_index("norm"), overrides.beside("all_norms", own)
    return Table("summary", text, numbers, caption, "all_norms", lacking, remarks, of, shown=_shown(text, batches))


def _shown(text: pd.DataFrame, batches: list[int]) -> pd.DataFrame:
    """What a terminal has room for: of the sizes the largest and the small ones."""
    sizes = dict.fromkeys([max(batches), *sorted(batches, reverse=True)[-stats.SMALL :]])
    return text[["small batches", "robustness", *map(str, sizes)]]


def _row(look: Look, cells: list[Cell], batches: list[int]) -> tuple[dict[str, object], dict[str, str]]:
    """The cells of one norm, of which there is at least one: as numbers, and as text."""
    excess = comparison.excess(cells, batches)
    robustness, critical = comparison.robustness(excess), comparison.critical_batch(excess)
    numbers: dict[str, object] = {"norm": cells[0].norm, "batch_free": any(cell.batch is None for cell in cells)}
    # One size alone tells nothing of others.
    one_size = sum(not math.isnan(value) for value in excess.values()) < 2
    small, sizes = stats.at_small_batches(cells, batches)
    incomplete = f" at {', '.join(map(str, sizes))}" if len(sizes) < min(stats.SMALL, len(batches)) else ""
    numbers |= {"small_batches": small, "robustness": robustness}
    numbers |= {"critical_batch": critical.at, "critical_batch_open": critical.open}
    text = {"norm": look.name, "small batches": "" if math.isnan(small) else f"{small:.2f}{incomplete}"}
    text["robustness"] = "" if math.isnan(robustness) else f"{robustness:.2f}"
    text["critical batch"] = "" if one_size else str(critical)
    for batch in batches:
        cell = next((cell for cell in cells if cell.batch in (None, batch)), None)
        over_seeds = cell.over_seeds if cell else stats.summarise([])
        numbers |= {f"{batch}": over_seeds.mean, f"{batch} sd": over_seeds.sd, f"{batch} n": over_seeds.n}
        numbers[f"{batch} diverged"] = cell.diverged if cell else 0
        text[str(batch)] = stats.in_words(cell) if cell else ""
    return numbers, text
