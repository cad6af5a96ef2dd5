"""What a probe says of a window: what the weights did to a past batch, what of it is carried."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import normbench
from normbench import norms, records
from normbench.norms import Norm
from normbench.train.window import EPS, Window

WORKERS, EVERY = 2, 4


def layer_of(conv: nn.Module, **options: Any) -> Norm:
    return norms.build("cbn", conv, workers=WORKERS, **options).train()


def drawn(conv: nn.Module) -> Tensor:
    return torch.randn(6, 3) if isinstance(conv, nn.Linear) else torch.randn(6, 3, 5, 5)


def trained(conv: Any, layer: Norm, steps: int) -> tuple[list[dict[str, Any]], list[Tensor], list[Tensor]]:
    """The lines of some steps in which the weights move at random, worker 0's inputs, weights."""
    window, lines, inputs, weights = Window(layer, conv, EVERY), [], [], []
    for step in range(1, steps + 1):
        x = drawn(conv).to(conv.weight)
        inputs.append(x[::WORKERS])
        weights.append(conv.weight.detach().clone())
        if window.wants(step):
            lines.append(window.look(step, x))
        layer(conv(x), x)
        with torch.no_grad():
            conv.weight.add_(0.1 * torch.randn_like(conv.weight))
    return [line for line in lines if line], inputs, weights


def patches_of(conv: Any, x: Tensor) -> Tensor:
    """Every patch of the input as a row."""
    return x if isinstance(conv, nn.Linear) else F.unfold(x, 3, padding=1).transpose(1, 2).flatten(0, 1)


def rms(found: list[Tensor]) -> float:
    return float(torch.stack(found).square().mean().sqrt())


@pytest.mark.parametrize("kind", ["conv", "linear"])
def test_a_line_is_what_the_patches_of_the_past_batches_say(kind: str) -> None:
    """By the patches themselves: y = theta p, and what the first order leaves of E[y^2] is
    E[<theta_now - theta_then, p>^2].
    """
    torch.manual_seed(0)
    conv = (nn.Linear(3, 7, bias=False) if kind == "linear" else nn.Conv2d(3, 7, 3, padding=1, bias=False)).double()
    lines, inputs, weights = trained(conv, layer_of(conv, window=4), 8)
    assert [line["past_batches"] for line in lines] == [3, 3]
    now, past = 7, [6, 5, 4]  # of the line of step 8
    theta = [weight.flatten(1) for weight in weights]
    of = [patches_of(conv, x) for x in inputs]
    present = of[now] @ theta[now].T
    sigma = (present.var(0, correction=0) + EPS).sqrt()
    true = [of[i] @ theta[now].T for i in past]
    then = [of[i] @ theta[i].T for i in past]
    left = [(of[i] @ (theta[now] - theta[i]).T).square().mean(0) for i in past]
    expected = {
        "past_batches": 3,
        "moved_mean": rms([(a.mean(0) - b.mean(0)) / sigma for a, b in zip(true, then, strict=True)]),
        "missed_mean": 0.0,
        "apart_mean": rms([(present.mean(0) - a.mean(0)) / sigma for a in true]),
        "moved_square": rms(
            [(a.square().mean(0) - b.square().mean(0)) / sigma**2 for a, b in zip(true, then, strict=True)]
        ),
        "missed_square": rms([less / sigma**2 for less in left]),
        "apart_square": rms([(present.square().mean(0) - a.square().mean(0)) / sigma**2 for a in true]),
    }
    assert lines[1] == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert 0.05 < lines[1]["missed_square"] / lines[1]["moved_square"] < 1  # neither is nothing


def test_without_compensation_all_that_moved_is_missed() -> None:
    torch.manual_seed(1)
    conv = nn.Conv2d(3, 4, 3, padding=1, bias=False).double()
    lines, _, _ = trained(conv, layer_of(conv, rho=0.0), 4)
    assert lines[0]["missed_mean"] == pytest.approx(lines[0]["moved_mean"], rel=1e-9)
    assert lines[0]["missed_square"] == pytest.approx(lines[0]["moved_square"], rel=1e-9)


def test_a_window_longer_than_the_steps_between_lines_reaches_across_them() -> None:
    torch.manual_seed(2)
    conv = nn.Conv2d(3, 4, 3, padding=1, bias=False).double()
    lines, _, _ = trained(conv, layer_of(conv, window=8), 12)
    assert [line["past_batches"] for line in lines] == [3, 7, 7]
    assert lines[1]["missed_mean"] == pytest.approx(0, abs=1e-12) != lines[1]["moved_mean"]


def test_only_the_steps_that_a_line_needs_are_looked_at_and_none_of_a_norm_without_a_window() -> None:
    conv = nn.Conv2d(3, 4, 3)
    window = Window(layer_of(conv, window=3), conv, every=10)
    assert [step for step in range(1, 31) if window.wants(step)] == [8, 9, 10, 18, 19, 20, 28, 29, 30]
    for norm in (layer_of(conv, window=1), norms.build("cbn_naive", conv), norms.build("bn", conv)):
        assert not any(Window(norm, conv, every=2).wants(step) for step in range(1, 9))


def test_what_a_checkpoint_lies_between_is_no_part_of_a_line(tiny: list[str]) -> None:
    """8 steps an epoch, checkpoints after the 3rd and the 6th, a line every 2, a window of 4."""
    run = normbench.run([*tiny, "norm=cbn", "checkpoint_steps=3", "probe.layer=layer2.0.bn1", "probe.every=2"])
    lines = records.read_probes(run.path)
    assert [line["past_batches"] for line in lines] == 3 * [1, 0, 2, 1]
    assert lines[1]["moved_mean"] is None
    moved = [line["moved_mean"] for line in lines if line["past_batches"]]
    assert moved[0] == 0  # the warm-up's first step has a rate of 0
    assert all(0 < value < 1 for value in moved[1:])
    assert all(line["missed_mean"] < 1e-5 for line in lines if line["past_batches"])


def test_a_frozen_layer_has_no_window(tiny: list[str]) -> None:
    run = normbench.run([*tiny, "norm=cbn", "recipe.freeze_from=0.5", "probe.layer=last", "probe.every=4"])
    assert ["past_batches" in line for line in records.read_probes(run.path)] == [True] * 4 + [False] * 2
