"""What cbn, cbn_naive and cmbn keep alike: dtypes, edge cases, compilation."""

import copy

import pytest
import torch
from convs import double, image, layer
from torch import nn

from normbench import norms
from normbench.config import ConfigError


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["cbn", "cbn_naive", "cmbn"])
def test_half_precision_keeps_its_dtype_and_format_and_stays_near_double(name, dtype):
    conv = nn.Conv2d(3, 4, 3)
    exact, half = layer(double(conv), name, workers=2), layer(conv, name, workers=2)
    for _ in range(3):
        x = image(conv, 8)
        y = conv.double()(x).detach()
        conv.float()
        low_y, low_x = (t.to(dtype).contiguous(memory_format=torch.channels_last) for t in (y, x))
        low = half(low_y, low_x) if half.needs_input else half(low_y)
        high = exact(y, x) if exact.needs_input else exact(y)
        assert low.dtype == dtype
        assert low.is_contiguous(memory_format=torch.channels_last)
        assert (low.double() - high).abs().max() < 0.05


@pytest.mark.parametrize("name", ["cbn", "cbn_naive", "cmbn"])
@pytest.mark.parametrize("options", [{}, {"eps_inside": False}], ids=str)
def test_a_constant_channel_is_finite_and_so_is_its_gradient(name, options):
    if name == "cmbn" and options:
        return
    conv = nn.Conv2d(3, 4, 1)
    norm = layer(conv, name, workers=2, **options)
    for value in (3.0, 3.0, -70.0):
        x = torch.full((4, 3, 1, 1), value)
        y = conv(x).detach().requires_grad_()
        out = norm(y, x) if norm.needs_input else norm(y)
        out.square().sum().backward()
        assert out.isfinite().all() and y.grad.isfinite().all()


@pytest.mark.parametrize("name", ["cbn", "cbn_naive", "cmbn"])
def test_compiles_in_one_graph_to_the_same_numbers(name):
    torch._dynamo.reset()
    conv = nn.Conv2d(3, 4, 3)
    eager = layer(conv, name, workers=2, **({} if name == "cmbn" else {"window": 3}))
    compiled = copy.deepcopy(eager)
    call = torch.compile(lambda *inputs: compiled(*inputs), fullgraph=True, backend="aot_eager_decomp_partition")
    for _ in range(4):
        x = torch.randn(4, 3, 6, 6)
        ys = [conv(x).detach().requires_grad_() for _ in range(2)]
        outs = [f(y, x) if eager.needs_input else f(y) for f, y in zip((eager, call), ys, strict=True)]
        assert torch.allclose(*outs, atol=1e-5)
        for out in outs:
            out.square().sum().backward()
        assert torch.allclose(ys[0].grad, ys[1].grad, atol=1e-5)
    for a, b in zip(eager.buffers(), compiled.buffers(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("name", ["cbn", "cbn_naive", "cmbn"])
def test_a_single_value_per_channel_is_an_error(name):
    conv = nn.Linear(3, 4)
    norm, x = norms.build(name, conv, workers=2), torch.randn(2, 3)
    with pytest.raises(ConfigError, match="two values"):
        norm(conv(x), x) if norm.needs_input else norm(conv(x))
