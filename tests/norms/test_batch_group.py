"""Batch group normalization and the examples x channels grouping: their sets, and what they are at their ends."""

from functools import partial

import numpy as np
import pytest
import torch
from reference import affine, normalized
from torch import Tensor, nn

from normbench import norms
from normbench.config import ConfigError
from normbench.norms.batch_group import BatchGroupNorm
from normbench.norms.group_batch import GroupBatchNorm
from normbench.testing import check_norm

N, C, SIDE = 6, 8, 6


def images(step: int = 0, n: int = N) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    shift = torch.randn(n, C, 1, 1, generator=generator, dtype=torch.float64)
    return torch.randn(n, C, SIDE, SIDE, generator=generator, dtype=torch.float64) * 2 + shift


def build(name: str, workers: int = 1, **options: object) -> norms.Norm:
    norm = norms.build(name, nn.Conv2d(3, C, 1).double(), workers=workers, **options)
    assert norm.weight is not None
    assert norm.bias is not None
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 1.5, C))
        norm.bias.copy_(torch.linspace(-1, 1, C))
    return norm


def both(norm: norms.Norm, y: Tensor) -> list[Tensor]:
    y = y.clone().requires_grad_()
    out = norm(y)
    return [out.detach(), *torch.autograd.grad((out * images(99, len(y))).sum(), [y, *norm.parameters()])]


def assert_same(a: norms.Norm, b: norms.Norm, y: Tensor) -> None:
    for one, other in zip(both(a, y), both(b, y), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


# ---------------------------------------------------------------------------- group_batch


def test_group_batch_is_the_papers_formula() -> None:
    def paper(y: np.ndarray, norm: GroupBatchNorm, x: np.ndarray) -> np.ndarray:
        each, out = C // norm.groups, np.empty_like(y)
        for i in range(0, len(y), 2):
            for c in range(0, C, each):
                out[i : i + 2, c : c + each] = normalized(y[i : i + 2, c : c + each], norm.eps)
        return affine(out, norm)

    report = check_norm(partial(norms.build, "group_batch", groups=4), reference=paper, only=["formula"])
    assert report.ok, f"\n{report}"


@pytest.mark.parametrize("mode", [True, False])
def test_one_example_a_group_is_gn(mode: bool) -> None:
    assert_same(build("group_batch", examples=1, groups=4).train(mode), build("gn", groups=4).train(mode), images())


def test_all_examples_and_one_channel_are_bn() -> None:
    assert_same(build("group_batch", examples=None, channels_per_group=1), build("bn"), images())


def test_some_examples_and_one_channel_are_ghost_bn() -> None:
    """Images in their order here, interleaved there: ghost batches are virtual workers."""
    ghost = build("group_batch", examples=2, channels_per_group=1)
    order = torch.tensor([0, 2, 4, 1, 3, 5])  # image k of ghost batch j is image j of worker k there
    wanted = build("bn", workers=3)(images()[order])
    torch.testing.assert_close(ghost(images()), wanted[order.argsort()], rtol=0, atol=1e-11)


def test_running_statistics_hold_the_variance_between_batches() -> None:
    """E[x] and E[x^2] are what is averaged."""
    norm = build("group_batch", momentum=0.3)
    first, second = np.zeros(C), np.ones(C)
    for step in range(3):
        y = images(step) + step
        norm(y)
        first = 0.7 * first + 0.3 * y.mean((0, 2, 3)).numpy()
        second = 0.7 * second + 0.3 * y.square().mean((0, 2, 3)).numpy()
    np.testing.assert_allclose(norm.running_mean.numpy(), first, atol=1e-12)
    np.testing.assert_allclose(norm.running_var.numpy(), second - first**2, atol=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_evaluation_mixes_the_examples_own_moments(share: float) -> None:
    norm = build("group_batch", groups=4, example_weight=share)
    for step in range(2):
        norm(images(step))
    y, each = images(5), C // 4
    first, second = norm.running_mean.numpy(), (norm.running_var + norm.running_mean.square()).numpy()
    out = np.empty(y.shape)
    for i, image in enumerate(y.numpy()):
        for g in range(0, C, each):
            values = image[g : g + each]
            mean = (1 - share) * first[g : g + each].mean() + share * values.mean()
            square = (1 - share) * second[g : g + each].mean() + share * (values**2).mean()
            out[i, g : g + each] = (values - mean) / np.sqrt(square - mean**2 + norm.eps)
    np.testing.assert_allclose(norm.eval()(y).detach().numpy(), affine(out, norm), atol=1e-10)


def test_more_examples_than_images_are_all_images() -> None:
    assert_same(build("group_batch", examples=64), build("group_batch", examples=None), images())


def test_group_batch_says_what_it_cannot_do() -> None:
    with pytest.raises(ConfigError, match="examples=4 does not divide batch=6; choose a divisor"):
        build("group_batch", examples=4)(images())
    with pytest.raises(ConfigError, match="at least 1, or null"):
        build("group_batch", examples=0)
    with pytest.raises(ConfigError, match="two values in a group"):
        build("group_batch", examples=1, channels_per_group=1)(images()[:, :, :1, :1])


# ---------------------------------------------------------------------------- bgn


@pytest.mark.parametrize("groups", [1, 4, 8, 24, 16])
def test_bgn_is_the_papers_formula(groups: int) -> None:
    norm = build("bgn", groups=groups)
    y = images()
    merged = y.numpy().reshape(N, -1)
    out, each = np.empty_like(merged), merged.shape[1] // groups
    for g in range(0, merged.shape[1], each):
        out[:, g : g + each] = normalized(merged[:, g : g + each], norm.eps)
    np.testing.assert_allclose(norm(y).detach().numpy(), affine(out.reshape(y.shape), norm), atol=1e-11)


def test_bgn_with_a_group_a_channel_is_bn() -> None:
    assert_same(build("bgn", groups=C), build("bn"), images())


def test_bgn_on_one_image_is_gn() -> None:
    assert_same(build("bgn", groups=4), build("gn", groups=4), images(n=1))


@pytest.mark.parametrize("groups", [4, 24])
def test_bgn_evaluates_by_moving_averages_and_by_measured_statistics(groups: int) -> None:
    norm = build("bgn", groups=groups, momentum=1.0)
    assert isinstance(norm, BatchGroupNorm)
    y = images()
    out = norm(y)  # with momentum 1 the last batch's
    torch.testing.assert_close(norm.eval()(y), out, rtol=0, atol=1e-10)
    norm.train().start_measuring()
    norm(images(1))
    norm(images(2))
    norm.finish_measuring()
    both_batches = torch.cat([images(1), images(2)])
    torch.testing.assert_close(norm.eval()(both_batches), build("bgn", groups=groups)(both_batches), rtol=0, atol=1e-10)


def test_bgn_says_what_it_cannot_do() -> None:
    with pytest.raises(ConfigError, match="cannot cut a layer's"):
        build("bgn", groups=5)(images())
    with pytest.raises(ConfigError, match="leaves a single value a group"):
        build("bgn", groups=C)(images()[:1, :, :1, :1])
    with pytest.raises(ConfigError, match="at least 1, or auto"):
        build("bgn", groups="many")
