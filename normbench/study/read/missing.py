"""What an experiment asks for and the runs on disk do not have yet, in words."""

import re
from collections.abc import Iterator
from itertools import product

import pandas as pd

from normbench.records import FINISHED
from normbench.study.read import experiments
from normbench.study.read.experiments import Grid, Product
from normbench.study.read.selection import plain
from normbench.study.read.stats import Cell


def missing(runs: pd.DataFrame, name: str) -> list[str]:
    """The combinations of a figure's experiment with fewer finished seeds than it asks for."""
    return list(dict.fromkeys(text for one in experiments.read(name).products for text in _missing(runs, one)))


def missing_cells(cells: list[Cell], grid: Grid) -> list[str]:
    """The norms and batches of a grid with fewer finished seeds than it has."""
    found = []
    have = {(cell.norm, cell.batch): cell for cell in cells}
    for norm in grid.norms:
        free = (norm, None) in have
        for batch in [None] if free else grid.batches:
            cell = have.get((norm, batch))
            finished, unfinished = (cell.finished, cell.unfinished) if cell else (0, 0)
            if finished < len(grid.seeds):
                what = norm if free else f"{norm} at {batch}"
                found.append(" ".join(filter(None, [what, _counts(finished, len(grid.seeds), unfinished)])))
    return found


def in_short(lacking: list[str]) -> list[str]:
    """Sizes of one norm that lack the same together: "bn at 4" and "bn at 2" become "bn at 4/2"."""
    batches: dict[tuple[str, str], list[str]] = {}  # by what stands before the batch and behind it
    for text in lacking:
        found = re.fullmatch(r"(.*?) at (\d+)(.*)", text)
        head, batch, tail = found.groups() if found else (text, "", "")
        batches.setdefault((head, tail), []).append(batch)
    return [f"{head} at {'/'.join(sizes)}{tail}" if sizes[0] else head for (head, tail), sizes in batches.items()]


def _missing(runs: pd.DataFrame, wanted: Product) -> Iterator[str]:
    keys = [key for key in wanted.swept if key != "seed"]
    for values in product(*(wanted.swept[key] for key in keys)):
        combination = dict(zip(keys, values, strict=True))
        found = _runs_of(combination, runs)
        finished = int(found["state"].isin(FINISHED).sum())
        if finished < len(wanted.seeds):
            counts = _counts(finished, len(wanted.seeds), len(found) - finished)
            yield _in_words(combination, counts, bool(found["batch_free"].any()))


def _runs_of(combination: dict[str, str], runs: pd.DataFrame) -> pd.DataFrame:
    has_options = any(key.startswith("norm.") for key in combination)
    for key, value in combination.items():
        column = "norm.name" if key == "norm" and has_options else key
        if column not in runs:
            runs = runs if plain(value) == "null" else runs[:0]
            continue
        match = runs[column].map(plain) == plain(value)
        runs = runs[match | runs["batch_free"] if key == "batch" else match]
    return runs


def _in_words(combination: dict[str, str], counts: str, batch_free: bool) -> str:
    # What is off goes unsaid.
    said = {key: value for key, value in combination.items() if value != "null"}
    options = [f"{key.rpartition('.')[2]}={value}" for key, value in said.items() if key not in ("norm", "batch")]
    batch = f"at {said['batch']}" if "batch" in said and not batch_free else ""
    return " ".join(filter(None, [said.get("norm", ""), *options, batch, counts]))


def _counts(finished: int, seeds: int, unfinished: int) -> str:
    """(1 of 2 seeds, 1 unfinished), or nothing where there is nothing."""
    have = [f"{finished} of {seeds} seeds" if finished else "", f"{unfinished} unfinished" if unfinished else ""]
    details = ", ".join(filter(None, have))
    return f"({details})" if details else ""
