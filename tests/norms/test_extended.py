"""Extended batch normalization: the paper's sets, and BN where all channels are alike."""

from functools import partial

import numpy as np
import pytest
import torch
from reference import affine
from torch import Tensor, nn

from normbench import norms
from normbench.config import ConfigError
from normbench.norms import Site
from normbench.norms.extended import ExtendedBatchNorm
from normbench.testing import check_norm

C = 4


def images(step: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(6, C, 5, 5, generator=generator, dtype=torch.float64) * 2 + torch.arange(C).view(C, 1, 1)


def build(std_about: str = "all", **options: float) -> ExtendedBatchNorm:
    return ExtendedBatchNorm(Site(nn.Conv2d(3, C, 1).double()), std_about=std_about, **options)


def statistics(y: np.ndarray, std_about: str) -> tuple[np.ndarray, float]:
    """mu_c over (N, H, W), the variance over (N, C, H, W)."""
    mu = np.array([y[:, c].sum() / y[:, c].size for c in range(y.shape[1])])
    around = y.sum() / y.size if std_about == "all" else mu[None, :, None, None]
    return mu, ((y - around) ** 2).sum() / y.size


@pytest.mark.parametrize("std_about", ["all", "channel"])
def test_the_papers_formula(std_about: str) -> None:
    def paper(y: np.ndarray, norm: ExtendedBatchNorm, x: np.ndarray) -> np.ndarray:
        mu, var = statistics(y, std_about)
        return affine((y - mu[None, :, None, None]) / np.sqrt(var + norm.eps), norm)

    factory = partial(norms.build, "ebn", std_about=std_about)
    report = check_norm(factory, reference=paper, only=["formula"])
    assert report.ok, f"\n{report}"


@pytest.mark.parametrize("std_about", ["all", "channel"])
def test_on_one_channel_it_is_bn(std_about: str) -> None:
    conv = nn.Conv2d(3, 1, 1).double()
    y = images()[:, :1]
    torch.testing.assert_close(
        ExtendedBatchNorm(Site(conv), std_about=std_about)(y), norms.build("bn", conv)(y), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("std_about", ["all", "channel"])
def test_running_and_measured_statistics(std_about: str) -> None:
    norm = build(std_about, momentum=0.3)
    mean, var = np.zeros(C), 1.0
    for step in range(3):
        norm(images(step))
        mu, new = statistics(images(step).numpy(), std_about)
        mean, var = 0.7 * mean + 0.3 * mu, 0.7 * var + 0.3 * new
    np.testing.assert_allclose(norm.running_mean.numpy(), mean, atol=1e-12)
    np.testing.assert_allclose(norm.running_var.numpy(), np.full(C, var), atol=1e-12)
    norm.start_measuring()
    for step in range(2):
        norm(images(step))
    norm.finish_measuring()
    mean, var = statistics(np.concatenate([images(0).numpy(), images(1).numpy()]), std_about)
    np.testing.assert_allclose(norm.running_mean.numpy(), mean, atol=1e-12)
    np.testing.assert_allclose(norm.running_var.numpy(), np.full(C, var), atol=1e-12)


def test_what_it_refuses() -> None:
    with pytest.raises(ConfigError, match="std_about=image: one of all, channel"):
        build("image")
    with pytest.raises(ConfigError, match="norm=ebn needs two values per channel"):
        build()(images()[:1, :, :1, :1])
