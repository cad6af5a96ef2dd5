"""Training: the schedule, virtual workers against real DDP, exact resume, evaluation, divergence."""

import math
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as c10d
import torch.multiprocessing as mp
import torch.nn.functional as F
from forking import Server
from killing import same
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import normbench
from normbench import models, records
from normbench.compose import run_of
from normbench.config import ConfigError, Recipe
from normbench.models.cifar_resnet import CifarResNet
from normbench.train import optim, schedule
from normbench.train.loop import summary
from normbench.train.task import Classification

# ---------------------------------------------------------------------------- the learning rate


def test_the_step_schedule_is_the_papers_and_scales_with_the_epochs() -> None:
    gn = Recipe(name="gn2018", epochs=100, milestones=[0.3, 0.6, 0.9])
    at = {0: 0.1, 29.99: 0.1, 30: 0.01, 59.9: 0.01, 60: 0.001, 90: 0.0001, 99.9: 0.0001}
    assert {e: schedule.lr_at(gn, 0.1, e) for e in at} == pytest.approx(at)
    assert schedule.lr_at(Recipe(name="x", epochs=15), 0.1, 4.5) == pytest.approx(0.01)


def test_warm_up_is_linear_and_cosine_ends_at_zero() -> None:
    recipe = Recipe(name="x", epochs=10, schedule="cosine", warmup_epochs=2)
    assert [schedule.lr_at(recipe, 0.4, e) for e in (0, 1, 2)] == pytest.approx([0, 0.2, 0.4])
    assert schedule.lr_at(recipe, 0.4, 6) == pytest.approx(0.2)
    assert schedule.lr_at(recipe, 0.4, 10) == pytest.approx(0)


def test_the_linear_schedule_is_lines_between_the_levels_of_the_step_schedule() -> None:
    recipe = Recipe(name="x", epochs=10, schedule="linear", milestones=[0.4, 0.8], decay=0.1)
    at = {0: 0.1, 2: 0.055, 4: 0.01, 6: 0.0055, 8: 0.001, 9.9: 0.001}
    assert {e: schedule.lr_at(recipe, 0.1, e) for e in at} == pytest.approx(at)
    recipe.warmup_epochs = 1  # the line is at 0.0775 there: the warm-up ends where it meets it
    at = {0: 0.0, 0.5: 0.05, 0.8: 0.08, 0.9: 0.07975, 1: 0.0775, 2: 0.055, 9: 0.001}
    assert {e: schedule.lr_at(recipe, 0.1, e) for e in at} == pytest.approx(at)
    recipe.epochs = 1  # a trial run of one epoch peaks in its middle instead of warming up to its end
    assert schedule.lr_at(recipe, 0.1, 0.8) == pytest.approx(0.001)
    assert schedule.lr_at(Recipe(name="x", schedule="linear", milestones=[]), 0.1, 50) == 0.1


def test_decay_norm_false_leaves_vectors_alone() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    kept, spared = optim.build(run_of(["recipe.decay_norm=false"]), model).param_groups
    assert [p.dim() for p in kept["params"]] == [4]
    assert kept["weight_decay"] == 1e-4
    assert [p.dim() for p in spared["params"]] == [1, 1, 1]
    assert spared["weight_decay"] == 0.0
    everything = optim.build(run_of([]), model).param_groups
    # the GN paper's choice
    assert [(len(g["params"]), g["weight_decay"]) for g in everything] == [(4, 1e-4)]


# ---------------------------------------------------------------------------- virtual workers are real ones


