"""The normalization layers, one family a file. conf/norm/<name>.yaml names a layer and its options.

A norm is built for the conv (or linear layer) that it follows and told whether a ReLU follows it, so that every idea in the
field fits one seam: `build("gn", conv, relu=True, workers=8, groups=32)`. To add one: a file here that holds a Norm
subclass of that name, and a yaml. Nothing else knows the layers by name.
"""

import importlib
import pkgutil
from functools import cache
from typing import Any

from torch import nn

from normbench.config import ConfigError
from normbench.norms.base import Norm

__all__ = ["Norm", "build", "layer", "names"]


@cache
def _layers() -> dict[str, type[Norm]]:
    """Every Norm of this package by its name; importing a file is what makes its layers known."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return {cls.name: cls for cls in _subclasses(Norm) if cls.name}


def _subclasses(cls: type[Norm]) -> list[type[Norm]]:
    return [found for direct in cls.__subclasses__() for found in (direct, *_subclasses(direct))]


def names() -> list[str]:
    """The names that `norm=` takes."""
    return sorted(_layers())


def layer(name: str) -> type[Norm]:
    """The class of that name; raises ConfigError, with the choices, for an unknown one."""
    if name not in _layers():
        raise ConfigError(f"norm={name}: no such layer; one of {', '.join(names())}")
    return _layers()[name]


def build(name: str, conv: nn.Module, relu: bool = False, workers: int = 1, **options: Any) -> Norm:
    """The layer `name` behind `conv`.

    conv: the Conv1d/2d/3d or Linear whose output is normalized. relu: whether a ReLU follows; only a norm that owns its
    activation acts on it. workers: the local (virtual) workers whose images the batch interleaves, image i belonging to
    worker i mod workers. options: those of conf/norm/<name>.yaml.
    Raises ConfigError where the options do not fit the layer.
    """
    return layer(name)(conv, relu=relu, workers=workers, **options)
