"""Checks of the numbers of one step: the formula, its gradient, and what precision does to them."""

import copy

import torch
from torch import Tensor

from normbench.testing.report import Skip
from normbench.testing.subject import (
    Layer,
    Subject,
    cotangent,
    distance,
    farthest,
    frozen_copy,
    sgd,
    trace,
    trained,
)

Found = tuple[float, float, str]  # measured, limit, note

GRADIENT_LIMIT = 1e-6  # of central differences in float64
STEP = 1e-5
# One unit in the last place of the largest output.
OUTPUT_LIMITS = {torch.bfloat16: 2.0**-7, torch.float16: 2.0**-10}
GRADIENT_LIMITS = {torch.bfloat16: 2.0**-5, torch.float16: 2.0**-8}
AUTOCAST_LIMIT = 0.06  # a bf16 conv in front of the norm has rounding errors of its own


def formula(subject: Subject) -> Found:
    """The training output of several steps equals the reference's, in float64."""
    if subject.reference is None:
        raise Skip("no reference formula was given")
    worst = 0.0
    layer = subject.layer()
    optimizer = sgd(layer)
    for step in range(subject.steps):
        x = subject.x(step=step)
        before = copy.deepcopy(layer.norm)
        y = layer.conv(x).detach()
        wanted = torch.from_numpy(subject.reference(y.numpy(), before, x.numpy()))
        worst = max(worst, distance(trace(layer, x, step=step).out, wanted))
        optimizer.step()
    return worst, subject.limit, f"{subject.steps} training steps against the NumPy formula"


def gradient(subject: Subject) -> Found:
    """Backward is the derivative of forward: central differences in random directions, float64."""
    fresh = subject.layer()
    if not fresh.norm.exact_gradient:
        raise Skip("backward is not meant to be forward's derivative (exact_gradient = False)")
    layers = {"fresh": fresh, "trained": trained(subject), "no relu": subject.layer(relu=False)}
    layers["evaluation"] = frozen_copy(layers["trained"]).eval()
    found = {name: _central_differences(layer, subject.x(step=9)) for name, layer in layers.items()}
    worst = max(found, key=lambda name: found[name])
    return found[worst], GRADIENT_LIMIT, f"central differences, input and every parameter; worst: {worst}"


def _central_differences(layer: Layer, x: Tensor) -> float:
    """The largest relative error over input and parameters, in two random directions each."""
    generator = torch.Generator().manual_seed(3)
    keep = trace(frozen_copy(layer), x)
    grad = cotangent(keep.out)
    analytic = {"x": keep.x_grad, **{k: g for k, g in keep.grads.items() if g is not None}}
    worst = 0.0
    for name, slope in analytic.items():
        for _ in range(2):
            direction = torch.randn(slope.shape, generator=generator, dtype=slope.dtype)
            ends = [_loss(layer, x, grad, name, sign * STEP * direction) for sign in (1, -1)]
            numeric = (ends[0] - ends[1]) / (2 * STEP)
            along = float((slope * direction).sum())
            scale = max(abs(numeric), float(slope.norm() * direction.norm()) / slope.numel() ** 0.5, 1e-3)
            worst = max(worst, abs(numeric - along) / scale)
    return worst


def _loss(layer: Layer, x: Tensor, grad: Tensor, name: str, shift: Tensor) -> float:
    layer = frozen_copy(layer)  # a training forward may change its state
    with torch.no_grad():
        if name == "x":
            x = x + shift
        else:
            layer.get_parameter(name).add_(shift)
        return float((layer(x) * grad).sum())


def gradient_layouts(subject: Subject) -> Found:
    """Gradients do not depend on the incoming one's strides, nor on which of them are asked for."""
    layer = trained(subject)
    x = subject.x(step=9)
    ones = torch.ones_like(layer.eval()(x))
    layer.train()
    wanted = trace(frozen_copy(layer), x, ones)
    worst = 0.0
    for grad in (
        torch.ones((), dtype=ones.dtype).expand_as(ones),  # what sum() and mean() send
        ones.to(memory_format=torch.channels_last),
        ones.transpose(2, 3).contiguous().transpose(2, 3),
    ):
        worst = max(worst, farthest(trace(frozen_copy(layer), x, grad).tensors(), wanted.tensors()))
    for frozen in [name for name, g in wanted.grads.items() if g is not None]:
        part = frozen_copy(layer)
        part.get_parameter(frozen).requires_grad_(False)
        got = trace(part, x, ones)
        assert got.grads[frozen] is None
        worst = max(worst, distance(got.x_grad, wanted.x_grad), distance(got.out, wanted.out))
    first = frozen_copy(layer)  # the first conv of a network has an input without gradient
    first(x).backward(ones)
    for name, parameter in first.named_parameters():
        before = wanted.grads[name]
        if before is not None:
            assert parameter.grad is not None, f"{name} gets no gradient where the input needs none"
            worst = max(worst, distance(parameter.grad, before))
    return (
        worst,
        subject.limit,
        "expanded, channels_last and transposed gradients; frozen parameters; input without gradient",
    )


