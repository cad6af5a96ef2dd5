"""Switchable normalization: the paper's mixture, its one-hot cases, its behaviour where there is little to average."""

from functools import partial

import numpy as np
import pytest
import torch
from reference import affine, normalized
from torch import Tensor, nn

from normbench import norms
from normbench.norms.switchable import SwitchableNorm
from normbench.testing import check_norm

N, C, SIDE = 4, 6, 5


def build(name: str = "sn", workers: int = 1, **options: object) -> norms.Norm:
    norm = norms.build(name, nn.Conv2d(3, C, 1).double(), workers=workers, **options).double()
    assert norm.weight is not None
    assert norm.bias is not None
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 1.5, C))
        norm.bias.copy_(torch.linspace(-1, 1, C))
    return norm


def images(n: int = N, step: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    scale = torch.rand(n, C, 1, 1, generator=generator, dtype=torch.float64) + 0.5
    return torch.randn(n, C, SIDE, SIDE, generator=generator, dtype=torch.float64) * scale + 2 * scale


def softmax(v: Tensor) -> np.ndarray:
    e = np.exp(v.detach().numpy())
    return e / e.sum()


def paper(y: np.ndarray, norm: SwitchableNorm, x: np.ndarray) -> np.ndarray:
    """Eq. 3 and 5: every statistic taken value by value."""
    p, q = softmax(norm.mean_weight), softmax(norm.var_weight)
    out = np.empty_like(y)
    for i in range(y.shape[0]):
        for c in range(y.shape[1]):
            sets = (y[i, c], y[i], y[:, c])[: len(p)]
            mu = [s.sum() / s.size for s in sets]
            var = [((s - m) ** 2).sum() / s.size for s, m in zip(sets, mu, strict=True)]
            out[i, c] = (y[i, c] - np.dot(p, mu)) / np.sqrt(np.dot(q, var) + norm.eps)
    return affine(out, norm)


@pytest.mark.parametrize("using_bn", [True, False])
def test_the_papers_formula(using_bn: bool) -> None:
    report = check_norm(partial(norms.build, "sn", using_bn=using_bn), reference=paper, only=["formula"])
    assert report.ok, f"\n{report}"


@pytest.mark.parametrize(("component", "other"), [(0, "in"), (1, "ln"), (2, "bn")])
@pytest.mark.parametrize("mode", [True, False])
def test_one_hot_weights_are_the_component(component: int, other: str, mode: bool) -> None:
    norm, twin = build(), build(other)
    assert isinstance(norm, SwitchableNorm)
    with torch.no_grad():
        norm.mean_weight[component] = norm.var_weight[component] = 800.0
    outs = []
    for layer in (norm, twin):
        for buffer in layer.buffers():  # BN's running variance is the unbiased one, SN's not
            buffer.fill_(1.5)
        y = images().requires_grad_()
        out = layer.train(mode)(y)
        out.backward(images(step=1))
        outs.append((out, y.grad, layer.weight.grad, layer.bias.grad))
    for a, b in zip(*outs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


def test_running_statistics_average_each_batchs_biased_ones() -> None:
    norm = build(momentum=0.3)
    mean, var = np.zeros(C), np.ones(C)
    for step in range(3):
        y = images(step=step)
        norm(y)
        values = y.numpy().transpose(1, 0, 2, 3).reshape(C, -1)
        mean = 0.7 * mean + 0.3 * values.mean(1)
        var = 0.7 * var + 0.3 * ((values - values.mean(1, keepdims=True)) ** 2).mean(1)
    np.testing.assert_allclose(norm.running_mean.numpy(), mean, atol=1e-12)
    np.testing.assert_allclose(norm.running_var.numpy(), var, atol=1e-12)


def test_without_bn_an_image_stands_alone() -> None:
    norm = build(using_bn=False)
    y = images()
    torch.testing.assert_close(norm(y)[:1], norm(y[:1]), rtol=0, atol=1e-12)
    torch.testing.assert_close(norm.train()(y), norm.eval()(y), rtol=0, atol=1e-12)


def test_it_is_finite_on_a_1x1_map_with_one_image() -> None:
    """Public code divides by H W - 1 there."""
    norm = build()
    y = images()[:1, :, :1, :1].requires_grad_()
    out = norm(y)
    (grad,) = torch.autograd.grad(out.square().sum(), [y])
    assert out.isfinite().all()
    assert grad.isfinite().all()
    ln = normalized(
        y.detach().numpy(), norm.eps
    )  # IN and BN see a single value; the mixture is a third of LN's statistics
    assert np.sign(ln).tolist() == np.sign((out - norm.bias.view(1, -1, 1, 1)).detach().numpy()).tolist()
