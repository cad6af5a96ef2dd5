"""The networks, each with any norm in the place of its BatchNorms: build("resnet50", norm="gn")."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from normbench import norms
from normbench.config import ConfigError
from normbench.models.dropout import position_dropout
from normbench.models.init import initialize
from normbench.models.stock import build_stock
from normbench.models.swap import convs_before, norm_layers, trace

# so that normbench.models.swap stays the module
from normbench.models.swap import swap as swap_norms

__all__ = ["build", "convs_before", "norm_layers"]


def build(
    name: str,
    norm: str | Mapping[str, Any] = "bn",
    num_classes: int = 10,
    workers: int = 1,
    *,
    image_channels: int = 3,
    zero_last_gamma: bool = True,
    init: str = "he_fan_out",
    fc_std: float | None = 0.01,
    **options: Any,
) -> nn.Module:
    """The network `name` with `norm` behind its convs, in training mode.

    name: cifar_resnetN (N = 6n+2), a classification network of torchvision (vgg16 means vgg16_bn,
    since a norm needs a place to stand; r3d_18 and the other video networks too), or timm/<name>.
    norm: a name, or the dict of a conf/norm/*.yaml. workers: the local (virtual) workers whose
    images a batch interleaves. init, fc_std, zero_last_gamma: see models/init.py. options: keyword
    arguments of that network, e.g. width=32 for a cifar_resnet. The weights are drawn from torch's
    global generator before the norm is placed: equal seeds give equal convs under every norm.
    Raises ConfigError for an unknown name or option and for a network that the norm cannot be
    placed in.
    """
    norm_options = {"name": norm} if isinstance(norm, str) else dict(norm)
    norm_options.pop("batch_free", None)  # says what the layer is, not how to build it
    norm_name = norm_options.pop("name")
    norms.layer(norm_name)  # an unknown norm is no fault of the network

    def make(conv: nn.Module, relu: bool, layer: str) -> norms.Norm:
        try:
            return norms.build(norm_name, conv, relu=relu, workers=workers, **norm_options)
        except ConfigError as error:
            raise ConfigError(f"layer {layer}: {error}") from None

    model = build_stock(name, num_classes, image_channels, options)
    try:
        network = trace(model)
        initialize(network, init=init, fc_std=fc_std, zero_last_gamma=zero_last_gamma)
        return position_dropout(swap_norms(network, make))
    except ConfigError as error:
        raise ConfigError(f"model={name}: {error}") from None
