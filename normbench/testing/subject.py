"""The layer under test behind a conv of its own, and how the checks drive it."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from normbench.norms import Norm

Factory = Callable[..., Norm]  # factory(conv, relu=..., workers=...) -> Norm
# (y, norm, x) -> expected output, all float64.
Reference = Callable[[np.ndarray, Norm, np.ndarray], np.ndarray]

# By the number of map axes.
CONVS: dict[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
CHANNELS_IN = 3
SIDE = 5  # of a map; small, odd, and no other number of the trials


class Layer(nn.Module):
    """A conv and the norm behind it, called the way a network calls them."""

    def __init__(self, conv: nn.Module, norm: Norm) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.normalize(self.conv(x), x)

    def normalize(self, y: Tensor, x: Tensor) -> Tensor:
        out: Tensor = self.norm(y, x) if self.norm.needs_input else self.norm(y)
        return out


@dataclass(frozen=True)
class Trace:
    """What one forward and backward left: output, gradients of the input and the parameters."""

    out: Tensor
    x_grad: Tensor
    grads: dict[str, Tensor | None]

    def tensors(self) -> list[Tensor]:
        return [self.out, self.x_grad, *(g for g in self.grads.values() if g is not None)]


@dataclass(frozen=True)
class Subject:
    """How to build the layer; the trial batches have `workers` workers of `images` images."""

    factory: Factory
    reference: Reference | None = None
    batch_free: bool | None = None
    channels: int = 8
    images: int = 4
    workers: int = 3
    steps: int = 4
    limit: float = 1e-10  # of an error in float64, relative to the largest value
    synchronized: bool = field(default=False)

    def layer(
        self,
        *,
        axes: int = 2,
        workers: int = 1,
        relu: bool = True,
        dtype: torch.dtype = torch.float64,
        kernel: int = 3,
        seed: int = 0,
    ) -> Layer:
        """A fresh layer in training mode; conv weights and all that is learned follow from `seed`.

        axes: of a map, 0 for a linear layer. The convs have no padding, so that a constant image
            gives constant maps.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            conv: nn.Module
            if axes == 0:
                conv = nn.Linear(CHANNELS_IN, self.channels, bias=False)
            else:
                conv = CONVS[axes](CHANNELS_IN, self.channels, kernel, bias=False)
            layer = Layer(conv.to(dtype), self.factory(conv, relu=relu, workers=workers))
            with torch.no_grad():
                # Off the values at which a mistake would not show.
                for parameter in layer.norm.parameters():
                    parameter.add_(0.2 * torch.randn_like(parameter))
        batch = self.images * workers
        layer.norm.plan(sgd_batch=batch, steps_per_epoch=1, epochs=self.steps)
        return layer.to(dtype).train()

    def x(
        self, *, workers: int = 1, images: int = 0, axes: int = 2, side: int = SIDE, step: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:  # fmt: skip
        """The input batch of a step: images of unlike mean and contrast."""
        generator = torch.Generator().manual_seed(1000 + step)
        n = (images or self.images) * workers
        each = (n, CHANNELS_IN, *[1] * axes)
        shape = (n, CHANNELS_IN, *[side + 2] * axes)  # the 3x3 conv leaves maps of `side`
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        contrast = 0.5 + torch.rand(each, generator=generator, dtype=torch.float64)
        mean = torch.randn(each, generator=generator, dtype=torch.float64)
        return (contrast * noise + mean).to(dtype)

    def claims_batch_free(self) -> bool:
        return self.layer().norm.batch_free if self.batch_free is None else self.batch_free


# ---------------------------------------------------------------------------- driving a layer


def cotangent(out: Tensor, step: int = 0) -> Tensor:
    """A fixed gradient of the loss with respect to the output."""
    generator = torch.Generator().manual_seed(2000 + step)
    return torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out.dtype)


def trace(layer: Layer, x: Tensor, grad: Tensor | None = None, step: int = 0) -> Trace:
    """One forward and backward; the gradients stay on the parameters for an optimizer."""
    layer.zero_grad(set_to_none=True)
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    out = layer(x)
    out.backward(cotangent(out, step) if grad is None else grad)
    assert x.grad is not None
    grads = {name: p.grad for name, p in layer.named_parameters()}
    return Trace(out.detach(), x.grad, {k: None if g is None else g.clone() for k, g in grads.items()})


def sgd(layer: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD((p for p in layer.parameters() if p.requires_grad), lr=0.01, momentum=0.9)


def train(
    subject: Subject, layer: Layer, steps: Iterable[int], optimizer: torch.optim.Optimizer, *, workers: int = 1,
    dtype: torch.dtype = torch.float64,
) -> list[Tensor]:  # fmt: skip
    """The outputs of these training steps."""
    outs = []
    for step in steps:
        outs.append(trace(layer, subject.x(workers=workers, step=step, dtype=dtype), step=step).out)
        optimizer.step()
    return outs


def trained(subject: Subject, *, workers: int = 1, dtype: torch.dtype = torch.float64, relu: bool = True) -> Layer:
    """A layer after a few training steps: what it remembers is not what it began with."""
    layer = subject.layer(workers=workers, dtype=dtype, relu=relu)
    train(subject, layer, range(subject.steps), sgd(layer), workers=workers, dtype=dtype)
    layer.zero_grad(set_to_none=True)
    return layer


def state(layer: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in layer.state_dict().items()}


def frozen_copy(layer: Layer) -> Layer:
    """A copy whose steps leave the layer alone."""
    return copy.deepcopy(layer)


# ---------------------------------------------------------------------------- comparing


def distance(a: Tensor, b: Tensor) -> float:
    """The largest difference, relative to b's largest value above 1; inf where not finite."""
    if a.shape != b.shape:
        raise AssertionError(f"shape {tuple(a.shape)} in place of {tuple(b.shape)}")
    if a.numel() == 0:
        return 0.0
    a, b = a.detach().double(), b.detach().double()
    difference = float((a - b).abs().max() / b.abs().max().clamp_min(1))
    return difference if difference == difference else float("inf")


def farthest(a: Iterable[Tensor], b: Iterable[Tensor]) -> float:
    return max((distance(u, v) for u, v in zip(a, b, strict=True)), default=0.0)


def differing(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    """The names whose tensors are not bit for bit the same."""
    if a.keys() != b.keys():
        return sorted(a.keys() ^ b.keys())
    return [k for k in a if not (a[k].dtype == b[k].dtype and torch.equal(a[k].nan_to_num(), b[k].nan_to_num()))]
