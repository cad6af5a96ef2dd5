"""Any two settings against each other: their paired difference over the seeds that both have."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import isfinite, prod

import pandas as pd

from normbench.config import ConfigError
from normbench.hints import nearest
from normbench.study.claims import commands, common
from normbench.study.claims.cells import Errors, Shelf
from normbench.study.claims.claim import COMMON, Cell
from normbench.study.claims.verdict import DEFINITIONS, FEWEST, Comparison, compared
from normbench.study.read import origin, science, setting, stats
from normbench.study.read.overrides import PROTOCOL
from normbench.study.read.selection import select
from normbench.study.tables.row_text import difference_text
from normbench.study.tables.table import Table

EXAMPLE = "norm=gn,gn_ws batch=2"
OF_ANY = "2"  # the batch that a batch-free run is typed with: some number has to be
NO_INTERVAL = "no interval at n = 2: with one degree of freedom it would reach 9 sd to either side (t = 12.7)"


@dataclass(frozen=True)
class _Row:
    """Two cells that differ in the compared key alone."""

    name: str  # what both have: batch=2
    cells: tuple[Cell, Cell]
    errors: tuple[Errors, Errors]

    @property
    def compared(self) -> Comparison:
        return compared([self.errors[0]], [self.errors[1]])


def compare(runs: pd.DataFrame, typed: Sequence[str], strict: bool = False) -> Table:
    """The difference between two settings, seed by seed, with its interval from three seeds on.

    typed: key=value of what both have and key=value,value of what is compared; data, model, recipe
    and seed choose among the runs. Where the norm or the batch is not typed there is a row for each
    at hand. Raises ConfigError where it makes another number of settings than two, for a key or a
    norm that no run has, and where neither setting has a finished run.
    """
    chosen, words = _parted(typed)
    runs = select(runs, chosen)
    key = _compared_key(words)
    _refuse_unknown(runs, words)
    runs = _of_both(runs, words)
    pairs = list(_pairs(runs, key, words))
    cells = [cell for _, *both in pairs for cell in both]
    shared, alike = common.choose(runs, cells)
    shelf = Shelf(runs, shared)
    rows = [
        _Row(name, (left, right), (shelf.find(left).errors, shelf.find(right).errors)) for name, left, right in pairs
    ]
    rows = [row for row in rows if any(row.errors)]
    if not rows:
        raise ConfigError(f"no finished run of either setting of {' '.join(typed)}; see normbench collect")
    fill = _fill(rows, shared)
    asked = [cell for row in rows for cell in row.cells]
    heads = [f"{key}={value}" for value in words[key]]
    text = pd.DataFrame([_text(row, heads) for row in rows]).set_index("with")
    numbers = pd.DataFrame([_numbers(row, heads) for row in rows])
    where = setting.in_words(alike) if "protocol" not in words else setting.place(*alike[["data", "model"]].iloc[0])
    caption = " ".join(filter(None, [f"{' − '.join(heads)}: {where}", _definitions(rows), origin.in_words(alike)]))
    return Table(
        "compare", text, numbers, caption, "", [*fill], [*_warnings(rows), *shelf.remarks(asked, alike, strict)],
        shared.typed(own_protocol="protocol" in words), fill=fill,
    )  # fmt: skip


# ---------------------------------------------------------------------------- what was typed


def _parted(typed: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """The words that choose among runs, and the values of the other keys."""
    chosen, words = [], {}
    for text in typed:
        key, _, value = text.partition("=")
        values = [value] if value.startswith("[") else value.split(",")
        if key in words:
            raise ConfigError(f"{key} stands there twice; give its values once, joined by a comma")
        if key in COMMON and key != "seed" and len(values) > 1:
            raise ConfigError(
                f"{text}: both settings have one {key}, for seeds pair no others; choose {key}={values[0]}"
            )
        if key in COMMON:
            chosen.append(text)
        else:
            words[key] = values
    return chosen, words


def _compared_key(words: dict[str, list[str]]) -> str:
    """The one key with two values."""
    several = {key: values for key, values in words.items() if len(values) > 1}
    count = prod(map(len, several.values()))
    if count != 2:
        swept = " ".join(f"{key}={','.join(values)}" for key, values in several.items())
        made = f"{swept} makes {count}" if several else "no key has two values"
        raise ConfigError(f"compare takes two settings, and {made}; give one key two values, e.g. {EXAMPLE}")
    return next(iter(several))


def _refuse_unknown(runs: pd.DataFrame, words: dict[str, list[str]]) -> None:
    fields = science.columns(runs)
    for key in words:
        if key not in fields:
            raise ConfigError(f"{key}: no run has that field{nearest(key, fields)}; they have {', '.join(fields)}")
    norms = [*dict.fromkeys([*runs["norm"], *runs["norm.name"]])]
    for value in words.get("norm", []):
        if value not in norms:
            raise ConfigError(f"norm={value}: no such run{nearest(value, norms)}; there is norm={','.join(norms)}")


def _of_both(runs: pd.DataFrame, words: dict[str, list[str]]) -> pd.DataFrame:
    """The runs with what both settings have, so that their other fields are what the two share.

    Less norm, batch, whose statistics evaluate and the protocol, which cells look up themselves.
    All runs where none has it: then neither setting does.
    """
    looked_up = ("norm", "batch", "eval_stats", *PROTOCOL)
    both = [f"{key}={one}" for key, (one, *more) in words.items() if not more and key.split(".")[0] not in looked_up]
    try:
        return select(runs, both)
    except ConfigError:
        return runs


def _pairs(runs: pd.DataFrame, key: str, words: dict[str, list[str]]) -> Iterator[tuple[str, Cell, Cell]]:
    """The two cells of every row, and what both have; a row for each norm and batch not typed."""
    # A norm's label says its options: where these are typed, norms go by their name alone.
    options = any(name.startswith("norm.") for name in words)
    label = runs["norm.name" if options else "norm"]
    norms = words.get("norm", list(label.unique()))
    sizes = sorted(runs[label.isin(norms)]["batch"].dropna().unique(), reverse=True)
    # What is batch-free has none, and is compared once.
    at_hand = {"norm": norms, "batch": [str(batch) for batch in sizes] or ["any"]}
    rest = {name: values for name, values in (at_hand | words).items() if name != key}
    for values in product(*rest.values()):
        same = dict(zip(rest, values, strict=True))
        typed = same | {"batch": OF_ANY} if same.get("batch") == "any" else same
        left, right = (Cell(tuple({**typed, key: value}.items())) for value in words[key])
        yield " ".join(f"{name}={value}" for name, value in same.items()), left, right


# ---------------------------------------------------------------------------- what is said


def _text(row: _Row, heads: list[str]) -> dict[str, str]:
    sides = {head: _mean(errors) for head, errors in zip(heads, row.errors, strict=True)}
    found = row.compared
    lower = {-1: f"{heads[0]} lower", 1: f"{heads[1]} lower", 0: "undecided"}[found.lower]
    difference = difference_text(found, FEWEST)
    n = found.difference.n
    return {"with": row.name, **sides, "difference": difference, "n": str(n or ""), "error": lower if n else ""}


def _mean(errors: Errors) -> str:
    """One side alone, over all of its seeds."""
    finite = [error for error in errors.values() if isfinite(error)]
    diverged = len(errors) - len(finite)
    said = [stats.mean_sd(stats.summarise(finite)), f"{diverged} diverged" if diverged else ""]
    return " ".join(filter(None, said)) or "missing"


def _numbers(row: _Row, heads: list[str]) -> dict[str, object]:
    found = row.compared
    difference = found.difference
    sides = zip(heads, ([e for e in own.values() if isfinite(e)] for own in row.errors), strict=True)
    numbers: dict[str, object] = {"with": row.name, "left": heads[0], "right": heads[1]}
    for side, (_, finite) in zip(("left", "right"), sides, strict=True):
        own = stats.summarise(finite)
        numbers |= {f"{side} mean": own.mean, f"{side} sd": own.sd, f"{side} n": own.n}
    enough = difference.n >= FEWEST
    numbers |= {"difference": difference.mean, "n": difference.n}
    numbers |= {"low": difference.low if enough else None, "high": difference.high if enough else None}
    return numbers | dict(zip(("left diverged", "right diverged", "both diverged"), found.diverged, strict=True))


def _definitions(rows: list[_Row]) -> str:
    said = [
        "Top-1 error (%), the median of the last five epochs",
        "mean ± sd (n): over all n seeds of a setting",
        "difference: in points, seed by seed, then the mean over the n seeds that both have, with its 95 % t-interval from "
        f"n = {FEWEST} on",
        f"undecided: the interval contains 0, or n < {FEWEST}",
    ]
    if any(any(row.compared.diverged) for row in rows):
        said.append(DEFINITIONS["diverged"])
    return "; ".join(said) + "."


def _warnings(rows: list[_Row]) -> list[str]:
    """A line for each row that has too few pairs to decide, and why two make no interval."""
    counts = [(row.name, row.compared.difference.n) for row in rows]
    said = [
        f"warning: {name}: {n or 'no'} seed{'s' * (n != 1)} in common, and fewer than {FEWEST} decide nothing"
        for name, n in counts
        if n < FEWEST
    ]
    return [*said, *([NO_INTERVAL] if any(n == 2 for _, n in counts) else [])]


def _fill(rows: list[_Row], shared: common.Common) -> dict[str, list[str]]:
    """By row, the commands that train what it lacks for a decision."""
    fill = {}
    for row in rows:
        lacking, seeds = commands.lacking(row, row.errors)
        if lacking and row.compared.difference.n < FEWEST:
            fill[row.name] = commands.commands(lacking, seeds, shared, commands.statistics([row], shared))
    return fill
