"""The networks by name, with BatchNorms: our CIFAR ResNets, torchvision's, timm's, packages' own.

An installed package offers a callable(num_classes=, image_channels=, **options) -> nn.Module
through the entry-point group normbench.models (plugins.py).
"""

import re
from collections.abc import Callable
from typing import Any

from torch import nn

from normbench import plugins
from normbench.config import ConfigError
from normbench.hints import first_line, nearest
from normbench.models.cifar_resnet import CifarResNet

CIFAR = re.compile(r"cifar_resnet(\d+)")
# those with a published number and ResNet-8; any 6n+2 can be built
CIFAR_DEPTHS = (8, 20, 32, 44, 56, 110)
WITH_NORMS = {name: f"{name}_bn" for name in ("vgg11", "vgg13", "vgg16", "vgg19")}

# Both would warn that a coming torchvision changes the default of this option; its slow scipy
# initialisation is gone.
EXPLICIT: dict[str, dict[str, Any]] = {"googlenet": {"init_weights": True}, "inception_v3": {"init_weights": True}}


def build_stock(name: str, num_classes: int, image_channels: int, options: dict[str, Any]) -> nn.Module:
    """The network as its authors define it, untrained.

    Raises ConfigError for an unknown name or option.
    """
    if name in plugins.offered("model"):
        return _installed(name, num_classes, image_channels, options)
    if cifar := CIFAR.fullmatch(name):
        sizes = {"depth": int(cifar[1]), "num_classes": num_classes, "image_channels": image_channels}
        return _construct(name, CifarResNet, sizes, options)
    if name.startswith("timm/"):
        return _timm(name, num_classes, image_channels, options)
    return _torchvision(name, num_classes, image_channels, options)


def _installed(name: str, num_classes: int, image_channels: int, options: dict[str, Any]) -> nn.Module:
    from torchvision import models

    make, entry = plugins.load(name, "model"), plugins.entry_of(name, "model").value
    if CIFAR.fullmatch(name) or name in models.list_models():
        raise ConfigError(f"model={name} is claimed by {entry} and by a network of that name here; rename it")
    if not callable(make):
        raise ConfigError(f"model={name}: {entry} is no function or class that makes a network")
    made = _construct(name, make, {"num_classes": num_classes, "image_channels": image_channels}, options)
    if not isinstance(made, nn.Module):
        raise ConfigError(f"model={name}: {entry} made no torch.nn.Module, but {type(made).__name__}")
    return made


def _torchvision(name: str, num_classes: int, image_channels: int, options: dict[str, Any]) -> nn.Module:
    from torchvision import models  # takes a second, and our own networks do without

    known = models.list_models(module=models) + models.list_models(module=models.video)
    if name not in known:
        ours = [f"cifar_resnet{depth}" for depth in CIFAR_DEPTHS]
        raise ConfigError(
            f"model.name={name}: no such network{nearest(name, ours + known)}; it is cifar_resnet20, a classification "
            "network of torchvision such as resnet50, or timm/<name>"
        )
    if image_channels != 3:
        raise ConfigError(
            f"model={name} takes images of 3 channels, the data has {image_channels}; cifar_resnet and timm networks "
            "take any number"
        )
    fixed = {"weights": None, "num_classes": num_classes}
    options = {**EXPLICIT.get(name, {}), **options}
    return _construct(name, lambda **given: models.get_model(WITH_NORMS.get(name, name), **given), fixed, options)


def _timm(name: str, num_classes: int, image_channels: int, options: dict[str, Any]) -> nn.Module:
    try:
        import timm
    except ImportError:
        raise ConfigError(f"model.name={name} needs timm, which is not installed: pip install timm") from None
    short = name.removeprefix("timm/")
    if not timm.is_model(short):
        raise ConfigError(f"model.name={name}: timm has no such network{nearest(short, timm.list_models())}")
    fixed = {"pretrained": False, "num_classes": num_classes, "in_chans": image_channels}
    return _construct(name, lambda **given: timm.create_model(short, **given), fixed, options)


def _construct(name: str, make: Callable[..., nn.Module], fixed: dict[str, Any], options: dict[str, Any]) -> nn.Module:
    """make(**fixed, **options); what the user wrote wrongly becomes one line that names it."""
    if taken := sorted(set(fixed) & set(options)):
        raise ConfigError(f"model.options.{taken[0]}: follows from the data and the name, leave it out")
    try:
        return make(**fixed, **options)
    except ConfigError:
        raise
    except Exception as error:  # third-party constructors raise what they like
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown and unknown[1] in fixed:
            raise ConfigError(f"model={name} takes no {unknown[1]}=, and every network is told it") from None
        if not options:
            raise  # nothing the user wrote: a defect, to be seen whole
        if unknown:
            raise ConfigError(f"model.options.{unknown[1]}: {name} takes no such option") from None
        given = ", ".join(f"{key}={value!r}" for key, value in options.items())
        raise ConfigError(f"model.options {given}: {name} cannot be built so ({first_line(error)})") from None
