"""The papers' claims: results/published/claims.csv, one line each. None of them stands in code.

A claim compares two sides by their error. A side is written as a run is typed, `norm=bn batch=2
recipe.freeze_from=0.8`, on top of whatever data, network and recipe the runs have; several joined
by ` & ` are their mean.
"""

import csv
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import yaml
from omegaconf import OmegaConf

from normbench import paths
from normbench.config import ConfigError
from normbench.study.read import published

COLUMNS = (
    "claim",  # its short name, told from all others
    "paper",  # as in the papers' numbers
    "item",  # table or figure of the paper
    "says",  # the claim in one sentence, left before right
    "left",
    "right",
    "relation",  # of the error on the left to that on the right: <, > or =
    "margin",  # points, of = alone: how far apart two equal errors may be
    "published",  # left - right in the unit; empty where the paper gives no such number
    "unit",  # top1_error_pct: accuracies are turned into errors
    "source",
    "read",  # printed, digitised; recalled: from memory, never a target
    "note",
)
RELATIONS, READ, UNIT = ("<", ">", "="), ("printed", "digitised", "recalled"), "top1_error_pct"
# What a side may not set: it is of all runs alike, or follows.
COMMON = ("data", "model", "recipe", "tracker", "experiment", "seed", "eval_also")


@dataclass(frozen=True)
class Cell:
    """Runs that differ in the seed alone, as what a claim asks for beyond the common setting."""

    typed: tuple[tuple[str, str], ...]  # key and value, as written

    @cached_property
    def settings(self) -> dict[str, str]:
        return dict(self.typed)

    @property
    def batch(self) -> str:
        return self.settings["batch"]

    @property
    def eval_stats(self) -> str | None:
        """Whose statistics evaluation uses; None: those of the common setting."""
        return self.settings.get("eval_stats")

    @property
    def trained(self) -> dict[str, str]:
        """What its training is typed with: evaluation can use several statistics after one."""
        return {key: value for key, value in self.typed if key != "eval_stats"}

    @property
    def others(self) -> dict[str, str]:
        """The fields that it sets beside the norm, its options, the batch and the statistics."""
        return {key: value for key, value in self.trained.items() if key != "batch" and key.split(".")[0] != "norm"}

    @property
    def label(self) -> str:
        """The norm's label: its name, and the options that differ from conf/norm/<name>.yaml."""
        defaults = _norm_file(self.settings["norm"])
        options = {key: _value(self.settings.get(f"norm.{key}"), default) for key, default in defaults.items()}
        differing = {key: value for key, value in options.items() if value != defaults[key]}
        return self.settings["norm"] + "".join(f"-{key}{value}" for key, value in differing.items())

    @property
    def words(self) -> str:
        """gn groups=8 at 32"""
        options = [f"{key.removeprefix('norm.')}={value}" for key, value in self.typed if key.startswith("norm.")]
        return " ".join([self.settings["norm"], *options, "at", self.batch])

    def __str__(self) -> str:
        """As it is written in claims.csv."""
        return " ".join(f"{key}={value}" for key, value in self.typed)


@dataclass(frozen=True)
class Claim:
    """One line of claims.csv."""

    claim: str
    paper: str
    item: str
    says: str
    left: tuple[Cell, ...]
    right: tuple[Cell, ...]
    relation: str
    margin: float  # NaN but for =
    published: float  # NaN where the paper gives no such number
    source: str
    read: str
    note: str

    @property
    def cells(self) -> tuple[Cell, ...]:
        return (*self.left, *self.right)

    @property
    def compared(self) -> str:
        """What is subtracted from what; what all cells set alike is said once, behind."""
        further = [
            [pair for pair in cell.typed if pair[0].split(".")[0] not in ("norm", "batch")] for cell in self.cells
        ]
        shared = [pair for pair in further[0] if all(pair in own for own in further)]
        said = [
            cell.words + _in_brackets([p for p in own if p not in shared])
            for cell, own in zip(self.cells, further, strict=True)
        ]
        left, right = said[: len(self.left)], said[len(self.left) :]
        sides = [side[0] if len(side) == 1 else f"mean of {' and '.join(side)}" for side in (left, right)]
        return " − ".join(sides) + (f", all with {_listed(shared)}" if shared else "")


