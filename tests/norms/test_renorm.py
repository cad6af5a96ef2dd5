"""Batch Renormalization, against its Algorithm 1."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from normbench import norms
from normbench.config import ConfigError


def layer(**options: object) -> norms.Norm:
    """A float64 layer of 4 channels with some gamma and beta."""
    norm = norms.build("brn", nn.Conv2d(3, 4, 1), **options).double()
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 1.5, 4))
        norm.bias.copy_(torch.linspace(-1, 1, 4))
    return norm


def opened(**options: object) -> norms.Norm:
    """A layer whose bounds are fully open from the second step on."""
    norm = layer(bn_epochs=0, rmax_epochs=1, dmax_epochs=1, **options)
    norm.plan(sgd_batch=6, steps_per_epoch=1, epochs=10)
    return norm


def images(step: int, batch: int = 6) -> Tensor:
    """Images whose mean and spread move from step to step."""
    generator = torch.Generator().manual_seed(step)
    return torch.randn(batch, 4, 3, 2, generator=generator, dtype=torch.float64) * (1 + step) + step


@pytest.mark.parametrize("warm", [False, True])
def test_equals_algorithm_1_in_numpy(warm: bool) -> None:
    rmax, dmax, alpha = 1.5, 0.4, 0.1
    norm = opened(rmax=rmax, dmax=dmax, momentum=alpha, warm_average=warm)
    mu, sigma = np.zeros(4), np.ones(4)
    clipped = inside = 0
    for step in range(6):
        x = images(step % 3)
        values = x.transpose(0, 1).flatten(1).numpy()
        mu_b = values.mean(1)
        sigma_b = np.sqrt(1e-5 + ((values - mu_b[:, None]) ** 2).mean(1))
        r_top, d_top = (rmax, dmax) if step else (1.0, 0.0)
        r, d = np.clip(sigma_b / sigma, 1 / r_top, r_top), np.clip((mu_b - mu) / sigma, -d_top, d_top)
        clipped += int((np.abs(d) == d_top).sum())
        inside += int((np.abs(d) < d_top).sum())
        z = (values - mu_b[:, None]) / sigma_b[:, None] * r[:, None] + d[:, None]
        gamma, beta = (p.detach().numpy()[:, None] for p in (norm.weight, norm.bias))
        out = norm(x).transpose(0, 1).flatten(1).detach().numpy()
        assert np.allclose(out, gamma * z + beta, rtol=0, atol=1e-12)
        part = max(alpha, 1 / (step + 1)) if warm else alpha
        mu, sigma = mu + part * (mu_b - mu), sigma + part * (sigma_b - sigma)
    assert clipped, "no d met its bound"
    assert inside, "every d met its bound"
    norm.eval()
    x = images(9)
    expected = gamma * (x.transpose(0, 1).flatten(1).numpy() - mu[:, None]) / sigma[:, None] + beta
    assert np.allclose(norm(x).transpose(0, 1).flatten(1).detach().numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_gradient_takes_r_and_d_for_constants(workers: int) -> None:
    norm = opened(workers=workers)
    norm(images(0))
    x = images(1).requires_grad_()
    plain = []
    for worker in range(workers):
        mine = x[worker::workers]
        mean, var = mine.mean((0, 2, 3)), mine.var((0, 2, 3), correction=0)
        std = (var + norm.eps).sqrt()
        r = (std / norm.moving_std[worker]).clamp(1 / 3, 3).detach()
        d = ((mean - norm.moving_mean[worker]) / norm.moving_std[worker]).clamp(-5, 5).detach()
        z = (mine - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1) * r.view(1, -1, 1, 1) + d.view(1, -1, 1, 1)
        plain.append(z * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1))
    expected = torch.stack(plain, 1).flatten(0, 1)
    out = norm(x)
    assert torch.allclose(out, expected, rtol=0, atol=1e-12)
    grad = images(5)
    inputs = (x, norm.weight, norm.bias)
    for ours, theirs in zip(
        torch.autograd.grad(out, inputs, grad), torch.autograd.grad(expected, inputs, grad), strict=True
    ):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-11)


def test_rmax_1_and_dmax_0_is_batch_normalization() -> None:
    ours, bn = layer(rmax=1.0, dmax=0.0), norms.build("bn", nn.Conv2d(3, 4, 1)).double()
    bn.load_state_dict({"weight": ours.weight, "bias": ours.bias}, strict=False)
    for step in range(3):
        xs = [images(step).requires_grad_() for _ in range(2)]
        outs = [norm(x) for norm, x in zip((ours, bn), xs, strict=True)]
        assert torch.allclose(*outs, rtol=0, atol=1e-12)
        for out in outs:
            out.backward(images(7))
        assert torch.allclose(xs[0].grad, xs[1].grad, rtol=0, atol=1e-12)


def test_the_schedule_is_the_papers_in_shares_of_the_run() -> None:
    norm = layer()
    assert norm.ramps == (5_000, 40_000, 25_000)
    norm.plan(sgd_batch=1600, steps_per_epoch=800, epochs=200)
    assert norm.ramps == (5_000, 40_000, 25_000)
    norm.plan(sgd_batch=64, steps_per_epoch=100, epochs=16)
    assert norm.ramps == (50, 400, 250)
    for step, rmax, dmax in (
        (0, 1, 0),
        (50, 1, 0),
        (225, 2, 4.375),
        (250, 1 + 2 * 200 / 350, 5),
        (400, 3, 5),
        (999, 3, 5),
    ):
        norm.steps.fill_(step)
        assert [round(float(bound), 9) for bound in norm.bounds()] == [round(rmax, 9), dmax]


def test_epochs_may_be_given() -> None:
    norm = layer(bn_epochs=1, rmax_epochs=3)
    norm.plan(sgd_batch=64, steps_per_epoch=10, epochs=32)
    assert norm.ramps == (10, 30, 50)


def test_every_worker_renormalizes_by_its_own_history() -> None:
    together, apart = opened(workers=3), [opened() for _ in range(3)]
    for step in range(4):
        x = images(step)
        out = together(x)
        for worker, norm in enumerate(apart):
            assert torch.allclose(out[worker::3], norm(x[worker::3]), rtol=0, atol=1e-12)
    assert torch.allclose(together.moving_std, torch.cat([norm.moving_std for norm in apart]), rtol=0, atol=1e-14)
    assert torch.allclose(together.running_mean, apart[0].running_mean, rtol=0, atol=1e-14)


def test_measuring_changes_what_evaluation_uses_and_nothing_of_training() -> None:
    norm = opened()
    norm(images(0))
    other = copy.deepcopy(norm)
    norm.start_measuring()
    norm(images(1))
    norm.finish_measuring()
    assert not torch.equal(norm.running_mean, other.running_mean)
    assert torch.equal(norm(images(2)), other(images(2)))
    assert torch.equal(norm.running_mean, other.running_mean)


def test_compiles_to_the_same_gradient_although_forward_changes_its_history() -> None:
    """With the partitioner that recomputes in backward what is cheap, as inductor does."""
    torch._dynamo.reset()
    eager = opened(workers=2)
    compiled = copy.deepcopy(eager)
    call = torch.compile(compiled, fullgraph=True, backend="aot_eager_decomp_partition")
    for step in range(4):
        xs = [images(step).requires_grad_() for _ in range(2)]
        for norm, x in zip((eager, call), xs, strict=True):
            norm(x).backward(images(7))
        assert torch.allclose(xs[0].grad, xs[1].grad, rtol=0, atol=1e-10)
    assert torch.allclose(eager.moving_std, compiled.moving_std, rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", [{"rmax": 0.5}, {"dmax": -1.0}, {"bn_epochs": 9.0, "rmax_epochs": 3.0}], ids=str)
def test_says_what_is_wrong(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="rmax"):
        layer(**options).plan(sgd_batch=64, steps_per_epoch=10, epochs=20)


def test_a_single_value_per_channel_is_an_error() -> None:
    with pytest.raises(ConfigError, match="two values"):
        layer(workers=2)(torch.randn(2, 4, 1, 1).double())
