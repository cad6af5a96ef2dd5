"""The experiment fixes the numbers, the hardware only the speed: 1 process x 4 virtual workers = 2 x 2 = 4 x 1.

Every norm, five steps in fp64 through the whole program on real processes (gloo), and what the checkpoint holds after them
compared: weights, optimizer, running statistics, and each worker's own past. The table is printed at the end of a test run.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sklearn.datasets  # here once, so that the forked ranks need not load them each
import torch
import torch.distributed as c10d
import torch.multiprocessing as mp
import torchvision
from torch import Tensor

from normbench import plugins, records
from normbench.compose import config_of
from normbench.config import ConfigError
from normbench.execute import execute
from normbench.train import checkpoint

LOADED = (sklearn.datasets, torchvision)
LIMIT = 1e-10
FIVE_STEPS = ["data.train_size=40", "sgd_batch=8", "batch=2", "recipe.epochs=1", "precision=fp64", "device=cpu"]
FIVE_STEPS += ["model.options.width=4", "recipe.zero_last_gamma=false", "recipe.fc_std=null", "eval_also=[precise]"]

# Options with which five steps reach what a run of many epochs would: full windows, open bounds, ended warm-ups
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


def on_ranks(ranks: int, overrides: list[str], out: Path, cut_at: int | None = None) -> Path:
    """Trains on so many processes and returns the run's folder. cut_at: the checkpoint with which the run ends cut."""
    out.mkdir(exist_ok=True)
    (out / "store").unlink(missing_ok=True)
    arguments = (ranks, [*FIVE_STEPS, *overrides, f"out={out / 'runs'}"], str(out / "store"), cut_at)
    mp.start_processes(_rank, arguments, nprocs=ranks, start_method="fork")
    return next((out / "runs").rglob("checkpoint.pt")).parent


def _rank(rank: int, ranks: int, overrides: list[str], store: str, cut_at: int | None) -> None:
    torch.set_num_threads(1)
    if ranks > 1:
        c10d.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    try:
        if cut_at is not None:
            checkpoint.save = _until(cut_at, checkpoint.save)
        execute(config_of(overrides), overrides, say=False)
    except KeyboardInterrupt:
        assert cut_at is not None
    finally:
        if ranks > 1:
            c10d.destroy_process_group()


def _until(step: int, save: Callable[..., None]) -> Callable[..., None]:
    def saved(folder: Path, position: checkpoint.Position, *more: Any) -> None:
        save(folder, position, *more)
        if position.step == step:
            raise KeyboardInterrupt

    return saved


def tensors(state: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a checkpoint with its place in it."""
    if isinstance(state, Tensor):
        yield path, state
    elif isinstance(state, dict):
        for key, value in state.items():
            yield from tensors(value, f"{path}.{key}")


def apart(a: Path, b: Path) -> tuple[float, float, float]:
    """The largest difference in parameters and their momenta, in running statistics, and in all other buffers."""
    mine, theirs = (dict(tensors(torch.load(f / "checkpoint.pt", weights_only=True))) for f in (a, b))
    assert mine.keys() == theirs.keys()
    found = {"parameters": 0.0, "running": 0.0, "other": 0.0}
    moments = [t for name, t in mine.items() if name.endswith("momentum_buffer")]
    assert moments and all(t.abs().max() > 0 for t in moments)
    buffers = {name.rpartition(".")[2] for name in mine} - {"weight", "bias", "original", "momentum_buffer"}
    for name, tensor in mine.items():
        if name in (".rng", ".cuda_rng"):
            continue
        assert tensor.shape == theirs[name].shape, (name, tensor.shape, theirs[name].shape)
        last = name.rpartition(".")[2]
        kind = "running" if last.startswith("running_") else "other" if last in buffers else "parameters"
        found[kind] = max(found[kind], float((tensor.double() - theirs[name].double()).abs().max()))
    return found["parameters"], found["running"], found["other"]


def same_rows(a: Path, b: Path, within: float = 1e-9) -> bool:
    rows = [[{**row, "seconds": 0} for row in records.read_rows(f)] for f in (a, b)]
    return rows[0] == [pytest.approx(row, rel=within, abs=0) for row in rows[1]]


@pytest.mark.parametrize("case", CASES)
def test_every_norm_gives_the_same_numbers_on_1_2_and_4_processes(
    case: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    one, two, four = (on_ranks(ranks, CASES[case], tmp_path / str(ranks)) for ranks in (1, 2, 4))
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
    for ranks in (2, 1, 4):
        out = tmp_path / f"on{ranks}"
        cut = on_ranks(2, overrides, out, cut_at=3)
        assert records.state(cut) == "cut"
        resumed = on_ranks(ranks, overrides, out)
        assert records.state(resumed) == "done"
        assert max(apart(uncut, resumed)) <= (0.0 if ranks == 2 else LIMIT)
        assert same_rows(uncut, resumed, within=0.0 if ranks == 2 else 1e-9)


@pytest.mark.parametrize("case", [case for case in CASES if case not in WITHOUT_PARTS])
def test_workers_played_one_or_two_at_a_time_give_the_numbers_of_all_at_once(case: str, tmp_path: Path) -> None:
    whole = on_ranks(1, CASES[case], tmp_path / "whole")
    for size in (1, 2):
        parts = on_ranks(1, [*CASES[case], f"train.micro_workers={size}"], tmp_path / str(size))
        assert parts.name == whole.name  # the same run: how it is played leaves no trace in its identity
        assert max(apart(whole, parts)) <= LIMIT
        assert same_rows(whole, parts)


@pytest.mark.parametrize("case", WITHOUT_PARTS)
def test_a_norm_that_needs_all_workers_at_once_is_refused_in_parts(case: str, tmp_path: Path) -> None:
    overrides = [*FIVE_STEPS, *CASES[case], "train.micro_workers=2", f"out={tmp_path}"]
    with pytest.raises(ConfigError, match=r"train\.micro_workers=2: norm=\w+ needs the images of all workers at once"):
        execute(config_of(overrides), overrides, say=False)
    assert not list(tmp_path.iterdir())


def test_a_number_of_micro_workers_that_does_not_divide_is_told_those_that_do(tmp_path: Path) -> None:
    overrides = [*FIVE_STEPS, "train.micro_workers=3", f"out={tmp_path}"]
    with pytest.raises(ConfigError, match=r"must divide the 4 workers that each process plays: one of 1, 2, 4$"):
        execute(config_of(overrides), overrides, say=False)


def test_a_sync_size_that_does_not_divide_is_told_those_that_do(tmp_path: Path) -> None:
    overrides = [*FIVE_STEPS, "norm=syncbn", "norm.sync_size=3", f"out={tmp_path}"]
    with pytest.raises(ConfigError, match=r"norm\.sync_size=3 must divide the 4 workers: one of 1, 2, 4$"):
        execute(config_of(overrides), overrides, say=False)


@pytest.mark.parametrize(("size", "same"), [("1", "bn"), ("4", "syncbn")])
def test_sync_size_1_is_bn_and_that_of_all_workers_is_syncbn(size: str, same: str, tmp_path: Path) -> None:
    grouped = on_ranks(2, ["norm=syncbn", f"norm.sync_size={size}"], tmp_path / "grouped")
    assert max(apart(on_ranks(1, [f"norm={same}"], tmp_path / same), grouped)) <= LIMIT
