"""Checks of shapes and surroundings: dimensions, memory format, tiny inputs, torch.compile."""

import warnings

import torch
from torch import Tensor, nn

from normbench.config import ConfigError
from normbench.testing.numbers import Found
from normbench.testing.report import Skip
from normbench.testing.subject import (
    Layer,
    Subject,
    cotangent,
    farthest,
    frozen_copy,
    sgd,
    state,
    trace,
    trained,
)

FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}


def dimensions(subject: Subject) -> Found:
    """Behind Linear, Conv1d, Conv2d, Conv3d: equally many positions give the same numbers."""
    worst = 0.0
    for shapes in (((), (1,), (1, 1), (1, 1, 1)), ((8,), (2, 4), (2, 2, 2))):
        wanted: list[Tensor] = []
        for shape in shapes:
            layer = _pointwise(subject, len(shape))
            x = subject.x(axes=1, side=6, step=9)[..., : max(1, int(torch.Size(shape).numel()))]
            x = x.reshape(*x.shape[:2], *shape)
            grad = cotangent(torch.empty(len(x), subject.channels, x[0, 0].numel(), dtype=x.dtype))
            found = trace(layer, x, grad.reshape(len(x), subject.channels, *shape))
            assert found.out.shape == (len(x), subject.channels, *shape)
            flat = (
                [found.out.flatten(2), found.x_grad.flatten(2)]
                if shape
                else [found.out[..., None], found.x_grad[..., None]]
            )
            wanted = wanted or flat
            worst = max(worst, farthest(flat, wanted))
    return worst, subject.limit, "2-d to 5-d input, output and input gradient against each other"


def _pointwise(subject: Subject, axes: int) -> Layer:
    """A layer whose conv is the same 1x1 map of channels whatever the number of axes."""
    return subject.layer(axes=axes, kernel=1)


def memory_format(subject: Subject) -> Found:
    """channels_last and contiguous stay what they are, with the same numbers and gradients."""
    worst = 0.0
    for axes, wanted in FORMATS.items():
        for workers in (1, subject.workers):
            for mode in (True, False):
                layer = subject.layer(axes=axes, workers=workers).train(mode)
                x = subject.x(axes=axes, workers=workers)
                plain = _in_format(frozen_copy(layer), x, torch.contiguous_format)
                last = _in_format(frozen_copy(layer), x, wanted)
                worst = max(worst, farthest(last, plain))
    return worst, subject.limit, "channels_last, channels_last_3d and contiguous: strides, output and gradients"


def _in_format(layer: Layer, x: Tensor, wanted: torch.memory_format) -> list[Tensor]:
    """Output and gradients where the conv puts out this format."""
    layer.to(memory_format=wanted)
    x = x.clone(memory_format=wanted).requires_grad_()
    out = layer.normalize(layer.conv(x).contiguous(memory_format=wanted), x)
    assert out.is_contiguous(memory_format=wanted), (
        f"{wanted} came out with strides {out.stride()} for {tuple(out.shape)}"
    )
    torch.autograd.backward(out, cotangent(out))
    assert x.grad is not None
    return [out.detach(), x.grad, *(p.grad for p in layer.parameters() if p.grad is not None)]


def one_by_one(subject: Subject) -> Found:
    """Maps of a single position: finite output and gradients, or a ConfigError of one line."""
    return _finite_or_refused(subject, images=subject.images, side=1, what="1x1 maps")


def batch_one(subject: Subject) -> Found:
    """One image a worker: finite output and gradients, or a ConfigError of one line."""
    return _finite_or_refused(subject, images=1, side=5, what="one image a worker")


def one_value(subject: Subject) -> Found:
    """One image per worker and 1x1 maps: finite output and gradients, or a one-line ConfigError."""
    return _finite_or_refused(subject, images=1, side=1, what="one image a worker with 1x1 maps")


def _finite_or_refused(subject: Subject, images: int, side: int, what: str) -> Found:
    said = ""
    for axes, workers in ((2, 1), (2, subject.workers), (0, 1)):
        if axes == 0 and side > 1:
            continue
        try:
            layer = subject.layer(axes=axes, workers=workers)
            optimizer = sgd(layer)
            for step in range(3):
                x = subject.x(axes=axes, workers=workers, images=images, side=side, step=step)
                found = trace(layer, x, step=step)
                assert all(t.isfinite().all() for t in found.tensors()), f"not finite on {what}"
                optimizer.step()
            out = layer.eval()(x)
            assert out.isfinite().all(), f"not finite in evaluation after {what}"
        except ConfigError as e:
            said = str(e)
            assert said and "\n" not in said, "a ConfigError has one line"
    return 0.0, 0.0, f"refused: {said}" if said else f"finite on {what}, 3 steps"


def relu(subject: Subject) -> Found:
    """The ReLU behind it is the business of a norm that owns its activation, and of no other."""
    x = subject.x(step=9)
    with_relu, without = subject.layer(relu=True), subject.layer(relu=False)
    if without.norm.owns_activation:
        found = trace(without, x)
        assert all(t.isfinite().all() for t in found.tensors())
        assert with_relu(x).shape == found.out.shape
        return 0.0, 0.0, "owns it; finite without as well"
    return farthest(trace(with_relu, x).tensors(), trace(without, x).tensors()), 0.0, "makes no difference"


def compiled(subject: Subject, backend: str = "aot_eager") -> Found:
    """torch.compile(fullgraph=True) gives the same numbers and state, in both modes."""
    limit = 1e-9
    worst = 0.0
    w = subject.workers
    for mode in (True, False):
        eager = trained(subject, workers=w).train(mode)
        layer = frozen_copy(eager)
        run = _compile(layer, backend)
        optimizers = sgd(eager), sgd(layer)
        for step in range(subject.steps, subject.steps + 3):
            x = subject.x(workers=w, step=step)
            wanted = trace(eager, x, step=step)
            layer.zero_grad(set_to_none=True)
            leaf = x.clone().requires_grad_()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the compiler's, about itself
                out = run(leaf)
                out.backward(cotangent(out, step))
            assert leaf.grad is not None
            got = [out.detach(), leaf.grad, *(p.grad for p in layer.parameters() if p.grad is not None)]
            worst = max(worst, farthest(got, wanted.tensors()))
            for optimizer in optimizers:
                optimizer.step()
        a, b = state(layer), state(eager)
        assert a.keys() == b.keys()
        worst = max(worst, farthest(a.values(), b.values()))
    torch._dynamo.reset()
    return worst, limit, f"fullgraph, backend {backend}, 3 steps of training and of evaluation"


def _compile(layer: nn.Module, backend: str) -> nn.Module:
    # Or one code object for many layers hits the recompile limit and falls back to eager.
    torch._dynamo.reset()
    return torch.compile(layer, fullgraph=True, backend=backend, dynamic=False)  # type: ignore[return-value]


def inductor(subject: Subject) -> Found:
    """As compiled, with the default backend, which is slow to compile."""
    try:
        return compiled(subject, "inductor")
    except RuntimeError as e:
        if "compiler" in str(e).lower() and "not found" in str(e).lower():
            raise Skip("no C++ compiler here") from None
        raise
