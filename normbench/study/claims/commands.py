"""The commands that train what a claim lacks, whatever experiments there are."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from normbench.study.claims.cells import Errors
from normbench.study.claims.claim import Cell
from normbench.study.claims.common import Common
from normbench.study.claims.verdict import FEWEST

Typed = dict[str, str]


class Compared(Protocol):
    """A claim, or two settings: whatever compares cells."""

    @property
    def cells(self) -> tuple[Cell, ...]: ...


def lacking(claim: Compared, errors: Sequence[Errors]) -> tuple[list[Cell], list[int]]:
    """The cells of a claim without a result on all of the seeds that decide it, and those seeds.

    They are the seeds that the claim has results on, and the first further ones where these are
    too few. errors: of each cell.
    """
    seeds = sorted(set().union(*errors))
    seeds += [seed for seed in range(FEWEST) if seed not in seeds][: max(0, FEWEST - len(seeds))]
    return [cell for cell, own in zip(claim.cells, errors, strict=True) if not own.keys() >= set(seeds)], sorted(seeds)


def commands(cells: Iterable[Cell], seeds: Sequence[int], common: Common, also: Sequence[str]) -> list[str]:
    """The sweeps that train some cells on these seeds, as few as there can be.

    also: the statistics that claims evaluate with beside the run's own; a cell that is evaluated
    with one of them is trained once for all of them.
    """
    found: dict[bool, list[Typed]] = {}
    cells = list(dict.fromkeys(cells))
    evaluated = [cell.trained for cell in cells if cell.eval_stats in also]
    for cell in cells:
        extra = {"eval_also": f"[{','.join(also)}]"} if cell.trained in evaluated else {}
        typed = cell.trained | extra
        same = found.setdefault("protocol" in typed, [])
        if typed not in same:
            same.append(typed)
    lines = []
    for own_protocol, runs in found.items():
        for typed in _swept(_swept(runs, "batch"), "norm"):
            words = [f"{key}={value}" for key, value in typed.items()]
            swept = f"seed={','.join(map(str, seeds))}"
            lines.append(shlex.join(["normbench", "-m", *common.typed(own_protocol), *words, swept]))
    return lines


def statistics(claims: Iterable[Compared], common: Common) -> list[str]:
    """Whose statistics some claim evaluates with beside those of the common setting."""
    asked = dict.fromkeys(cell.eval_stats for claim in claims for cell in claim.cells)
    return sorted(stats for stats in asked if stats and stats != common.eval_stats)


def _swept(runs: Sequence[Typed], key: str) -> list[Typed]:
    """Runs that differ in one key alone as one sweep over its values."""
    found: dict[tuple[tuple[str, str], ...], list[str]] = {}
    order: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}
    for typed in runs:
        rest = tuple((name, value) for name, value in typed.items() if name != key)
        found.setdefault(rest, []).append(typed[key])
        order.setdefault(rest, typed)
    return [{**order[rest], key: ",".join(values)} for rest, values in found.items()]
