"""wn, scn: the papers' formulas, torch's weight_norm, and the initialisation from data."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from normbench import norms
from normbench.norms.weight import UNIT_RELU_GAIN


def conv(bias: bool = False) -> nn.Conv2d:
    torch.manual_seed(4)
    return nn.Conv2d(3, 5, 3, bias=bias).double()


def images(n: int = 4) -> Tensor:
    return torch.randn(n, 3, 6, 6, dtype=torch.float64)


def original(layer: nn.Module) -> Tensor:
    return layer.get_parameter("parametrizations.weight.original")


def test_wn_is_the_papers_formula() -> None:
    """Salimans & Kingma 2016, eq. 2: w = g v / ||v||."""
    layer, x = conv(), images()
    v = layer.weight.detach().clone()
    norm: Any = norms.build("wn", layer)
    with torch.no_grad():
        norm.weight.normal_(), norm.bias.normal_()
    g, b = (norm.weight * norm.scale).detach().numpy(), norm.bias.detach()
    w = np.stack([g[c] * v[c].numpy() / np.sqrt((v[c].numpy() ** 2).sum()) for c in range(5)])
    torch.testing.assert_close(norm(layer(x)), F.conv2d(x, torch.from_numpy(w), b), rtol=0, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
def test_wn_leaves_the_function_as_it_was_drawn(bias: bool) -> None:
    layer, x = conv(bias), images()
    before = layer(x)
    torch.testing.assert_close(norms.build("wn", layer)(layer(x)), before, rtol=0, atol=1e-12)
    assert layer.bias is None


def test_wn_has_the_gradients_of_torchs_weight_norm() -> None:
    layer, x = conv(), images()
    theirs = weight_norm(copy.deepcopy(layer))
    norm: Any = norms.build("wn", layer)
    for out in (norm(layer(x)), theirs(x)):
        out.square().sum().backward()
    g, v = theirs.parametrizations.weight.original0, theirs.parametrizations.weight.original1
    torch.testing.assert_close(original(layer).grad, v.grad)
    torch.testing.assert_close(norm.weight.grad, norm.scale * g.grad.flatten())  # g = weight x scale


def test_wn_data_init_normalizes_the_first_batch_and_no_other() -> None:
    layer, norm = data_init()
    nn.init.constant_(norm.weight, 2.0)
    nn.init.constant_(norm.bias, 0.5)
    first = norm(layer(images()))
    torch.testing.assert_close(first.mean((0, 2, 3)), torch.full((5,), 0.5, dtype=torch.float64), rtol=0, atol=1e-9)
    torch.testing.assert_close(first.std((0, 2, 3), correction=0), torch.full((5,), 2.0, dtype=torch.float64))
    state = copy.deepcopy(norm.state_dict())
    norm(layer(images()))
    assert all(state[key].equal(value) for key, value in norm.state_dict().items())


def test_wn_data_init_waits_for_training_and_is_not_repeated_after_a_resume() -> None:
    layer, norm = data_init()
    norm.eval()(layer(images()))
    assert not norm.initialised
    norm.train()(layer(images()))
    _, fresh = data_init()
    fresh.load_state_dict(norm.state_dict())
    fresh(layer(images()))
    assert all(norm.state_dict()[key].equal(value) for key, value in fresh.state_dict().items())


def test_wn_data_init_keeps_a_zero_gamma() -> None:
    layer, norm = data_init()
    nn.init.zeros_(norm.weight)
    assert norm(layer(images())).abs().max() == 0


def data_init() -> tuple[nn.Conv2d, Any]:
    layer = conv()
    return layer, norms.build("wn", layer, data_init=True)


@pytest.mark.parametrize("relu", [True, False])
def test_scn_is_the_papers_formula(relu: bool) -> None:
    """Brock et al. 2021: standardized weights over the root of the fan-in, a gain, and a scaled ReLU."""
    layer, x = conv(), images()
    free = layer.weight.detach().numpy().copy()
    norm: Any = norms.build("scn", layer, relu=relu)
    with torch.no_grad():
        norm.weight.normal_(), norm.bias.normal_()
    w = np.stack([(f - f.mean()) / (np.sqrt(((f - f.mean()) ** 2).mean()) * np.sqrt(f.size)) for f in free])
    z = F.conv2d(x, torch.from_numpy(w * norm.weight.detach().numpy()[:, None, None, None]), norm.bias)
    torch.testing.assert_close(norm(layer(x)), UNIT_RELU_GAIN * z.relu() if relu else z, rtol=0, atol=1e-12)


def test_scn_keeps_the_variance_of_a_normal_signal() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(256, 512, bias=False)
    norm = norms.build("scn", layer, relu=True)
    out = norm(layer(torch.randn(400, 256)))
    assert abs(out.var().item() - 1) < 0.05


@pytest.mark.parametrize("name", ["wn", "scn"])
def test_filters_of_zeros_give_finite_gradients(name: str) -> None:
    layer = conv()
    nn.init.zeros_(layer.weight)
    norm = norms.build(name, layer)
    norm(layer(images())).sum().backward()
    assert original(layer).grad.isfinite().all()
