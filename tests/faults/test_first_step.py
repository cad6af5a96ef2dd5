"""norm=mabn at its first step, where there is no moving average to compare with yet."""

import pytest
import torch
from torch import nn

from normbench.norms import Site
from normbench.norms.moving_average import MovingAverageBatchNorm


def first_output(scale: float, start: str, workers: int = 1) -> torch.Tensor:
    torch.manual_seed(0)
    norm = MovingAverageBatchNorm(
        Site(nn.Conv2d(3, 8, 3), workers=workers), start=start, correction_epochs=0.0, warmup_epochs=0.0, window=1
    )
    norm.plan(sgd_batch=8, steps_per_epoch=10, epochs=1)
    with torch.no_grad():
        return norm(scale * torch.randn(8, 8, 6, 6))


@pytest.mark.parametrize("scale", [0.05, 1.0, 30.0])
@pytest.mark.parametrize("workers", [1, 4])
def test_the_first_output_has_the_size_one(scale: float, workers: int) -> None:
    rms = first_output(scale, "first", workers).square().mean().sqrt()
    assert rms == pytest.approx(1, abs=0.02)


def test_start_one_compares_with_one_as_the_authors_code_does() -> None:
    assert first_output(30.0, "one").square().mean().sqrt() == pytest.approx(5, abs=0.1)
