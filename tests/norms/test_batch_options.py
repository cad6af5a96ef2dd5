"""norm=bn: its defaults are torch's layer; ghosts, running variances and example weighing are what they say."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from normbench import norms
from normbench.config import ConfigError
from normbench.norms import RunningNorm, Site

F64 = torch.float64


def layer(workers: int = 1, **options: Any) -> Any:
    torch.manual_seed(6)
    built = norms.build("bn", nn.Conv2d(2, 3, 3).double(), workers=workers, **options)
    with torch.no_grad():
        for p in built.parameters():
            p.normal_()
    return built


def batches(images: int = 8, count: int = 3) -> Tensor:
    return 2 + torch.randn(count, images, 3, 4, 5, dtype=F64) * torch.rand(count, images, 3, 1, 1, dtype=F64)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_defaults_are_batch_norm_bit_for_bit(workers: int) -> None:
    norm, plain = layer(workers), RunningNorm(Site(nn.Conv2d(2, 3, 3).double(), workers=workers))
    plain.load_state_dict(norm.state_dict())
    for y in batches():
        assert norm(y).equal(plain(y))
    assert all(norm.state_dict()[key].equal(value) for key, value in plain.state_dict().items())
    assert norm.eval()(y).equal(plain.eval()(y))
    assert list(norm.state_dict()) == ["weight", "bias", "running_mean", "running_var"]


@pytest.mark.parametrize("variance", ["unbiased", "biased", "total"])
def test_a_ghost_of_the_workers_batch_is_no_ghost(variance: str) -> None:
    ghost, none = layer(2, ghost=4, variance=variance), layer(2, variance=variance)
    for y in batches():
        torch.testing.assert_close(ghost(y), none(y), rtol=0, atol=1e-12)
    same_state(ghost, none)


def test_ghosts_are_normalized_one_by_one_and_averaged() -> None:
    norm = layer(ghost=2)
    y = batches()[0]
    out = norm(y)
    plain = layer()
    for ghost in range(4):
        torch.testing.assert_close(out[ghost::4], plain(y[ghost::4]), rtol=0, atol=1e-12)
    means = torch.stack([y[ghost::4].mean((0, 2, 3)) for ghost in range(4)])
    vars_ = torch.stack([y[ghost::4].var((0, 2, 3)) for ghost in range(4)])
    torch.testing.assert_close(norm.running_mean, 0.1 * means.mean(0))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * vars_.mean(0))


@pytest.mark.parametrize("variance", ["unbiased", "biased", "total"])
@pytest.mark.parametrize("ghost", [None, 2])
def test_virtual_workers_with_options_are_workers(ghost: int | None, variance: str) -> None:
    norm = layer(2, ghost=ghost, variance=variance)
    alone = [layer(ghost=ghost, variance=variance) for _ in range(2)]
    for y in batches():
        out = norm(y)
        for worker in range(2):
            torch.testing.assert_close(out[worker::2], alone[worker](y[worker::2]), rtol=0, atol=1e-12)
    same_state(norm, alone[0])


@pytest.mark.parametrize("ghost", [None, 2])
def test_biased_and_total_variance_are_moving_averages_of_their_moments(ghost: int | None) -> None:
    biased, total = layer(variance="biased", ghost=ghost), layer(variance="total", ghost=ghost)
    mean, square, var = torch.zeros(3, dtype=F64), torch.ones(3, dtype=F64), torch.ones(3, dtype=F64)
    for y in batches():
        biased(y), total(y)
        parts = [y[g :: 8 // ghost] for g in range(8 // ghost)] if ghost else [y]
        of_batch = torch.stack([part.var((0, 2, 3), correction=0) for part in parts]).mean(0)
        mean, var = 0.9 * mean + 0.1 * y.mean((0, 2, 3)), 0.9 * var + 0.1 * of_batch
        square = 0.9 * square + 0.1 * (y * y).mean((0, 2, 3))
    torch.testing.assert_close(biased.running_var, var, rtol=0, atol=1e-12)
    torch.testing.assert_close(total.running_var, square - mean * mean, rtol=0, atol=1e-12)
    torch.testing.assert_close(total.running_mean, mean, rtol=0, atol=1e-12)


@pytest.mark.parametrize("a", [0.3, 1.0])
def test_an_example_weighs_in_evaluation(a: float) -> None:
    norm = layer(example_weight=a)
    for y in batches():
        norm(y)
    out = norm.eval()(y)
    for i, image in enumerate(y):
        mean = (1 - a) * norm.running_mean + a * image.mean((1, 2))
        square = (1 - a) * (norm.running_var + norm.running_mean**2) + a * (image * image).mean((1, 2))
        sd = (square - mean**2 + 1e-5).sqrt()
        column = (3, 1, 1)
        normalized = (image - mean.view(column)) / sd.view(column)
        expected = normalized * norm.weight.view(column) + norm.bias.view(column)
        torch.testing.assert_close(out[i], expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("options", [{"variance": "moving"}, {"example_weight": 1.5}, {"ghost": 0}])
def test_unknown_values_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"norm\."):
        layer(**options)


def test_a_ghost_that_does_not_divide_the_batch_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not divide the 8 images"):
        layer(ghost=3)(batches()[0])


def test_a_total_variance_is_not_averaged_over_workers() -> None:
    norm = layer(2, variance="total")
    norm.average_workers = True
    with pytest.raises(ConfigError, match="eval_stats=precise"):
        norm(batches()[0])


def same_state(norm: nn.Module, other: nn.Module) -> None:
    for key, value in norm.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[key], rtol=0, atol=1e-12)


def test_example_weight_auto_is_one_over_the_images_of_a_training_statistic() -> None:
    conv = nn.Conv2d(3, 4, 1)
    for ghost, weight in ((None, 1 / 8), (2, 1 / 2)):
        layer = norms.build("bn", conv, workers=4, ghost=ghost, example_weight="auto")
        assert layer.example_weight == 0.0
        layer.plan(sgd_batch=32, steps_per_epoch=10, epochs=1)
        assert layer.example_weight == weight
    with pytest.raises(ConfigError, match="a weight from 0 to 1, or auto"):
        norms.build("bn", conv, example_weight="half")
