"""The setting that the claims are put to: what runs have in common beyond a claim's own settings.

It is that of the largest set of runs alike in data, network, recipe and every other science field.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, dataclass, field, fields
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from normbench import paths
from normbench.config import Config, Data, Recipe
from normbench.study.claims.claim import Cell
from normbench.study.read import science
from normbench.study.read.selection import FOLLOWS, largest_alike, plain

# What the protocol fixes while the batch varies.
GIVEN = {"per_worker": "workers", "fixed_sgd": "sgd_batch"}
PROTOCOL = ("protocol", *FOLLOWS.values())
# What tells cells apart; norm stands for its options too.
OWN = ("norm", "batch", "seed", "eval_also")
COUNTED = ("files", "num_classes", "train_images")  # of data: read from it, and no options


@dataclass(frozen=True)
class Common:
    """Science fields and their values, in one spelling; none where there are no runs."""

    fields: dict[str, str] = field(default_factory=dict)

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
        if not self.fields:
            return []
        words = [f"data={self.fields['data']}", *_network(self.fields["model"])]
        if (recipe := self.fields.get("recipe")) != self._of_data["recipe"]:
            words.append(f"recipe={recipe}")
        protocol, given = self.fields["protocol"], GIVEN.get(self.fields["protocol"], "")
        here = (protocol, self.fields.get(given, ""))
        if not own_protocol and given and here != (self._of_data["protocol"], self._of_data["given"]):
            words += [f"protocol={protocol}", f"{given}={here[1]}"]
        return [*words, *self._changed()]

    @cached_property
    def _of_data(self) -> dict[str, str]:
        """The recipe and the protocol that go with the data set."""
        file = _yaml(paths.conf() / "data" / f"{self.fields['data']}.yaml")
        chosen = {key: str(value) for entry in file.get("defaults", []) for key, value in dict(entry).items()}
        named = {key.removeprefix("override /").partition("@")[0]: value for key, value in chosen.items()}
        # Where it names no protocol, the SGD batch that goes with the data set is given.
        protocol = named.get("protocol", "fixed_sgd")
        numbers = (
            _yaml(paths.conf() / "protocol" / f"{protocol}.yaml") if "protocol" in named else file.get("facts", {})
        )
        return {"recipe": named.get("recipe", ""), "protocol": protocol, "given": plain(numbers.get(GIVEN[protocol]))}

    def _changed(self) -> Iterator[str]:
        """The fields whose value is not the one that data, network and recipe bring along."""
        defaults = _defaults(paths.conf(), self.fields["data"], self.fields["model"], self.fields.get("recipe", ""))
        said = {"data", "model", "recipe", *PROTOCOL, *(f"data.{key}" for key in COUNTED)}
        # A field without a record is off, if it can be; else the record is older than the field.
        recorded = [key for key in defaults if key in self.fields or _can_be_off(key)]
        for key in dict.fromkeys([*recorded, *self.fields]):
            default, value = defaults.get(key), self.fields.get(key, "null")
            if key not in said and "${" not in str(default) and value != _spelled(default):
                # What is off is recorded alike, and typed as the kind of thing it is.
                off = {bool: "false", str: "none"}.get(type(default), "null")
                yield f"{key}={off if value == 'null' else value}"


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
    return Common(values), kept


def switched_off(runs: pd.DataFrame, cells: Iterable[Cell]) -> pd.DataFrame:
    """The runs without what some claim switches on, as freezing; all where each has it on."""
    for name in dict.fromkeys(key for cell in cells for key in cell.others if key not in PROTOCOL):
        off = runs[name].map(plain) == "null" if name in runs else pd.Series(True, index=runs.index)
        runs = runs[off] if off.any() else runs
    return runs


# ---------------------------------------------------------------------------- defaults


def _network(name: str) -> list[str]:
    """How a network is typed that has a file in conf/model, or is one of a library by its name."""
    if (paths.conf() / "model" / f"{name}.yaml").is_file():
        return [f"model={name}"]
    return [f"model={'timm' if name.startswith('timm/') else 'torchvision'}", f"model.name={name}"]


@cache
def _defaults(conf: Path, data: str, model: str, recipe: str) -> dict[str, Any]:
    """Every science field that data, network and recipe decide, and what they make of it."""
    network = _yaml(conf / "model" / f"{model}.yaml")
    found = {f"data.{key}": value for key, value in _fields(Data, _yaml(conf / "data" / f"{data}.yaml")).items()}
    found |= {f"model.options.{key}": value for key, value in network.get("options", {}).items()}
    found |= {
        f"recipe.{key}": value for key, value in _fields(Recipe, _yaml(conf / "recipe" / f"{recipe}.yaml")).items()
    }
    found |= {key: value for key, value in _fields(Config, {}).items() if key not in OWN}
    return found


def _fields(kind: type, file: dict[str, Any]) -> dict[str, Any]:
    """The science fields of a part of the config that hold plain values, less its name."""
    found = {}
    for f in fields(kind):
        default = (
            f.default if f.default is not MISSING else f.default_factory() if callable(f.default_factory) else None
        )
        value = file.get(f.name, default)
        value = None if value == f.metadata.get("off") else value  # then no record has it
        if f.name != "name" and not f.metadata.get("hardware") and isinstance(value, str | float | int | list | None):
            found[f.name] = value
    return found


def _can_be_off(key: str) -> bool:
    """Whether a field may be None or False, of which a record keeps no trace."""
    part, _, name = key.rpartition(".")
    types = {f.name: f.type for f in fields({"data": Data, "recipe": Recipe}.get(part, Config))}
    return part == "model.options" or types.get(name) is bool or "None" in str(types.get(name))


def _yaml(path: Path) -> dict[str, Any]:
    loaded: Any = OmegaConf.to_container(OmegaConf.load(path)) if path.is_file() else {}
    return {str(key): value for key, value in loaded.items()}


def _spelled(value: Any) -> str:
    return plain(json.dumps(value) if isinstance(value, list) else value)
