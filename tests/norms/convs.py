"""Convs of every kind, a random input for each, and a norm behind one: shared by test files."""

import copy

import torch
from torch import nn

from normbench import norms

torch.manual_seed(0)
CONVS = [
    nn.Conv2d(3, 4, 3, padding=1),
    nn.Conv2d(3, 4, (3, 1), stride=2, padding=(2, 0), bias=False),
    nn.Conv2d(4, 6, 3, groups=2, dilation=2, padding=2),
    nn.Conv2d(4, 4, 3, groups=4, padding="same"),
    nn.Conv2d(3, 5, 3, padding=1, padding_mode="reflect"),
    nn.Conv2d(3, 5, 2, padding=1, padding_mode="circular", stride=2),
    nn.Conv1d(3, 4, 3, stride=2),
    nn.Conv3d(2, 4, (1, 3, 3), padding=(0, 1, 1)),
    nn.Linear(5, 4),
]


def image(conv: nn.Module, batch: int = 4) -> torch.Tensor:
    """A random input that fits the layer."""
    if isinstance(conv, nn.Linear):
        return torch.randn(batch, conv.in_features, dtype=torch.float64)
    return torch.randn(batch, conv.in_channels, *[6, 5, 7][: len(conv.kernel_size)], dtype=torch.float64)


def double(conv: nn.Module) -> nn.Module:
    return copy.deepcopy(conv).double()


def layer(conv: nn.Module, name: str = "cbn", **options) -> norms.Norm:
    """A norm with some gamma and beta."""
    norm = norms.build(name, conv, **options)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 1.5, norm.channels))
        norm.bias.copy_(torch.linspace(-1, 1, norm.channels))
    return norm


def move(conv: nn.Module, by: float) -> None:
    with torch.no_grad():
        conv.weight += by * torch.randn_like(conv.weight)


def mean_of(y: torch.Tensor) -> torch.Tensor:
    return y.transpose(0, 1).flatten(1).mean(1)
