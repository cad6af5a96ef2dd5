"""Science fields: what of a config fixes a run's numbers. The rest is hardware and names."""

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import pandas as pd

from normbench.config import Config, Recipe


def _hardware_keys(node: type, prefix: str = "") -> Iterator[str]:
    for f in fields(node):
        if f.metadata.get("hardware"):
            yield prefix + f.name
        elif isinstance(f.type, type) and is_dataclass(f.type):
            yield from _hardware_keys(f.type, f"{prefix}{f.name}.")


# norm.batch_free is a property of the norm, not a choice.
_HARDWARE = frozenset(_hardware_keys(Config)) | {"norm.batch_free"}
_TOP = tuple(f.name for f in fields(Config) if f.name not in _HARDWARE)
_OFF = {f"recipe.{f.name}": f.metadata["off"] for f in fields(Recipe) if "off" in f.metadata}
_CHOSEN = {f"{group}.name": group for group in ("data", "model", "recipe", "protocol")}


def columns(table: pd.DataFrame) -> list[str]:
    """The columns of a table of runs that fix a run's numbers."""
    return [column for column in table.columns if column.split(".")[0] in _TOP]


def is_field(key: str) -> bool:
    """Whether a key as typed, norm or norm.groups, is of what fixes a run's numbers."""
    return key.split(".")[0] in _TOP and key not in _HARDWARE


def fields_of(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """A recorded config's science fields under dotted names; what is off is left out."""
    for name in _TOP:
        yield from _below(name, config.get(name))


def _below(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if name in _HARDWARE or value is None or value is False or value == [] or value == _OFF.get(name):
        return
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _below(f"{name}.{key}", below)
    else:
        yield _CHOSEN.get(name, name), json.dumps(value) if isinstance(value, list) else value
