"""lrn: torch's layer, AlexNet's constants, and the hand-derived backward pass."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from normbench import norms
from normbench.config import ConfigError
from normbench.kernels.values import per_channel, statistics_dtype


def lrn_formula(y: Tensor, bias: Tensor | None, relu: bool, size: int, slope: float, power: float, k: float) -> Tensor:
    """The plain formula: the reference of the hand-derived one, and twice as slow."""
    a = y.to(statistics_dtype(y)) if bias is None else y.to(statistics_dtype(y)) + per_channel(bias, y)
    a = a.relu() if relu else a
    squares = nn.functional.pad(a * a, [0, 0] * (a.dim() - 2) + [size // 2, (size - 1) // 2])
    window = torch.stack([squares.narrow(1, start, a.shape[1]) for start in range(size)]).sum(0)
    return (a * (k + slope * window).pow(-power)).to(y.dtype)


def layer(relu: bool = False, channels: int = 7, bias: bool = False, **options: Any) -> Any:
    torch.manual_seed(3)
    return norms.build("lrn", nn.Conv2d(2, channels, 3, bias=bias).double(), relu=relu, **options)


def maps(*shape: int) -> Tensor:
    return 3 * torch.randn(*(shape or (2, 7, 4, 3)), dtype=torch.float64)


@pytest.mark.parametrize("size", [1, 2, 4, 5, 20])
def test_it_is_torchs_layer(size: int) -> None:
    y = maps()
    reference = nn.LocalResponseNorm(size, alpha=0.3, beta=0.6, k=1.5)
    torch.testing.assert_close(layer(size=size, alpha=0.3, beta=0.6, k=1.5)(y), reference(y), rtol=0, atol=1e-12)


def test_alexnet_is_the_papers_formula_behind_the_relu() -> None:
    """Krizhevsky et al. 2012, section 3.3: k = 2, n = 5, alpha = 1e-4, beta = 0.75, sums over the rectified neighbours."""
    y = 100 * maps()
    a = np.maximum(y.numpy(), 0)
    expected = np.empty_like(a)
    for c in range(7):
        total = (a[:, max(0, c - 2) : min(6, c + 2) + 1] ** 2).sum(1)
        expected[:, c] = a[:, c] / (2 + 1e-4 * total) ** 0.75
    np.testing.assert_allclose(layer(relu=True, alexnet=True)(y).detach().numpy(), expected, rtol=0, atol=1e-12)


def test_a_bias_stands_before_it_where_the_conv_has_none() -> None:
    norm, y = layer(), maps()
    nn.init.normal_(norm.bias)
    torch.testing.assert_close(norm(y), nn.LocalResponseNorm(5)(y + norm.bias.view(-1, 1, 1)), rtol=0, atol=1e-12)
    assert layer(bias=True).bias is None
    assert layer().weight is None


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("shape", [(2, 7, 4, 3), (3, 7), (2, 7, 4)])
@pytest.mark.parametrize("size, beta", [(5, 0.75), (4, 0.5), (9, 0.75)])
def test_the_hand_derived_pass_is_the_plain_formula(shape: tuple[int, ...], size: int, beta: float, relu: bool) -> None:
    norm, y = layer(relu, size=size, alpha=0.7, beta=beta), maps(*shape).requires_grad_()
    nn.init.normal_(norm.bias)
    out, plain = norm(y), lrn_formula(y, norm.bias, relu, size, 0.7 / size, beta, 1.0)
    torch.testing.assert_close(out, plain, rtol=0, atol=1e-12)
    seed = torch.randn_like(out)
    pairs = zip(*(torch.autograd.grad(o, [y, norm.bias], seed) for o in (out, plain)), strict=True)
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("options", [{"size": 0}, {"k": 0.0}, {"alpha": -1.0}])
def test_constants_that_could_divide_by_zero_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="size >= 1"):
        layer(**options)
