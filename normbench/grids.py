"""What an experiment sweeps: a union of products, under hydra.sweeper in conf/experiment.

    hydra:
      sweeper:
        params: {seed: "0,1,2"}         what all of the grids share; alone, it is the one grid
        grids:                          the experiment is the union of these products
          - {norm: "bn,gn", batch: "32,2"}
          - {norm: bn, batch: 2, recipe.freeze_from: 0.8}

A grid's own value of a key goes before that of params. No torch.
"""

import json
from dataclasses import dataclass
from typing import Any

from normbench.config import ConfigError

Grid = dict[str, str]  # a key and its values as typed: {"norm": "bn,gn", "batch": "32"}

OPENING, CLOSING, QUOTES = "([{", ")]}", "'\""


@dataclass
class Sweeper:
    """hydra.sweeper, as Hydra composes it. Hydra's own sweepers know one product only."""

    params: Any = None
    grids: Any = None


def union(sweeper: dict[str, Any]) -> list[Grid]:
    """The products of hydra.sweeper, none of which sweeps a thing where an experiment has no grid.

    Raises ConfigError for what is none.
    """
    shared, several = sweeper.get("params"), sweeper.get("grids")
    if several is None:
        return [_grid(shared, "params")]
    if not isinstance(several, list) or not several:
        raise ConfigError("hydra.sweeper.grids is a list of one grid or more, each of key: values")
    return [_grid(shared, "params") | _grid(one, "grids") for one in several]


def values(typed: str) -> list[str]:
    """The values of a key: bn and gn of "bn,gn"; a comma in [a,b] or in quotes parts none."""
    found, depth, quote = [""], 0, ""
    for letter in typed:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in QUOTES:
            quote = letter
        elif letter == "," and depth == 0:
            found.append("")
            continue
        else:
            depth += (letter in OPENING) - (letter in CLOSING)
        found[-1] += letter
    return [value.strip() for value in found]


def _grid(node: Any, where: str) -> Grid:
    if node is None:
        return {}
    if not isinstance(node, dict) or any(isinstance(value, dict) for value in node.values()):
        raise ConfigError(f"hydra.sweeper.{where}: a grid is key: values, e.g. {{norm: 'bn,gn', recipe.lr: '0.1,0.2'}}")
    return {str(key): _typed(value) for key, value in node.items()}


def _typed(value: Any) -> str:
    """A value of a yaml file as it is typed on a command line."""
    if isinstance(value, list):
        return f"[{','.join(map(_typed, value))}]"
    return value if isinstance(value, str) else json.dumps(value)
