"""Moments of rows and their scale and shift: the plain formulas, whatever the layout."""

import pytest
import torch
from torch import Tensor

from normbench.kernels.rows import pool, row_affine, row_moments

N, C, SIDE = 3, 4, 5


def images(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(N, C, SIDE, SIDE, generator=torch.Generator().manual_seed(0), dtype=dtype) * 2 + 1


def vectors(count: int, pieces: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(N, pieces, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(count)]


def both(out: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return [out.detach(), *torch.autograd.grad((out * weights).sum(), inputs, retain_graph=True)]


@pytest.mark.parametrize("pieces", [C, 2, 2 * SIDE])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_moments_are_mean_and_mean_squared_deviation_with_their_gradients(
    pieces: int, layout: torch.memory_format
) -> None:
    x = images().to(memory_format=layout).requires_grad_()
    rows = x.reshape(N, pieces, -1)
    mean = rows.mean(2)
    var = (rows - mean[..., None]).square().mean(2)
    for got, wanted in zip(row_moments(x, pieces), (mean, var), strict=True):
        for a, b in zip(both(got, [x]), both(wanted, [x]), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("pieces", [C, 2, 2 * SIDE])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_scale_and_shift_of_rows_with_all_four_gradients(pieces: int, layout: torch.memory_format) -> None:
    x = images().to(memory_format=layout).requires_grad_()
    given = vectors(3, pieces)
    centre, scale, shift = (v[..., None] for v in given)
    plain = ((x.reshape(N, pieces, -1) - centre) * scale + shift).view(x.shape)
    for a, b in zip(both(row_affine(x, *given), [x, *given]), both(plain, [x, *given]), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    assert row_affine(x, *given).is_contiguous(memory_format=layout)


def test_second_hand_moments_are_those_of_all_values() -> None:
    x = images()
    mean, var = pool(*row_moments(x, C), 0, 1)
    torch.testing.assert_close(mean.squeeze(), x.mean(), rtol=0, atol=1e-12)
    torch.testing.assert_close(var.squeeze(), x.var(correction=0), rtol=0, atol=1e-12)


def test_a_constant_row_has_variance_zero_and_finite_gradients() -> None:
    x = torch.full((N, C, SIDE), 3.0, requires_grad=True)
    mean, var = row_moments(x, C)
    assert torch.equal(mean, torch.full_like(mean, 3.0))
    assert torch.equal(var, torch.zeros_like(var))
    (grad,) = torch.autograd.grad(mean.sum() + (var + 1e-5).rsqrt().sum(), [x])
    assert grad.isfinite().all()


def test_moments_far_from_zero_keep_their_digits() -> None:
    """E[x^2] - E[x]^2 would be off by more than the variance itself."""
    x = images(torch.float32) + 3000
    _, var = row_moments(x, C)
    wanted = x.double().flatten(2).var(2, correction=0)
    torch.testing.assert_close(var.double(), wanted, rtol=1e-4, atol=0)


def test_an_in_place_relu_may_follow() -> None:
    x = images().requires_grad_()
    given = vectors(3, C)
    plain = both(torch.relu(row_affine(x, *given)), [x, *given])
    for a, b in zip(both(torch.relu_(row_affine(x, *given)), [x, *given]), plain, strict=True):
        assert torch.equal(a, b)
