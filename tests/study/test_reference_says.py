"""What the reference runs say: the papers' order, training that has ended, and a word on each disagreement.

The arithmetic is done once more here, from the epochs alone.
"""

import math
import re
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import t

import normbench
from normbench.study.read import collected, reference
from normbench.study.tables.by_name import TABLES

NOTES = Path(__file__).parents[2] / "results" / "reference" / "README.md"
SEEDS = 5  # of a cell that the order below is about
EPOCHS, BEGINNING, END = 20, (16, 17), (19, 20)  # the epochs on both sides of where the last fifth begins; its last two
HEADLINE = [("bn", 32), ("bn", 2), ("gn", 0), ("gn_ws", 0), ("brn", 2), ("mabn", 2)]  # 0: any batch
VARIED = ("recipe.freeze_from", "data.labels_per_batch", "norm.example_weight")


@pytest.fixture(scope="module")
def epochs() -> pd.DataFrame:
    """Every epoch of the reference runs that were trained by the recipe as it stands."""
    found = normbench.load(reference=True)
    found = found[found["path"].map(reference.holds) & (found["data"] == "digits") & (found["protocol"] == "fixed_sgd")]
    for key in VARIED:
        found = found[found[key].isna()] if key in found else found
    found = found[(found["sgd_batch"] == 64) & (found["recipe.lr"] == 0.2)]
    return found.assign(batch=found["batch"].fillna(0).astype(int))


@pytest.fixture(scope="module")
def errors(epochs: pd.DataFrame) -> pd.DataFrame:
    """The median error of the last five epochs, by seed (rows), of every norm at every batch."""
    last = epochs[epochs["epoch"] > epochs["recipe.epochs"] - 5]
    of_run = last.groupby(["norm", "batch", "seed", "path"])["top1_error_pct"].median().reset_index()
    return of_run.pivot_table("top1_error_pct", "seed", ["norm", "batch"])


def interval(pairs: pd.Series) -> tuple[float, float]:
    """The 95 % t-interval of the mean of paired differences."""
    half = t.ppf(0.975, len(pairs) - 1) * pairs.std(ddof=1) / math.sqrt(len(pairs))
    return pairs.mean() - half, pairs.mean() + half


def test_the_runs_say_what_the_papers_say(errors: pd.DataFrame) -> None:
    assert (errors[HEADLINE].count() >= SEEDS).all()
    bn_32, bn_2, gn, gn_ws, brn, mabn = (errors[cell] for cell in HEADLINE)
    assert abs((gn - bn_32).mean()) < 1.5
    assert interval((gn - bn_2).dropna())[1] < 0
    assert abs((mabn - bn_32).mean()) < 1
    assert gn.mean() < brn.mean() < bn_2.mean()
    assert interval((gn_ws - gn).dropna())[1] < 0


def test_every_norm_is_trained_out(epochs: pd.DataFrame) -> None:
    """No norm's training error falls by more than a tenth in the last fifth, over three seeds.

    An epoch's error has a sd of a twentieth, so either end is the mean of two.
    """
    assert (epochs["recipe.epochs"] == EPOCHS).all()
    seeds = epochs.groupby("norm")["seed"].nunique()
    errors = epochs.pivot_table("train_error_pct", "norm", "epoch")[seeds >= 3]
    falls = 1 - errors[list(END)].mean(axis=1) / errors[list(BEGINNING)].mean(axis=1)
    assert len(falls) >= 6
    assert falls[falls > 0.1].to_dict() == {}


def test_each_claim_that_is_contradicted_has_a_word_on_why(tmp_path: Path) -> None:
    runs, _ = collected.runs(tmp_path, reference=True)
    verdicts = TABLES["claims"](runs).numbers.set_index("claim")["verdict"]
    assert (verdicts == "agrees").sum() >= 12
    said = NOTES.read_text(encoding="utf-8").partition("## Where they disagree with the papers")[2]
    explained = set(re.findall(r"`(\w+)`", said))
    assert set(verdicts.index[verdicts == "disagrees"]) - explained == set()
    assert explained <= set(verdicts.index), "a claim that is none"
