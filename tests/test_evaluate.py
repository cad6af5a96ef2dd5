"""Whose statistics evaluation uses, evaluation with others beside it, and training with fixed ones."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import normbench
from normbench import data, models, records
from normbench.compose import run_of
from normbench.config import ConfigError
from normbench.models.cifar_resnet import CifarResNet
from normbench.runs import science
from normbench.train.evaluate import evaluate, evaluate_also, freeze, prepare
from normbench.train.task import Classification

CPU = torch.device("cpu")


@pytest.fixture
def trained() -> Callable[..., tuple[Any, nn.Module, data.Images]]:
    """A width-4 ResNet-8 after a few steps on 4 virtual workers of 2."""

    def build(eval_stats: str, *more: str) -> tuple[Any, nn.Module, data.Images]:
        small = ["data.train_size=64", "data.test_size=2000", "sgd_batch=8", "batch=2"]
        run = run_of([*small, f"eval_stats={eval_stats}", *more])
        images = data.build(run.data, seed=0, device=CPU, dtype=torch.float64)
        torch.manual_seed(0)
        model = models.build("cifar_resnet8", run.norm.as_dict(), workers=4, image_channels=1, width=4).double()
        prepare(model, run)
        model.train()
        for x, _ in images.epoch(1, 8):
            model(x)
        return run, model, images

    return build


def _layer(model: nn.Module) -> Any:
    return models.norm_layers(model)["bn1"]


def test_worker0_and_mean_are_the_moving_averages_of_torchs_batch_norm(trained: Callable[..., Any]) -> None:
    _, model, images = trained("worker0")
    references = [nn.BatchNorm2d(4).double() for _ in range(4)]
    conv = model.get_submodule("conv1")
    for x, _ in images.epoch(1, 8):
        for worker, reference in enumerate(references):
            reference(conv(x[worker::4]))
    torch.testing.assert_close(_layer(model).running_mean, references[0].running_mean, rtol=0, atol=1e-13)
    torch.testing.assert_close(_layer(model).running_var, references[0].running_var, rtol=0, atol=1e-13)
    _, model, _ = trained("mean")
    mean = torch.stack([r.running_var for r in references]).mean(0)
    torch.testing.assert_close(_layer(model).running_var, mean, rtol=0, atol=1e-13)


def test_precise_statistics_are_those_of_all_their_images_at_once(trained: Callable[..., Any]) -> None:
    run, model, images = trained("precise")
    evaluate(replace(run, precise_images=64), model, Classification(), images)
    conv = model.get_submodule("conv1")
    y = torch.cat([conv(x) for x, _ in images.precise(64, 8)])
    torch.testing.assert_close(_layer(model).running_mean, y.mean((0, 2, 3)), rtol=0, atol=1e-12)
    torch.testing.assert_close(_layer(model).running_var, y.var((0, 2, 3), correction=0), rtol=0, atol=1e-12)


def test_batch_statistics_are_each_mini_batchs_own_and_every_image_counts_once(trained: Callable[..., Any]) -> None:
    run, model, images = trained("batch")
    # 2,000 test images are 41 SGD batches, 10 mini-batches and 2 images
    run = replace(run, batch=3, sgd_batch=48)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    error = evaluate(run, model, Classification(), images)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    wrong = 0
    stock = CifarResNet(8, num_classes=10, image_channels=1, width=4).double()
    stock.load_state_dict(before, strict=False)
    with torch.no_grad():
        for x, y in images.evaluation(batch=48):
            workers = 16 if len(x) == 48 else 1
            for w in range(workers):
                own = zip(x[w::workers].split(3), y[w::workers].split(3), strict=True)
                for gx, gy in own:
                    stock.train()
                    wrong += int((stock(gx).argmax(1) != gy).sum())
    assert error == pytest.approx(100 * wrong / 2000, abs=1e-9)


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_the_same_test_images_meet_in_a_mini_batch_for_every_number_of_ranks(
    world_size: int, trained: Callable[..., Any]
) -> None:
    _, _, images = trained("batch")

    def mini_batches(ranks: int) -> set[tuple[float, ...]]:
        found = []
        for rank in range(ranks):
            # 8 workers of 12 images
            for x, _ in images.evaluation(rank, ranks, batch=96 // ranks, minibatch=12):
                local = max(1, len(x) // 12)
                found += [tuple(x[worker::local].sum((1, 2, 3)).tolist()) for worker in range(local)]
        assert sum(map(len, found)) == 2000
        return set(found)

    assert mini_batches(world_size) == mini_batches(1)


# ---------------------------------------------------------------------------- other statistics beside the run's own


@pytest.mark.parametrize("norm", ["bn", "brn", "cbn", "mabn", "powernorm", "bcn", "group_batch", "sn"])
def test_evaluation_with_other_statistics_gives_their_value_and_leaves_no_trace(
    norm: str, trained: Callable[..., Any]
) -> None:
    run, model, images = trained("worker0", f"norm={norm}", "precise_images=64", "data.test_size=2500")
    own = {stats: replace(run, eval_stats=stats) for stats in ("precise", "batch")}
    before = {k: v.clone() for k, v in model.state_dict().items()}
    drawn = torch.get_rng_state()
    found = evaluate_also(replace(run, eval_also=list(own)), model, Classification(), images)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(drawn, torch.get_rng_state())
    for stats, alone in own.items():
        model.load_state_dict(before)
        assert found[f"top1_error_pct_{stats}"] == evaluate(alone, model, Classification(), images)
    assert len(set(found.values())) == 2


def test_a_run_that_evaluates_more_trains_the_same_and_says_more(tiny: list[str]) -> None:
    plain, more = (normbench.run([*tiny, *extra]) for extra in ([], ["eval_also=[batch,precise]"]))
    assert plain.path != more.path
    weights = [torch.load(r.path / "checkpoint.pt", weights_only=True)["model"] for r in (plain, more)]
    assert all(torch.equal(v, weights[1][k]) for k, v in weights[0].items())
    rows, richer = records.read_rows(plain.path), records.read_rows(more.path)
    assert set(richer[0]) - set(rows[0]) == {"top1_error_pct_precise", "top1_error_pct_batch"}
    assert [row["top1_error_pct"] for row in rows] == [row["top1_error_pct"] for row in richer]


def test_mean_beside_batch_is_the_mean_of_a_run_of_its_own(tiny: list[str]) -> None:
    beside = normbench.run([*tiny, "eval_stats=batch", "eval_also=[mean]"])
    alone = normbench.run([*tiny, "eval_stats=mean"])
    assert [row["top1_error_pct_mean"] for row in records.read_rows(beside.path)] == [
        row["top1_error_pct"] for row in records.read_rows(alone.path)
    ]


def test_eval_also_in_another_order_is_the_same_run_and_none_is_no_field() -> None:
    assert science(run_of(["eval_also=[batch,precise]"]))["eval_also"] == ["precise", "batch"]
    assert science(run_of(["eval_also=[]"])) == science(run_of([]))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["eval_also=[best]"], "eval_also=best: no such choice"),
        (["eval_also=[worker0]"], "already; leave it out"),
        (["eval_also=[mean]"], "ask for one of the two"),
        (["eval_stats=precise", "eval_also=[worker0]"], r"use eval_stats=worker0 eval_also=\[precise\]"),
        (["recipe.freeze_from=1"], "above 0 and below 1"),
        (["recipe.freeze_from=0"], "above 0 and below 1"),
        (["recipe.freeze_from=0.8", "recipe.epochs=3"], "at least the last epoch"),
        (["recipe.freeze_from=0.8", "norm=gn"], "norm=gn has no batch statistics"),
        (["recipe.freeze_from=0.8", "norm=frozen"], "norm=frozen has no batch statistics"),
    ],
)
def test_what_cannot_be_meant_is_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run_of(overrides)


# ---------------------------------------------------------------------------- fixed statistics in the last epochs


def test_a_frozen_layer_is_a_constant_affine_one_that_still_learns_gamma_and_beta(trained: Callable[..., Any]) -> None:
    _, model, images = trained("worker0")
    layer = _layer(model)
    model.train()
    freeze(model)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    y = torch.randn(8, 4, 12, 12, dtype=torch.float64, requires_grad=True)
    out = layer(y)
    scale = (layer.weight / (layer.running_var + layer.eps).sqrt()).detach()
    reference = (y.detach() - layer.running_mean.view(-1, 1, 1)) * scale.view(-1, 1, 1) + layer.bias.view(-1, 1, 1)
    torch.testing.assert_close(out, reference, rtol=0, atol=1e-12)
    along = torch.randn_like(out)
    out.backward(along)
    torch.testing.assert_close(y.grad, along * scale.view(-1, 1, 1), rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.bias.grad, along.sum((0, 2, 3)), rtol=0, atol=1e-10)
    for x, labels in images.epoch(2, 8):
        F.cross_entropy(model(x), labels).backward()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is not None and p.grad.any() for p in layer.parameters())


@pytest.mark.parametrize(
    "norm", ["brn", "cbn", "mabn", "powernorm", "bcn", "group_batch", "sn", "evonorm_b0", "syncbn"]
)
def test_no_layer_moves_its_state_while_it_is_frozen(norm: str, trained: Callable[..., Any]) -> None:
    _, model, images = trained("worker0", f"norm={norm}")
    model.train()
    freeze(model)
    before = {k: v.clone() for k, v in model.named_buffers()}
    for x, labels in images.epoch(2, 8):
        F.cross_entropy(model(x), labels).backward()
    assert all(torch.equal(v, before[k]) for k, v in model.named_buffers())
    assert _layer(model).weight.grad.any()


@pytest.mark.parametrize("stats", ["worker0", "precise"])
def test_statistics_of_the_last_evaluation_before_the_switch_stay(stats: str, tiny: list[str]) -> None:
    options = [f"eval_stats={stats}", "precise_images=64", "recipe.schedule=step", "recipe.milestones=[1]"]
    two, three = (
        normbench.run([*tiny, *options, f"recipe.epochs={epochs}", *more])
        for epochs, more in ((2, []), (3, ["recipe.freeze_from=0.6"]))
    )
    at, end = (torch.load(r.path / "checkpoint.pt", weights_only=True)["model"] for r in (two, three))
    assert all(torch.equal(v, end[k]) for k, v in at.items() if "running" in k)
    assert not torch.equal(at["layer3.0.conv1.weight"], end["layer3.0.conv1.weight"])
    assert records.read_rows(two.path)[1]["top1_error_pct"] == records.read_rows(three.path)[1]["top1_error_pct"]


def test_a_norm_without_running_statistics_has_nothing_to_freeze() -> None:
    run = run_of(["recipe.freeze_from=0.5"])
    with pytest.raises(ConfigError, match="keeps no running statistics"):
        prepare(models.build("cifar_resnet8", "gn", image_channels=1), run)
