"""The recipe's optimizer, schedule, clipping and moving average, each against torch's own."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import tensors
from torch import nn

import normbench
from normbench.compose import run_of
from normbench.config import ConfigError, Recipe
from normbench.runs import Run
from normbench.train import optim
from normbench.train.average import Average
from normbench.train.schedule import Schedule

CPU = torch.device("cpu")
STEPS = 7  # of an epoch


def run(*overrides: str) -> Run:
    return run_of(["recipe.epochs=4", "recipe.lr=0.4", "recipe.lr_batch=64", "recipe.warmup_epochs=0", *overrides])


def rates(*overrides: str) -> list[float]:
    lr = Schedule(run(*overrides), STEPS)
    return [lr(epoch, step) for epoch in range(1, 5) for step in range(1, STEPS + 1)]


def torchs(name: str, times: int, **options: Any) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
    schedule = getattr(torch.optim.lr_scheduler, name)(optimizer, **options)
    found = []
    for _ in range(times):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


# ---------------------------------------------------------------------------- schedule


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ExponentialLR", {"gamma": 0.5}),
        ("StepLR", {"step_size": 2}),
        ("MultiStepLR", {"milestones": [1, 3], "gamma": 0.3}),
        ("CosineAnnealingLR", {"T_max": 4, "eta_min": 0.01}),
        ("CosineAnnealingWarmRestarts", {"T_0": 2}),
        ("PolynomialLR", {"total_iters": 3, "power": 2.0}),
        ("LinearLR", {"start_factor": 0.1}),
        ("ConstantLR", {"factor": 0.5, "total_iters": 2}),
    ],
)
def test_a_schedule_of_torchs_moves_once_an_epoch(name: str, options: dict[str, Any]) -> None:
    typed = [f"recipe.schedule_options.{key}={value}".replace(" ", "") for key, value in options.items()]
    wanted = [rate for rate in torchs(name, 4, **options) for _ in range(STEPS)]
    assert rates(f"recipe.schedule={name}", *typed) == pytest.approx(wanted)


def test_cyclic_schedules_of_torchs_move_once_a_step() -> None:
    wanted = torchs("OneCycleLR", 4 * STEPS, max_lr=0.4, total_steps=4 * STEPS, cycle_momentum=False)
    assert rates("recipe.schedule=OneCycleLR") == pytest.approx(wanted)
    wanted = torchs("CyclicLR", 4 * STEPS, base_lr=0.1, max_lr=0.4, step_size_up=5, cycle_momentum=False)
    cyclic = ["recipe.schedule_options.base_lr=0.1", "recipe.schedule_options.step_size_up=5"]
    assert rates("recipe.schedule=CyclicLR", *cyclic) == pytest.approx(wanted)


def test_a_schedule_of_torchs_begins_after_the_warm_up() -> None:
    found = rates("recipe.schedule=ExponentialLR", "recipe.schedule_options.gamma=0.5", "recipe.warmup_epochs=1")
    assert found[:STEPS] == pytest.approx([0.4 * step / STEPS for step in range(STEPS)])
    assert found[STEPS::STEPS] == pytest.approx([0.4, 0.2, 0.1])
    found = rates("recipe.schedule=OneCycleLR", "recipe.warmup_epochs=0.5")  # 3.5 steps
    assert found[:4] == pytest.approx([0.4 * step / STEPS / 0.5 for step in range(4)])
    assert found[4:] == pytest.approx(
        torchs("OneCycleLR", 4 * STEPS - 4, max_lr=0.4, total_steps=4 * STEPS - 4, cycle_momentum=False)
    )


# ---------------------------------------------------------------------------- optimizer


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()


def descend(step: Any, model: nn.Module) -> list[torch.Tensor]:
    torch.manual_seed(1)
    for _ in range(5):
        x = torch.randn(6, 3, dtype=torch.float64)
        step(model(x).square().mean() * 30)
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize(
    ("typed", "make"),
    [
        ([], lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=1e-4)),
        (["recipe.optimizer_options.dampening=0.1"], lambda p: torch.optim.SGD(p, 0.1, 0.9, 0.1, 1e-4)),
        (["recipe.optimizer=adamw"], lambda p: torch.optim.AdamW(p, 0.1, weight_decay=1e-4)),
        (
            ["recipe.optimizer=adamw", "recipe.optimizer_options.betas=[0.5,0.9]", "recipe.weight_decay=0.1"],
            lambda p: torch.optim.AdamW(p, 0.1, (0.5, 0.9), weight_decay=0.1),
        ),
        (["recipe.optimizer=rmsprop"], lambda p: torch.optim.RMSprop(p, 0.1, weight_decay=1e-4)),
    ],
)
def test_an_optimizer_is_torchs(typed: list[str], make: Any) -> None:
    ours, theirs = network(), network()
    updates = optim.Updates(run("recipe.lr=0.1", *typed), ours, CPU)

    def step(loss: torch.Tensor) -> None:
        updates.backward(loss)
        updates.step(0.1)

    optimizer = make(theirs.parameters())

    def plain(loss: torch.Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    for mine, wanted in zip(descend(step, ours), descend(plain, theirs), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-12, atol=1e-12)


def test_every_optimizer_that_is_offered_can_be_built() -> None:
    from normbench.config import OPTIMIZERS, TORCH_SCHEDULES

    for name in OPTIMIZERS:
        momentum = [] if name == "sgd" else ["recipe.momentum=0.9"]
        assert type(optim.build(run(f"recipe.optimizer={name}", *momentum), network())).__name__.lower() == name
    assert {name for name in TORCH_SCHEDULES if not hasattr(torch.optim.lr_scheduler, name)} == set()


def test_timms_optimizers() -> None:
    pytest.importorskip("timm")
    assert type(optim.build(run("recipe.optimizer=timm/lamb"), network())).__name__ == "Lamb"
    with pytest.raises(ConfigError, match=r"timm has no such optimizer \(did you mean lamb"):
        optim.build(run("recipe.optimizer=timm/lammb"), network())


def test_gradients_are_clipped_to_the_norm_of_all_together() -> None:
    ours, theirs = network(), network()
    updates = optim.Updates(
        run("recipe.lr=0.1", "recipe.clip_norm=0.5", "recipe.momentum=0", "recipe.weight_decay=0"), ours, CPU
    )
    norms = []

    def step(loss: torch.Tensor) -> None:
        updates.backward(loss)
        updates.step(0.1)

    def by_hand(loss: torch.Tensor) -> None:
        gradients = torch.autograd.grad(loss, list(theirs.parameters()))
        norms.append(math.sqrt(sum(float(g.square().sum()) for g in gradients)))
        with torch.no_grad():
            for p, g in zip(theirs.parameters(), gradients, strict=True):
                p -= 0.1 * g * min(1.0, 0.5 / norms[-1])

    for mine, wanted in zip(descend(step, ours), descend(by_hand, theirs), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=1e-7)  # torch adds 1e-6 to the norm
    assert max(norms) > 0.5


# ---------------------------------------------------------------------------- moving average


def test_the_average_is_the_recurrence_by_hand_and_training_does_not_see_it() -> None:
    model = nn.Sequential(nn.Linear(3, 2)).double()
    average = Average(model, decay=0.8)
    wanted = {name: value.detach().clone() for name, value in model.named_parameters()}
    for k in range(4):
        with torch.no_grad():
            for value in model.parameters():
                value += k + 1
        average.update()
        for name, value in model.named_parameters():
            wanted[name] = 0.8 * wanted[name] + 0.2 * value.detach()
    live = copy.deepcopy(model.state_dict())
    with average.in_place():
        for name, value in model.named_parameters():
            torch.testing.assert_close(value, wanted[name])
    assert all(torch.equal(value, live[name]) for name, value in model.state_dict().items())


def test_an_average_of_no_memory_is_the_weights_themselves(tiny: list[str]) -> None:
    plain = normbench.run([*tiny, "norm=bn"])
    averaged = normbench.run([*tiny, "norm=bn", "recipe.ema=1e-12"])
    assert averaged.path != plain.path
    state = torch.load(averaged.path / "checkpoint.pt", weights_only=True)
    for name, value in state["ema"].items():
        torch.testing.assert_close(value, state["model"][name])
    assert averaged.top1_error_pct == plain.top1_error_pct
    kept = torch.load(plain.path / "checkpoint.pt", weights_only=True)["model"]
    assert all(torch.equal(value, kept[name]) for name, value in state["model"].items())
    slow = normbench.run([*tiny, "norm=bn", "recipe.ema=0.99999"])  # evaluates what it began with
    assert slow.top1_error_pct is not None
    assert slow.top1_error_pct > 80


# ---------------------------------------------------------------------------- whole runs

EVERYTHING = [
    "recipe.optimizer=adamw", "recipe.lr=0.01", "recipe.schedule=OneCycleLR", "recipe.clip_norm=1", "recipe.ema=0.9",
    "norm=brn", "checkpoint_steps=3",
]  # fmt: skip


def test_a_cut_run_ends_bitwise_the_same(tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = normbench.run([*tiny, *EVERYTHING])
    from normbench.progress import Progress

    before = Progress.step

    def cut(self: Progress, epoch: int, step: int) -> None:
        before(self, epoch, step)
        if (epoch, step) == (2, 5):
            raise KeyboardInterrupt

    there = [*tiny[:-1], f"out={tmp_path / 'cut'}", *EVERYTHING]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Progress, "step", cut)
        normbench.run(there)
    resumed = normbench.run(there)
    first, second = (torch.load(r.path / "checkpoint.pt", weights_only=True) for r in (whole, resumed))
    assert "ema" in first
    one, other = dict(tensors(first)), dict(tensors(second))
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert resumed.top1_error_pct == whole.top1_error_pct


def test_what_is_off_leaves_the_identity_alone() -> None:
    assert run("recipe.optimizer=sgd").identity == run().identity
    assert run("recipe.optimizer=adamw").identity != run().identity
    assert "optimizer" not in str(run().identity)
    assert Recipe().optimizer == "sgd"


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("recipe.optimizer=adamv", "recipe.optimizer=adamv: no such choice .did you mean adam"),
        ("recipe.optimizer=lbfgs", "no such choice"),
        ("recipe.optimizer=adamw recipe.momentum=0.8", "recipe.momentum and recipe.nesterov are those of"),
        ("recipe.optimizer_options.lr=3", "recipe.optimizer_options.lr is not for here"),
        (
            "recipe.schedule_options.gamma=3",
            "for a schedule of torch's; recipe.schedule=linear has milestones and decay",
        ),
        ("recipe.schedule=ReduceLROnPlateau", "recipe.schedule=ReduceLROnPlateau: no such choice"),
        ("recipe.clip_norm=0", "recipe.clip_norm must be above 0"),
        ("recipe.ema=1", "recipe.ema must be above 0 and below 1"),
        ("recipe.ema=0.9 recipe.freeze_from=0.5", "leave one of the two out"),
    ],
)
def test_what_is_refused_before_anything_starts(typed: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        run(*typed.split())


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("recipe.optimizer=adamw recipe.optimizer_options.beta=3", "recipe.optimizer=adamw with beta=3: .*beta"),
        ("recipe.optimizer=adamw recipe.optimizer_options.betas=[3,4]", "Invalid beta parameter"),
        ("recipe.schedule=StepLR", "recipe.schedule=StepLR with no options: .*step_size"),
        ("recipe.schedule=OneCycleLR recipe.schedule_options.max_lr=3", "max_lr follows from the run"),
        ("recipe.schedule=ExponentialLR recipe.schedule_options.gamma=-1", "no number from 0 on"),
    ],
)
def test_what_is_refused_when_it_is_built(typed: str, says: str) -> None:
    given = run(*typed.split())
    with pytest.raises(ConfigError, match=says):
        Schedule(given, STEPS)
        optim.build(given, network())
