"""evonorm_s0, evonorm_b0: the papers' formulas, what they are without a ReLU, and the hand-derived backward passes."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from normbench import norms
from normbench.kernels.values import per_channel, statistics_dtype


def evonorm_s0_formula(y: Tensor, gamma: Tensor, beta: Tensor, v: Tensor, groups: int, eps: float) -> Tensor:
    """The plain formula: the reference of the hand-derived one, and three times as slow."""
    x = y.to(statistics_dtype(y))
    var = x.reshape(len(x), groups, -1).var(2, correction=0).repeat_interleave(x.shape[1] // groups, 1)
    inverse = (var + eps).rsqrt().view(*x.shape[:2], *[1] * (x.dim() - 2))
    return (per_channel(gamma, x) * x * (per_channel(v, x) * x).sigmoid() * inverse + per_channel(beta, x)).to(y.dtype)


def evonorm_b0_formula(y: Tensor, gamma: Tensor, beta: Tensor, v: Tensor, own: Tensor, batch: Tensor) -> Tensor:
    """The plain formula, given both standard deviations (N, C): the reference of the hand-derived one."""
    x = y.to(statistics_dtype(y))
    own, batch = (sd.view(*sd.shape, *[1] * (x.dim() - 2)) for sd in (own, batch))
    out = x / torch.maximum(batch, per_channel(v, x) * x + own)
    return (out * per_channel(gamma, x) + per_channel(beta, x)).to(y.dtype)


Array = np.ndarray[Any, Any]


def layer(name: str, relu: bool = True, channels: int = 8, **options: Any) -> Any:
    torch.manual_seed(2)
    built = norms.build(name, nn.Conv2d(2, channels, 3).double(), relu=relu, **options)
    with torch.no_grad():
        for p in built.parameters():
            p.normal_()
    return built


def maps(*shape: int) -> Tensor:
    return torch.randn(*(shape or (4, 8, 5, 3)), dtype=torch.float64, requires_grad=True)


def parameters(norm: Any) -> list[Array]:
    return [p.detach().numpy()[:, None, None] for p in (norm.weight, norm.bias, norm.v)]


def test_s0_is_the_papers_formula() -> None:
    norm, y = layer("evonorm_s0", groups=4), maps()
    gamma, beta, v = parameters(norm)
    expected = np.empty(y.shape)
    for i, x in enumerate(y.detach().numpy()):
        var = [((x[c : c + 2] - x[c : c + 2].mean()) ** 2).mean() for c in range(0, 8, 2)]
        sd = np.sqrt(np.repeat(var, 2) + 1e-5)[:, None, None]
        expected[i] = x / (1 + np.exp(-v * x)) / sd * gamma + beta
    np.testing.assert_allclose(norm(y).detach().numpy(), expected, rtol=0, atol=1e-12)


def b0(x: Array, norm: Any, batch_var: Array) -> Array:
    gamma, beta, v = parameters(norm)
    own = np.array([[((c - c.mean()) ** 2).mean() for c in image] for image in x])[..., None, None]
    batch = np.sqrt(batch_var + 1e-5)[:, None, None]
    return x / np.maximum(batch, v * x + np.sqrt(own + 1e-5)) * gamma + beta


def test_b0_is_the_papers_formula_in_training_and_evaluation() -> None:
    norm, y = layer("evonorm_b0"), maps()
    x = y.detach().numpy()
    var = np.array([((x[:, c] - x[:, c].mean()) ** 2).mean() for c in range(8)])
    np.testing.assert_allclose(norm(y).detach().numpy(), b0(x, norm, var), rtol=0, atol=1e-12)
    values = x[:, 0].size
    running = 0.9 + 0.1 * var * values / (values - 1)
    np.testing.assert_allclose(norm.running_var.numpy(), running, rtol=0, atol=1e-12)
    np.testing.assert_allclose(norm.eval()(y).detach().numpy(), b0(x, norm, running), rtol=0, atol=1e-12)


def test_b0_normalizes_each_worker_by_its_own_images() -> None:
    norm, y = layer("evonorm_b0", workers=2), maps()
    x = y.detach().numpy()
    out = norm(y).detach().numpy()
    for worker in range(2):
        own = x[worker::2]
        var = np.array([((own[:, c] - own[:, c].mean()) ** 2).mean() for c in range(8)])
        np.testing.assert_allclose(out[worker::2], b0(own, norm, var), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["evonorm_s0", "evonorm_b0"])
def test_without_a_relu_it_is_affine(name: str) -> None:
    norm, y = layer(name, relu=False), maps()
    torch.testing.assert_close(norm(y), y * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1))
    assert norm.v is None


def test_b0_without_a_relu_can_be_measured_and_keeps_its_statistics() -> None:
    norm = layer("evonorm_b0", relu=False)
    norm.start_measuring()
    norm(maps())
    norm.finish_measuring()
    assert norm.running_var.eq(1).all()


@pytest.mark.parametrize("v", [None, 0.0, 1e-9])
@pytest.mark.parametrize("shape", [(4, 8, 5, 3), (4, 8), (3, 8, 1, 1)])
def test_the_hand_derived_s0_is_the_plain_formula(shape: tuple[int, ...], v: float | None) -> None:
    norm, y = layer("evonorm_s0", groups=2), maps(*shape)
    if v is not None:
        nn.init.constant_(norm.v, v)
    plain = evonorm_s0_formula(y, norm.weight, norm.bias, norm.v, 2, 1e-5)
    assert_same(norm(y), plain, [y, *norm.parameters()])


@pytest.mark.parametrize("shape", [(4, 8, 5, 3), (4, 8)])
def test_the_hand_derived_b0_is_the_plain_formula(shape: tuple[int, ...]) -> None:
    norm, y = layer("evonorm_b0"), maps(*shape)
    own = y.var(list(range(2, y.dim())), correction=0) if y.dim() > 2 else torch.zeros_like(y)
    batch = y.var([0, *range(2, y.dim())], correction=0).expand_as(own)
    plain = evonorm_b0_formula(y, norm.weight, norm.bias, norm.v, (own + 1e-5).sqrt(), (batch + 1e-5).sqrt())
    assert_same(norm(y), plain, [y, *norm.parameters()])


def assert_same(out: Tensor, plain: Tensor, inputs: list[Tensor]) -> None:
    torch.testing.assert_close(out, plain, rtol=0, atol=1e-11)
    seed = torch.randn_like(out)
    pairs = zip(torch.autograd.grad(out, inputs, seed), torch.autograd.grad(plain, inputs, seed), strict=True)
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)
