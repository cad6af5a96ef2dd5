"""gn_ws, bn_ws, ln_ws, in_ws: weight standardization is the paper's, and what follows is the norm of that name."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normbench import norms
from normbench.config import ConfigError

NAMES = ["gn_ws", "bn_ws", "ln_ws", "in_ws"]


def conv() -> nn.Conv2d:
    torch.manual_seed(5)
    return nn.Conv2d(3, 8, 3, bias=False).double()


def images() -> Tensor:
    return torch.randn(4, 3, 6, 6, dtype=torch.float64)


def standardized(free: np.ndarray[Any, Any], correction: int, eps: float, inside: bool) -> Tensor:
    """The paper's formula, filter by filter (Qiao et al. 2019, section 3.2), with the options' place for eps."""
    filters = []
    for f in free:
        var = ((f - f.mean()) ** 2).sum() / (f.size - correction)
        filters.append((f - f.mean()) / (np.sqrt(var + eps) if inside else np.sqrt(var) + eps))
    return torch.from_numpy(np.stack(filters))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("correction, inside", [(0, True), (1, True), (0, False), (1, False)])
def test_it_is_the_norm_behind_a_conv_with_standardized_weights(name: str, correction: int, inside: bool) -> None:
    layer, x = conv(), images()
    free = layer.weight.detach().numpy().copy()
    plain = norms.build(name.removesuffix("_ws"), copy.deepcopy(layer))
    norm = norms.build(name, layer, correction=correction, ws_eps=1e-3, eps_inside=inside)
    y = F.conv2d(x, standardized(free, correction, 1e-3, inside))
    torch.testing.assert_close(norm(layer(x)), plain(y), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_an_affine_rescale_of_a_filter_changes_nothing(name: str) -> None:
    layer, x = conv(), images()
    norm = norms.build(name, layer, ws_eps=1e-30)
    before = layer(x)
    with torch.no_grad():
        layer.get_parameter("parametrizations.weight.original").mul_(3.7).add_(0.4)
    torch.testing.assert_close(layer(x), before, rtol=0, atol=1e-11)
    assert norm(before).isfinite().all()


@pytest.mark.parametrize("inside", [True, False])
def test_the_gradient_flows_through_mean_and_deviation(inside: bool) -> None:
    """So it is orthogonal to a filter and to a constant, along which the output does not change (eps -> 0)."""
    layer = conv()
    norm = norms.build("gn_ws", layer, ws_eps=1e-30, eps_inside=inside)
    (norm(layer(images())) ** 3).sum().backward()
    free = layer.get_parameter("parametrizations.weight.original")
    along = torch.stack([free.grad.flatten(1).sum(1), (free.grad * free).flatten(1).sum(1)])
    assert along.abs().max() < 1e-10 * free.grad.abs().max()


@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("layer", [nn.Linear(1, 4), nn.Conv2d(4, 4, 1, groups=4), nn.Linear(3, 4)])
def test_filters_of_one_weight_or_of_equal_ones_are_finite(layer: nn.Module, correction: int, inside: bool) -> None:
    layer = copy.deepcopy(layer)
    nn.init.constant_(layer.weight, 0.3)
    norms.build("gn_ws", layer, correction=correction, eps_inside=inside)
    layer.weight.sum().backward()
    assert layer.weight.abs().max() < 1e-4
    assert layer.get_parameter("parametrizations.weight.original").grad.isfinite().all()


def test_an_unknown_correction_is_refused() -> None:
    with pytest.raises(ConfigError, match="correction=2"):
        norms.build("gn_ws", conv(), correction=2)