def _ddp_rank(rank: int, workers: int, folder: str) -> None:
    """A real worker: torch's DistributedDataParallel and BatchNorm2d, each rank every workers-th
    image.
    """
    c10d.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=workers)
    torch.set_num_threads(1)
    saved = torch.load(f"{folder}/start.pt")
    model = CifarResNet(8, num_classes=10, image_channels=1, width=4).double()
    model.load_state_dict(saved["model"], strict=False)  # torch counts batches, ours does not
    ddp = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(ddp.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    for x, y in saved["batches"]:
        loss = F.cross_entropy(ddp(x[rank::workers]), y[rank::workers])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if rank == 0:
        torch.save(model.state_dict(), f"{folder}/end.pt")
    c10d.barrier()
    c10d.destroy_process_group()


def test_four_virtual_workers_are_four_ddp_processes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    batches = [(torch.randn(8, 1, 12, 12).double(), torch.randint(0, 10, (8,))) for _ in range(5)]
    options: dict[str, Any] = {"zero_last_gamma": False, "fc_std": None, "image_channels": 1, "width": 4}
    model = models.build("cifar_resnet8", "bn", workers=4, **options).double()
    start = {k: v.clone() for k, v in model.state_dict().items()}
    torch.save({"model": start, "batches": batches}, tmp_path / "start.pt")
    mp.start_processes(_ddp_rank, (4, str(tmp_path)), nprocs=4, start_method="fork")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    for x, y in batches:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    real = torch.load(tmp_path / "end.pt")
    ours = model.state_dict()
    worst = {name: float((ours[name] - real[name]).abs().max()) for name in ours}
    assert max(worst.values()) <= 1e-12, worst
    moved = {name: float((ours[name] - start[name]).abs().max()) for name in ours}
    assert min(moved.values()) > 1e-4, moved


# ---------------------------------------------------------------------------- exact resume


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in records.read_rows(folder)]


WATCHED = ["probe.layer=layer2.0.bn2", "probe.every=3", "eval_also=[precise,batch]", "recipe.freeze_from=0.6"]