def batch_independence(subject: Subject) -> Found:
    """An image's training output, and its gradient, do not change with the other images."""
    if not subject.claims_batch_free():
        raise Skip("not claimed (batch_free = False)")
    layer = trained(subject)
    x = subject.x(step=9)
    other = subject.x(step=10)
    other[0] = x[0]
    a, b = frozen_copy(layer), frozen_copy(layer)
    grad = cotangent(a.eval()(x))
    first, second = trace(a.train(), x, grad), trace(b, 5 * other - 4 * other * _first_image(other), grad)
    worst = max(distance(first.out[0], second.out[0]), distance(first.x_grad[0], second.x_grad[0]))
    return worst, subject.limit, "output and input gradient of an image among other images"


def _first_image(x: Tensor) -> Tensor:
    mask = torch.zeros_like(x)
    mask[0] = 1
    return mask


def precision(subject: Subject, dtype: torch.dtype) -> Found:
    """Half-precision input against float64 on the same rounded values; the dtype is kept.

    Three inputs: plain, 300 times as large (its square overflows fp16), and far from zero (where
    E[x^2] - E[x]^2 fails).
    """
    # fp32 parameters as in training under autocast; the float64 layer has the very same values
    low = trained(subject, dtype=torch.float32)
    worst = 0.0
    for name, scale, shift in (("plain", 1.0, 0.0), ("large", 300.0, 0.0), ("shifted", 1.0, 30.0)):
        for mode in (True, False):
            layer, exact = frozen_copy(low).train(mode), frozen_copy(low).double().train(mode)
            x = (scale * subject.x(step=9, dtype=torch.float32)).to(dtype)
            y = (exact.conv(x.double()) + shift).detach().to(dtype)
            out, y_grad = _normalized(layer, y, x)
            wanted, wanted_grad = _normalized(exact, y.double(), x.double())
            assert out.dtype == dtype, f"{name} input of {dtype} came out as {out.dtype}"
            assert y_grad.dtype == dtype
            relative = float((out.double() - wanted).abs().max() / wanted.abs().max())
            slope = float((y_grad.double() - wanted_grad).abs().max() / wanted_grad.abs().max().clamp_min(1e-3))
            share = OUTPUT_LIMITS[dtype] / GRADIENT_LIMITS[dtype]
            found = max(relative, slope * share)
            if not found <= OUTPUT_LIMITS[dtype]:
                where = "training" if mode else "evaluation"
                return (
                    found,
                    OUTPUT_LIMITS[dtype],
                    f"{name} input, {where}: output {relative:.1e}, gradient {slope:.1e}",
                )
            worst = max(worst, found)
    note = f"output; the gradient's may be {GRADIENT_LIMITS[dtype]:.1e}; plain, large and shifted input"
    return worst, OUTPUT_LIMITS[dtype], note


def _normalized(layer: Layer, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    y = y.clone().requires_grad_()
    out = layer.normalize(y, x)
    torch.autograd.backward(out, cotangent(out))
    assert y.grad is not None
    return out.detach(), y.grad


def bfloat16(subject: Subject) -> Found:
    return precision(subject, torch.bfloat16)


def float16(subject: Subject) -> Found:
    return precision(subject, torch.float16)


def autocast(subject: Subject) -> Found:
    """Under torch.autocast the norm works on what the conv puts out, and puts out that dtype."""
    layer = trained(subject, dtype=torch.float32)
    x = subject.x(step=9, dtype=torch.float32)
    wanted = trace(frozen_copy(layer).double(), x.double())
    x = x.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer.conv(x)
        out = layer.normalize(y, x)
    assert out.dtype == y.dtype, f"the conv puts out {y.dtype}, the norm {out.dtype}"
    torch.autograd.backward(out, cotangent(wanted.out).to(out.dtype))
    grads = [(p.grad, wanted.grads[k]) for k, p in layer.named_parameters()]
    assert all(g is not None and g.isfinite().all() for g, w in grads if w is not None), (
        "a gradient is missing or not finite"
    )
    assert all(p.dtype == torch.float32 for p in layer.parameters())
    return distance(out, wanted.out), AUTOCAST_LIMIT, "conv and norm under bf16 autocast against float64"


def constant(subject: Subject) -> Found:
    """With one or all channels constant, output and gradients are finite, in both modes."""
    for dtype in (torch.float32, torch.float64):
        for value in (0.0, 3.0):
            for mode in (True, False):
                layer = subject.layer(dtype=dtype).train(mode)
                found = trace(layer, torch.full_like(subject.x(dtype=dtype), value))
                assert all(t.isfinite().all() for t in found.tensors()), f"not finite for a constant input of {value}"
                x = subject.x(dtype=dtype)
                y = layer.conv(x).detach()
                y[:, 0] = value
                out, y_grad = _normalized(layer, y, x)
                assert out.isfinite().all() and y_grad.isfinite().all(), f"not finite for one channel of {value}"
    return 0.0, 0.0, "all channels or one of them 0 or 3, training and evaluation"
