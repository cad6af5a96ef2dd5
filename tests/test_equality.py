"""The experiment fixes the numbers, the hardware only the speed: 1 process x 4 virtual workers = 2
x 2 = 4 x 1.

Every norm, five steps in fp64 through the whole program on real processes (gloo), and what the
checkpoint holds after them compared: weights, optimizer, running statistics, and each worker's own
past. The table is printed at the end of a test run.
"""

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import FIVE_STEPS, LIMIT, apart, on_ranks, same_rows

from normbench import plugins, records
from normbench.compose import run_of
from normbench.config import ConfigError
from normbench.execute import execute

# Options with which five steps reach what a run of many epochs would: full windows, open bounds,
# ended warm-ups
REACHED: dict[str, list[str]] = {
    "brn": ["norm.bn_epochs=0.2", "norm.rmax_epochs=0.6", "norm.dmax_epochs=0.6"],
    "cbn": ["norm.window=3", "norm.burnin_epochs=0.2"],
    "cbn_naive": ["norm.window=3", "norm.burnin_epochs=0.2"],
    "mabn": ["norm.window=2"],
    "powernorm": ["norm.warmup_epochs=0.4"],
}
VARIANTS: dict[str, list[str]] = {
    "bcn micro": ["norm=bcn", "norm.micro=true"],
    "bn, mean": ["norm=bn", "eval_stats=mean"],
    "bn, frozen": ["norm=bn", "recipe.epochs=2", "data.train_size=24", "recipe.freeze_from=0.5"],
    "brn, mean": ["norm=brn", *REACHED["brn"], "eval_stats=mean"],
    "cbn, mean": ["norm=cbn", *REACHED["cbn"], "eval_stats=mean"],
    "cbn through": ["norm=cbn", *REACHED["cbn"], "norm.through_window=true"],
    "mabn, mean": ["norm=mabn", *REACHED["mabn"], "eval_stats=mean"],
    "powernorm, mean": ["norm=powernorm", *REACHED["powernorm"], "eval_stats=mean"],
    "sn, per_worker": ["norm=sn", "protocol=per_worker", "workers=4", "sgd_batch=null"],
    "syncbn of 2": ["norm=syncbn", "norm.sync_size=2"],
    "syncbn of 2, mean": ["norm=syncbn", "norm.sync_size=2", "eval_stats=mean"],
    "wn data_init": ["norm=wn", "norm.data_init=true"],
}
CASES = {name: [f"norm={name}", *REACHED.get(name, [])] for name in plugins.builtin()} | VARIANTS
PAST = ["bcn micro", "bn, mean", "brn", "cbn", "cbn_naive", "group_batch", "mabn, mean", "powernorm"]
WITHOUT_PARTS = ["cmbn", "syncbn", "syncbn of 2", "syncbn of 2, mean", "wn data_init"]


def beside_its_like(case: str, *values: str) -> Any:
    """A case whose tests meet in one of pytest's processes: what it gives on one is trained once."""
    return pytest.param(*(values or [case]), marks=pytest.mark.xdist_group(f"equality of {case}"))


@pytest.fixture(scope="module")
def on_one(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A case on one process."""
    return cache(lambda case: on_ranks(1, CASES[case], tmp_path_factory.mktemp("one")))


@pytest.mark.parametrize("case", [beside_its_like(case) for case in CASES])
def test_every_norm_gives_the_same_numbers_on_1_2_and_4_processes(
    case: str, on_one: Callable[[str], Path], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    one, two, four = on_one(case), *(on_ranks(ranks, CASES[case], tmp_path / str(ranks)) for ranks in (2, 4))
    differences = [apart(one, many) for many in (two, four)]
    record_property("equality", [case, *differences[0], *differences[1]])
    assert max(map(max, differences)) <= LIMIT, differences
    assert same_rows(one, two)
    assert same_rows(one, four)
    assert torch.load(one / "checkpoint.pt", weights_only=True)["images_seen"] in (40, 48)


@pytest.mark.parametrize("case", PAST)
def test_a_run_cut_on_two_processes_goes_on_exactly_on_two_and_equally_on_one_or_four(
    case: str, tmp_path: Path
) -> None:
    """What each worker remembers is in the checkpoint, whoever wrote it."""
    overrides = [*CASES[case], "checkpoint_steps=3"]
    uncut = on_ranks(2, overrides, tmp_path / "uncut")
    assert records.state(on_ranks(2, overrides, tmp_path / "cut", cut_at=3)) == "cut"
    for ranks in (2, 1, 4):
        out = tmp_path / f"on{ranks}"
        shutil.copytree(tmp_path / "cut", out)
        resumed = on_ranks(ranks, overrides, out)
        assert records.state(resumed) == "done"
        assert max(apart(uncut, resumed)) <= (0.0 if ranks == 2 else LIMIT)
        assert same_rows(uncut, resumed, within=0.0 if ranks == 2 else 1e-9)


@pytest.mark.parametrize("case", [beside_its_like(case) for case in CASES if case not in WITHOUT_PARTS])
def test_workers_played_one_or_two_at_a_time_give_the_numbers_of_all_at_once(
    case: str, on_one: Callable[[str], Path], tmp_path: Path
) -> None:
    whole = on_one(case)
    for size in (1, 2):
        parts = on_ranks(1, [*CASES[case], f"train.micro_workers={size}"], tmp_path / str(size))
        # the same run: how it is played leaves no trace in its identity
        assert parts.name == whole.name
        assert max(apart(whole, parts)) <= LIMIT
        assert same_rows(whole, parts)


@pytest.mark.parametrize("case", WITHOUT_PARTS)
def test_a_norm_that_needs_all_workers_at_once_is_refused_in_parts(case: str, tmp_path: Path) -> None:
    overrides = [*FIVE_STEPS, *CASES[case], "train.micro_workers=2", f"out={tmp_path}"]
    with pytest.raises(ConfigError, match=r"train\.micro_workers=2: norm=\w+ needs the images of all workers at once"):
        execute(run_of(overrides), overrides, say=False)
    assert not list(tmp_path.iterdir())


def test_a_number_of_micro_workers_that_does_not_divide_is_told_those_that_do(tmp_path: Path) -> None:
    overrides = [*FIVE_STEPS, "train.micro_workers=3", f"out={tmp_path}"]
    with pytest.raises(ConfigError, match=r"must divide the 4 workers that each process plays: one of 1, 2, 4$"):
        execute(run_of(overrides), overrides, say=False)


def test_a_sync_size_that_does_not_divide_is_told_those_that_do(tmp_path: Path) -> None:
    overrides = [*FIVE_STEPS, "norm=syncbn", "norm.sync_size=3", f"out={tmp_path}"]
    with pytest.raises(ConfigError, match=r"norm\.sync_size=3 must divide the 4 workers: one of 1, 2, 4$"):
        execute(run_of(overrides), overrides, say=False)


@pytest.mark.parametrize(("size", "same"), [beside_its_like("bn", "1", "bn"), beside_its_like("syncbn", "4", "syncbn")])
def test_sync_size_1_is_bn_and_that_of_all_workers_is_syncbn(
    size: str, same: str, on_one: Callable[[str], Path], tmp_path: Path
) -> None:
    grouped = on_ranks(2, ["norm=syncbn", f"norm.sync_size={size}"], tmp_path / "grouped")
    assert max(apart(on_one(same), grouped)) <= LIMIT
