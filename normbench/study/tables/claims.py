"""What the papers claim, and what the runs on disk say of it."""

import math
from collections import Counter

import pandas as pd

from normbench.study.claims import claim as published_claims
from normbench.study.claims import commands, common
from normbench.study.claims.cells import Shelf
from normbench.study.claims.verdict import DEFINITIONS, FEWEST, NOT_RUN, VERDICTS, Outcome, judge
from normbench.study.read import experiments, setting
from normbench.study.read.published import CITATIONS
from normbench.study.tables.row_text import difference_text
from normbench.study.tables.table import Table


def claims(runs: pd.DataFrame, strict: bool = False) -> Table:
    """Each published claim: its effect there, ours as a paired difference over seeds, a verdict."""
    asked = published_claims.load()
    cells = [cell for claim in asked for cell in claim.cells]
    shared, alike = common.choose(runs, cells)
    if alike.empty:
        raise experiments.none_yet("claims")
    shelf = Shelf(runs, shared)
    remarks = shelf.remarks(cells, alike, strict)
    also = commands.statistics(asked, shared)
    outcomes, fill = [], {}
    for claim in asked:
        errors = [shelf.find(cell).errors for cell in claim.cells]
        outcomes.append(judge(claim, errors[: len(claim.left)], errors[len(claim.left) :]))
        lacking, seeds = commands.lacking(claim, errors)
        if lacking and outcomes[-1].difference.n < FEWEST:
            fill[claim.claim] = commands.commands(lacking, seeds, shared, also)
    counts = Counter(outcome.verdict for outcome in outcomes)
    counted = f"{len(asked)} claims: " + ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)
    where = f"{setting.place(*alike[['data', 'model']].iloc[0])}, {setting.protocol(alike)}"
    caption = (
        f"Claims of the papers, and our runs of {where} where a side names no other; published: the effect in the paper, "
        f"of its data and network, † recalled from memory and no target, with ± the margin of a claim that two are equal; "
        + "; ".join(DEFINITIONS.values())
    )
    text = pd.DataFrame([_text(outcome) for outcome in outcomes]).set_index("claim")
    numbers = pd.DataFrame([_numbers(outcome, fill.get(outcome.claim.claim, [])) for outcome in outcomes])
    return Table(
        "claims", text, numbers, f"{caption}.", "claims", _missing(outcomes, fill), [counted, *remarks],
        shared.typed(own_protocol=True), ("says", "compared", "paper"), fill, _shown(text),
    )  # fmt: skip


def _shown(text: pd.DataFrame) -> pd.DataFrame:
    """What a terminal shows: the claims that have a verdict, in as many columns as it can hold."""
    judged = text[text["verdict"] != NOT_RUN]
    return judged.set_index("says")[["verdict", "published", "ours", "n"]]


def _missing(outcomes: list[Outcome], fill: dict[str, list[str]]) -> list[str]:
    """The claims that too few pairs, or none, speak to."""
    pairs = {outcome.claim.claim: outcome.difference.n for outcome in outcomes}
    return [f"{name} ({pairs[name]} of {FEWEST} seeds)" if pairs[name] else name for name in fill]


# ---------------------------------------------------------------------------- one claim


def _text(outcome: Outcome) -> dict[str, str]:
    claim = outcome.claim
    dagger = " †" if claim.read == "recalled" else ""
    margin = f" ± {claim.margin:g}" if claim.relation == "=" else ""
    effect = f"{claim.published:+g}{margin}" if claim.published else f"0{margin}"
    if math.isnan(claim.published):
        effect = f"{claim.relation} 0{margin}" if claim.relation != "=" else f"0{margin}"
    return {
        "claim": claim.claim,
        "says": claim.says,
        "verdict": outcome.verdict,
        "published": effect + dagger,
        "ours": _ours(outcome),
        "n": str(outcome.difference.n or ""),
        "compared": claim.compared,
        "paper": f"{CITATIONS[claim.paper]}, {claim.item}",
    }


def _ours(outcome: Outcome) -> str:
    return difference_text(outcome.compared) or ("" if outcome.verdict == NOT_RUN else "no seed in common")


def _numbers(outcome: Outcome, fill: list[str]) -> dict[str, object]:
    claim, found = outcome.claim, outcome.difference
    return {
        "claim": claim.claim,
        "paper": claim.paper,
        "item": claim.item,
        "says": claim.says,
        "left": " & ".join(map(str, claim.left)),
        "right": " & ".join(map(str, claim.right)),
        "relation": claim.relation,
        "margin": claim.margin,
        "published": claim.published,
        "read": claim.read,
        "note": claim.note,
        "ours": found.mean,
        "ours low": found.low,
        "ours high": found.high,
        "n": found.n,
        "left diverged": outcome.diverged[0],
        "right diverged": outcome.diverged[1],
        "both diverged": outcome.diverged[2],
        "verdict": outcome.verdict,
        "fill": "; ".join(fill),
    }
