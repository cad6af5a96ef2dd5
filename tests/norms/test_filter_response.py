"""frn: the paper's formula, its invariance, its epsilon, and the hand-derived backward pass."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from normbench import norms
from normbench.config import ConfigError
from normbench.kernels.values import per_channel, statistics_dtype


def frn_formula(y: Tensor, gamma: Tensor, beta: Tensor, tau: Tensor | None, eps: float | Tensor) -> Tensor:
    """The plain formula: the reference of the hand-derived one, and three times as slow."""
    x = y.to(statistics_dtype(y))
    positions = list(range(2, y.dim()))
    squares = (x * x).mean(positions, keepdim=True) if positions else x * x
    out = per_channel(gamma, x) * x * (squares + eps).rsqrt() + per_channel(beta, x)
    return (out if tau is None else torch.maximum(out, per_channel(tau, x))).to(y.dtype)


def layer(relu: bool = True, channels: int = 3, **options: Any) -> norms.Norm:
    torch.manual_seed(1)
    built = norms.build("frn", nn.Conv2d(2, channels, 3).double(), relu=relu, **options)
    with torch.no_grad():
        for name, p in built.named_parameters():
            if name != "eps_l":
                p.normal_()
    return built


def literal(y: np.ndarray[Any, Any], norm: Any, eps: float) -> np.ndarray[Any, Any]:
    """Singh & Krishnan 2019, eq. 1 to 4, image by image and channel by channel."""
    gamma, beta = norm.weight.detach().numpy(), norm.bias.detach().numpy()
    out = np.empty_like(y)
    for i, c in np.ndindex(y.shape[:2]):
        nu2 = (y[i, c] ** 2).sum() / y[i, c].size
        out[i, c] = gamma[c] * y[i, c] / np.sqrt(nu2 + eps) + beta[c]
        if norm.tau is not None:
            out[i, c] = np.maximum(out[i, c], norm.tau.detach().numpy()[c])
    return out


@pytest.mark.parametrize("relu", [True, False])
def test_the_papers_formula(relu: bool) -> None:
    norm, y = layer(relu), torch.randn(4, 3, 5, 6, dtype=torch.float64)
    np.testing.assert_allclose(norm(y).detach().numpy(), literal(y.numpy(), norm, 1e-6), rtol=0, atol=1e-12)


def test_tlu_stands_only_where_a_relu_stood() -> None:
    assert layer(relu=True).tau is not None
    assert layer(relu=False).tau is None


def test_output_does_not_change_with_a_positive_rescale_of_the_input() -> None:
    norm, y = layer(eps=1e-30), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(norm(y), norm(7.5 * y), rtol=0, atol=1e-12)


@pytest.mark.parametrize("learn_eps, on_maps, on_points", [("auto", 0.0, 1e-4), (True, 1e-4, 1e-4), (False, 0.0, 0.0)])
def test_which_epsilon_is_learned(learn_eps: str | bool, on_maps: float, on_points: float) -> None:
    norm = layer(learn_eps=learn_eps)
    for size, extra in ((4, on_maps), (1, on_points)):
        y = torch.randn(2, 3, size, size, dtype=torch.float64) / 100
        np.testing.assert_allclose(norm(y).detach().numpy(), literal(y.numpy(), norm, 1e-6 + extra), rtol=0, atol=1e-12)
    flat = torch.randn(2, 3, dtype=torch.float64)
    torch.testing.assert_close(norm(flat), norm(flat[:, :, None, None]).flatten(1))


def test_an_unknown_learn_eps_is_refused() -> None:
    with pytest.raises(ConfigError, match="learn_eps=yes"):
        layer(learn_eps="yes")


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (4, 3), (2, 3, 7)])
def test_the_hand_derived_pass_is_the_plain_formula(relu: bool, shape: tuple[int, ...]) -> None:
    norm = layer(relu, learn_eps=True)
    y = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    out, plain = norm(y), frn_formula(y, norm.weight, norm.bias, norm.tau, 1e-6 + norm.eps_l.abs())
    assert_same(out, plain, [y, *norm.parameters()])


def assert_same(out: Tensor, plain: Tensor, inputs: list[Tensor]) -> None:
    torch.testing.assert_close(out, plain, rtol=0, atol=1e-12)
    seed = torch.randn_like(out)
    for found, expected in zip(
        torch.autograd.grad(out, inputs, seed), torch.autograd.grad(plain, inputs, seed), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_squares_of_half_precision_do_not_overflow() -> None:
    """|x| = 300 has a square beyond fp16; timm's layer gives zeros there."""
    norm = norms.build("frn", nn.Conv2d(2, 3, 1), relu=False)
    y = 300 * torch.randn(2, 3, 8, 8).sign()
    torch.testing.assert_close(norm(y.half()), y.sign().half())
