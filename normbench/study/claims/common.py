"""The setting that the claims are put to: what runs have in common beyond a claim's own settings.

It is that of the largest set of runs alike in data, network, recipe and every other science field.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pandas as pd

from normbench.config import Config
from normbench.study.claims.claim import Cell
from normbench.study.read import overrides, science
from normbench.study.read.overrides import OWN, PROTOCOL
from normbench.study.read.selection import FOLLOWS, largest_alike, plain


@dataclass(frozen=True)
class Common:
    """Science fields and their values, in one spelling; none where there are no runs."""

    fields: dict[str, str] = field(default_factory=dict)
    places: list[str] = field(default_factory=list)  # where its data lie, as it is typed

    @property
    def eval_stats(self) -> str:
        return self.fields.get("eval_stats", Config().eval_stats)

    def wanted(self, cell: Cell) -> dict[str, str]:
        """The fields of a cell's runs, less its norm, batch, and whose statistics evaluate it.

        Of workers and sgd_batch the one that its protocol gives; the other follows.
        """
        found = {key: value for key, value in self.fields.items() if key != "eval_stats"}
        if "protocol" in cell.others:
            found = {key: value for key, value in found.items() if key not in PROTOCOL}
        found |= {key: plain(value) for key, value in cell.others.items()}
        found.pop(FOLLOWS.get(found.get("protocol", ""), ""), None)
        return found

    def typed(self, own_protocol: bool) -> list[str]:
        """The overrides that lead to it; own_protocol: less the protocol, which the cell says."""
        left_out = overrides.PROTOCOL if own_protocol else ()
        setting = {key: value for key, value in self.fields.items() if key not in left_out}
        return [*overrides.leading_to(setting), *self.places]


def choose(runs: pd.DataFrame, cells: Iterable[Cell]) -> tuple[Common, pd.DataFrame]:
    """The setting of the largest set of runs that are alike but for norm, batch and seed; and them.

    Only runs in which everything that claims switch on is off count.
    """
    kept, _ = largest_alike(switched_off(runs, cells), swept=("eval_also",))
    if kept.empty:
        return Common(), kept
    run = kept.iloc[0]
    names = [name for name in science.columns(kept) if name.split(".")[0] not in OWN]
    values = {name: plain(run[name]) for name in names}
    values.pop(FOLLOWS.get(values["protocol"], ""), None)
    return Common(values, overrides.where(kept)), kept


def switched_off(runs: pd.DataFrame, cells: Iterable[Cell]) -> pd.DataFrame:
    """The runs without what some claim switches on, as freezing; all where each has it on."""
    for name in dict.fromkeys(key for cell in cells for key in cell.others if key not in PROTOCOL):
        off = runs[name].map(plain) == "null" if name in runs else pd.Series(True, index=runs.index)
        runs = runs[off] if off.any() else runs
    return runs
