"""Runs of five steps on real processes (gloo), and how far apart what they leave on disk is."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import preloaded
import pytest
import torch
import torch.distributed as c10d
import torch.multiprocessing as mp
from torch import Tensor

from normbench import records
from normbench.compose import run_of
from normbench.execute import execute
from normbench.runs import Run
from normbench.train import checkpoint

assert preloaded.LOADED  # once, so that the forked ranks need not load it each
LIMIT = 1e-10
FIVE_STEPS = ["data.train_size=40", "sgd_batch=8", "batch=2", "recipe.epochs=1", "precision=fp64", "device=cpu"]
FIVE_STEPS += ["model.options.width=4", "recipe.zero_last_gamma=false", "recipe.fc_std=null", "eval_also=[precise]"]
FIVE_STEPS += ["data.test_size=203"]  # which neither 2 nor 4 ranks share evenly


def on_ranks(ranks: int, overrides: list[str], out: Path, cut_at: int | None = None) -> Path:
    """Trains on so many processes and returns the run's folder. cut_at: the checkpoint with which
    the run ends cut.
    """
    out.mkdir(exist_ok=True)
    (out / "store").unlink(missing_ok=True)
    typed = [*FIVE_STEPS, *overrides, f"out={out / 'runs'}"]
    arguments = (ranks, run_of(typed), typed, str(out / "store"), cut_at)
    mp.start_processes(_rank, arguments, nprocs=ranks, start_method="fork")
    return next((out / "runs").rglob("checkpoint.pt")).parent


def _rank(rank: int, ranks: int, run: Run, typed: list[str], store: str, cut_at: int | None) -> None:
    torch.set_num_threads(1)
    if ranks > 1:
        c10d.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    try:
        if cut_at is not None:
            checkpoint.save = _until(cut_at, checkpoint.save)
        execute(run, typed, say=False)
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
    """The largest difference in parameters and their momenta, in running statistics, and in all
    other buffers.
    """
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