@cache
def load() -> tuple[Claim, ...]:
    """Every claim, in the order of the file; raises ConfigError for a line that is none."""
    path = paths.published() / published.CLAIMS
    try:
        with open(path, encoding="utf-8", newline="") as f:
            lines = csv.DictReader(f)
            if tuple(lines.fieldnames or ()) != COLUMNS:
                raise ConfigError(f"{path}: its columns should be {','.join(COLUMNS)}")
            found = tuple(_claim(line, f"{path}, line {lines.line_num}") for line in lines)
    except FileNotFoundError:
        raise ConfigError(f"no {path}; the file comes with normbench") from None
    twice = [name for name, count in Counter(claim.claim for claim in found).items() if count > 1]
    if twice:
        raise ConfigError(f"{path}: claim {twice[0]} stands there twice; give each a name of its own")
    return found


def _claim(line: dict[str, Any], where: str) -> Claim:
    if None in line or None in line.values():
        raise ConfigError(f"{where}: {len(COLUMNS)} values, one for each column; put quotes around one with a comma")
    for key, choices in {"relation": RELATIONS, "read": READ, "unit": (UNIT,)}.items():
        if line[key] not in choices:
            raise ConfigError(f"{where}: {key} is one of {', '.join(choices)}, got {line[key]!r}")
    margin, effect = (_number(line[key], f"{where}: {key}") for key in ("margin", "published"))
    if (line["relation"] == "=") != (margin > 0):
        raise ConfigError(f"{where}: a margin above 0 goes with the relation = and with no other")
    left, right = (tuple(cell(text, where) for text in line[key].split(" & ")) for key in ("left", "right"))
    words = {key: line[key] for key in ("claim", "paper", "item", "says", "relation", "source", "read", "note")}
    return Claim(**words, left=left, right=right, margin=margin, published=effect)


def cell(text: str, where: str = "a cell") -> Cell:
    """A cell as it is written in claims.csv; raises ConfigError."""
    typed = tuple((key, value) for key, _, value in (word.partition("=") for word in text.split()))
    keys = [key for key, _ in typed]
    if sorted(keys) != sorted({*keys, "norm", "batch"}) or not all(value for _, value in typed):
        raise ConfigError(f"{where}: a side is typed as a run, norm=NAME batch=N and no key twice; got {text!r}")
    if common := [key for key in keys if key in COMMON]:
        raise ConfigError(f"{where}: {common[0]} is of all runs alike, no side of a claim sets it; leave it out")
    return Cell(typed)


def _in_brackets(pairs: Sequence[tuple[str, str]]) -> str:
    return f" ({_listed(pairs)})" if pairs else ""


def _listed(pairs: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in pairs)


def _number(text: str, what: str) -> float:
    try:
        return float(text) if text else math.nan
    except ValueError:
        raise ConfigError(f"{what} is a number or empty, got {text!r}") from None


@cache
def _norm_file(name: str) -> dict[str, Any]:
    """The options of conf/norm/<name>.yaml; none where there is no such file."""
    path = paths.conf() / "norm" / f"{name}.yaml"
    loaded: Any = OmegaConf.to_container(OmegaConf.load(path)) if path.is_file() else {}
    return {str(key): value for key, value in loaded.items() if key not in ("name", "batch_free")}


def _value(text: str | None, default: Any) -> Any:
    """What an option's text means: its default where it is not given, a float where that is one."""
    if text is None:
        return default
    value = yaml.safe_load(text)
    return float(value) if isinstance(default, float) and isinstance(value, int) else value
