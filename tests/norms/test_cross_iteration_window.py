"""The window of cbn and cbn_naive: how it fills, what it holds, for each worker and in a copy."""

import copy

import numpy as np
import pytest
import torch
from convs import CONVS, double, image, layer, mean_of, move
from torch import nn

from normbench import norms
from normbench.config import ConfigError

# ------------------------------------------------------------ beside batch normalization


def test_a_window_of_one_batch_is_batch_normalization():
    conv = CONVS[0]
    ours, bn = layer(conv, window=1), layer(conv, "bn")
    for _ in range(3):
        x = image(conv).float()
        assert torch.allclose(ours(conv(x), x), bn(conv(x)), atol=1e-6)
    assert torch.allclose(ours.running_var, bn.running_var)
    assert ours.past_product.numel() == 0


def test_the_burn_in_is_batch_normalization_and_the_window_then_grows_to_k():
    conv = double(CONVS[0])
    ours, bn = layer(conv, window=3, burnin_epochs=0.5), layer(conv, "bn")
    ours.plan(sgd_batch=4, steps_per_epoch=4, epochs=10)
    for step in range(6):
        x = image(conv)
        share = ours._past(torch.zeros(4, dtype=torch.float64))[2]
        assert torch.allclose(share, torch.full_like(share, 1 / [1, 1, 1, 2, 3, 3][step]))
        assert torch.allclose(ours(conv(x), x), bn(conv(x)), atol=1e-12) == (step < 3)
    assert torch.allclose(ours.running_var, bn.running_var, atol=1e-12)


def test_the_burn_in_is_a_quarter_of_the_run_unless_given():
    norm = norms.build("cbn", CONVS[0])
    assert norm.burnin == 0
    norm.plan(sgd_batch=256, steps_per_epoch=5000, epochs=100)
    assert norm.burnin == 25 * 5000


@pytest.mark.parametrize("name", ["cbn", "cbn_naive"])
def test_unchanged_weights_and_one_batch_repeated_are_batch_normalization(name):
    conv = double(CONVS[2])
    ours, bn = layer(conv, name), layer(conv, "bn")
    x = image(conv)
    for _ in range(5):
        assert torch.allclose(ours(conv(x), x), bn(conv(x)), rtol=0, atol=1e-12)


# ------------------------------------------------------------ workers and state


@pytest.mark.parametrize("name", ["cbn", "cbn_naive"])
@pytest.mark.parametrize("conv", [CONVS[0], CONVS[2], CONVS[8]], ids=str)
def test_virtual_workers_equal_real_ones_each_with_its_window(name, conv):
    conv = double(conv)
    together, apart = layer(conv, name, workers=3), [layer(conv, name) for _ in range(3)]
    for _ in range(6):
        x = image(conv, 6)
        y = conv(x).detach().requires_grad_()
        out = together(y, x)
        grad = torch.randn_like(out)
        (dy,) = torch.autograd.grad(out, y, grad)
        for worker, norm in enumerate(apart):
            mine = conv(x[worker::3]).detach().requires_grad_()
            expected = norm(mine, x[worker::3])
            assert torch.allclose(out[worker::3], expected, rtol=0, atol=1e-12)
            assert torch.allclose(dy[worker::3], torch.autograd.grad(expected, mine, grad[worker::3])[0], atol=1e-12)
        move(conv, 0.1)
    assert torch.allclose(together.running_var, apart[0].running_var, rtol=0, atol=1e-14)


@pytest.mark.parametrize("copier", ["deepcopy", "state_dict"])
def test_a_copy_in_the_middle_goes_on_bitwise(copier):
    torch.manual_seed(3)
    conv = nn.Conv2d(3, 4, 3)
    model = nn.ModuleList([conv, layer(conv, workers=2, window=3)])
    batches = [torch.randn(4, 3, 6, 6) for _ in range(7)]

    def run(model, batches):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for x in batches:
            optimizer.zero_grad()
            model[1](model[0](x), x).square().mean().backward()
            optimizer.step()
        return model

    run(model, batches[:4])
    if copier == "deepcopy":
        other = copy.deepcopy(model)
    else:
        conv = nn.Conv2d(3, 4, 3)
        other = nn.ModuleList([conv, norms.build("cbn", conv, workers=2, window=3)])
        other.load_state_dict(model.state_dict())
    for (name, a), b in zip(
        run(model, batches[4:]).state_dict().items(), run(other, batches[4:]).state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("conv", CONVS, ids=str)
def test_the_window_remembers_what_the_formula_says_and_no_weights(conv):
    norm = norms.build("cbn", conv, workers=2, window=4)
    remembered = sum(getattr(norm, name).numel() for name in norm.histories)
    kernel = getattr(conv, "kernel_size", ())
    inputs = conv.in_channels if kernel else conv.in_features
    each = conv.weight.numel() + inputs * int(np.prod(kernel)) + 2 * norm.channels
    assert remembered == 2 * 3 * each
    assert not any(name.endswith("weight") and name != "weight" for name in norm.state_dict())


def test_under_autocast_the_window_is_kept_in_single_precision():
    conv = nn.Conv2d(3, 4, 3)
    norm, plain = layer(conv), layer(conv)
    for _ in range(3):
        x = torch.randn(4, 3, 6, 6)
        with torch.autocast("cpu", torch.bfloat16):
            y = conv(x)
            out = norm(y, x)
        assert out.dtype == torch.bfloat16
        assert torch.allclose(out.float(), plain(y.float(), x), atol=0.05)
        assert torch.equal(norm.past_mean, plain.past_mean)


def test_measuring_leaves_the_window_alone():
    conv = nn.Conv2d(3, 4, 3)
    norm = layer(conv)
    x = torch.randn(4, 3, 6, 6)
    norm(conv(x), x)
    before = {name: value.clone() for name, value in norm.state_dict().items() if not name.startswith("running")}
    norm.start_measuring()
    norm(conv(x), x)
    norm.finish_measuring()
    assert all(torch.equal(norm.state_dict()[name], value) for name, value in before.items())
    assert torch.allclose(norm.running_mean, mean_of(conv(x)), atol=1e-6)


# ------------------------------------------------------------ options


def test_evaluation_uses_running_statistics_with_eps_where_the_option_has_it():
    conv = nn.Conv2d(3, 4, 3)
    x = torch.randn(4, 3, 6, 6)
    for eps_inside in (True, False):
        norm = layer(conv, eps=0.1, eps_inside=eps_inside)
        norm(conv(x), x)
        norm.eval()
        std = (norm.running_var + 0.1).sqrt() if eps_inside else norm.running_var.sqrt() + 0.1
        scale, mean, shift = (v.view(1, -1, 1, 1) for v in (norm.weight / std, norm.running_mean, norm.bias))
        assert torch.allclose(norm(conv(x), x), (conv(x) - mean) * scale + shift, atol=1e-5)


@pytest.mark.parametrize("name, options, says", [
    ("cbn", {"window": 0}, "window=0"), ("cbn", {"negative": "clip"}, "negative=clip"),
    ("cbn_naive", {"window": -1}, "window=-1"),
])  # fmt: skip
def test_says_what_is_wrong(name, options, says):
    with pytest.raises(ConfigError, match=says):
        norms.build(name, nn.Conv2d(3, 4, 3), **options)