@pytest.mark.parametrize(("norm", "more"), [("bn", WATCHED), ("gn", []), ("cbn", WATCHED)], ids=["bn", "gn", "cbn"])
def test_a_run_killed_again_and_again_ends_as_the_uncut_one(
    norm: str, more: list[str], server: Server, tmp_path: Path
) -> None:
    overrides = ["data.train_size=2048", "data.test_size=1000", "recipe.epochs=3", "sgd_batch=32", "batch=8"]
    overrides += ["model.options.width=4", f"norm={norm}", "checkpoint_steps=7", "device=cpu"]
    overrides += ["recipe.label_smoothing=0.1", *more]
    began = time.monotonic()
    assert server.start(*overrides, f"out={tmp_path / 'uncut'}", cwd=tmp_path).wait() == 0
    seconds, dice = time.monotonic() - began, random.Random(norm)
    for _ in range(4):
        launch = server.start(*overrides, f"out={tmp_path / 'cut'}", cwd=tmp_path)
        time.sleep(dice.uniform(0, seconds / 4))  # anywhere: what the four train is less than the whole
        launch.kill()
        assert launch.wait() == -signal.SIGKILL, launch.said()
    last = server.start(*overrides, f"out={tmp_path / 'cut'}", cwd=tmp_path)
    assert last.wait() == 0, last.said()
    cut_folder, folder = (next((tmp_path / name).rglob("result.json")).parent for name in ("cut", "uncut"))
    assert _rows(cut_folder) == _rows(folder)
    assert len(_rows(folder)) == 3
    assert records.read_probes(cut_folder) == records.read_probes(folder)
    assert len(records.read_probes(folder)) == (3 * 64 // 3 if more else 0)
    ends = [torch.load(f / "checkpoint.pt", weights_only=True) for f in (cut_folder, folder)]
    for key in ("model", "optimizer", "rng", "epoch", "step", "images_seen"):
        assert same(ends[0][key], ends[1][key]), key
    results = [records.read_json(f / "result.json") for f in (cut_folder, folder)]
    assert results[0]["top1_error_pct"] == results[1]["top1_error_pct"]


def test_two_runs_of_one_config_are_bitwise_equal(tmp_path: Path, tiny: list[str]) -> None:
    paths = [normbench.run([*tiny[:-1], f"out={tmp_path / name}"]).path for name in ("a", "b")]
    states = [torch.load(p / "checkpoint.pt", weights_only=True)["model"] for p in paths]
    assert same(*states)
    assert _rows(paths[0]) == _rows(paths[1])


# ---------------------------------------------------------------------------- one run from Python


def test_run_returns_what_is_on_disk_and_skips_what_is_done(tiny: list[str]) -> None:
    result = normbench.run(tiny)
    kept = records.read_json(result.path / "result.json")
    assert (result.status, result.epochs) == ("done", 3)
    assert kept["images_seen"] == 3 * 256
    errors = [row["top1_error_pct"] for row in records.read_rows(result.path)]
    assert result.top1_error_pct == sorted(errors)[1] == kept["top1_error_pct"]["median_last5"]
    assert result.final == errors[-1]
    stamp = (result.path / "checkpoint.pt").stat().st_mtime_ns
    assert normbench.run(tiny) == result
    assert (result.path / "checkpoint.pt").stat().st_mtime_ns == stamp
    anew = normbench.run([*tiny, "overwrite=true"])
    assert (anew.path / "checkpoint.pt").stat().st_mtime_ns > stamp
    assert anew.top1_error_pct == result.top1_error_pct
    frame = normbench.load(result.path.parents[4])
    assert list(frame["top1_error_pct"]) == errors


def test_a_diverged_run_is_a_result(tiny: list[str]) -> None:
    result = normbench.run([*tiny, "norm=none", "recipe.lr=1e6"])
    assert (result.status, result.top1_error_pct, result.final) == ("diverged", None, None)
    assert result.epochs == len(records.read_rows(result.path)) < 3
    assert records.state(result.path) == "diverged"


def test_a_run_that_does_not_fit_in_memory_is_told_of_fewer_workers_at_a_time(
    tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(Classification, "losses", too_large)
    with pytest.raises(ConfigError, match=r"out of memory with 4 workers x 8 images .*: train\.micro_workers=2 plays"):
        normbench.run(tiny)
    with pytest.raises(ConfigError, match=r"out of memory with 1 workers x 8 images in one forward: torchrun"):
        normbench.run([*tiny, "train.micro_workers=1"])


@pytest.mark.parametrize("precision", ["fp64", "bf16"])
def test_the_other_precisions_train(precision: str, tiny: list[str]) -> None:
    result = normbench.run([*tiny, f"precision={precision}", "channels_last=true"])
    state = torch.load(result.path / "checkpoint.pt", weights_only=True)["model"]
    assert {v.dtype for v in state.values()} == {torch.float64 if precision == "fp64" else torch.float32}


def test_frozen_starts_from_a_checkpoint_or_measures_and_its_statistics_never_move(tiny: list[str]) -> None:
    parent = normbench.run(tiny)
    measured = normbench.run([*tiny, "norm=frozen"])
    child = normbench.run([*tiny, "norm=frozen", f"norm.checkpoint={parent.path / 'checkpoint.pt'}", "norm.eps=1e-4"])
    before = torch.load(parent.path / "checkpoint.pt", weights_only=True)["model"]
    after = torch.load(child.path / "checkpoint.pt", weights_only=True)["model"]
    assert torch.equal(before["layer2.0.bn1.running_var"], after["layer2.0.bn1.running_var"])
    assert not torch.equal(before["layer2.0.conv1.weight"], after["layer2.0.conv1.weight"])
    fixed = torch.load(measured.path / "checkpoint.pt", weights_only=True)["model"]
    assert not torch.equal(fixed["bn1.running_var"], torch.ones_like(fixed["bn1.running_var"]))


def test_result_json_holds_the_median_of_the_last_five_and_the_final_never_the_best() -> None:
    rows = [{"e": e, "images_seen": i, "seconds": 1.0} for i, e in enumerate([1.0, 9.0, 8.0, 7.0, 5.0, 6.0])]
    assert summary("done", rows, "e")["e"] == {"median_last5": 7.0, "final": 6.0}
    assert summary("done", rows[:4], "e")["e"] == {"median_last5": 7.5, "final": 7.0}
    assert summary("diverged", rows[:2], "e")["e"] == {"median_last5": None, "final": None}
    assert summary("diverged", [], "e")["epochs"] == 0


def test_an_image_that_is_not_a_number_is_wrong() -> None:
    logits = torch.tensor([[0.0, 1.0], [math.nan, 1.0]])
    wrong = Classification().predict(lambda _: logits, (logits, torch.tensor([1, 1])))  # type: ignore[arg-type]
    assert int(wrong) == 1
