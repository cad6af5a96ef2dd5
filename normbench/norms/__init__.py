"""The normalization layers, one family per file; conf/norm/<name>.yaml has a layer's options.

A norm is built for a Site: the conv (or linear layer) that it follows, and whether a ReLU follows
it. Every idea in the field fits that seam: `build("gn", conv, relu=True, workers=8, groups=32)`. To
add one: a file here that holds a subclass of Norm, or of RunningNorm where a batch has statistics,
and a yaml. Nothing else knows the layers by name. An installed package adds one in the same way,
through the entry-point group normbench.norms (plugins.py); it is imported when asked for.

`normbench norms` prints the table of all of them, `normbench norms mabn` one.
"""

import importlib
import pkgutil
from functools import cache
from typing import Any

from torch import nn

from normbench import plugins
from normbench.config import ConfigError
from normbench.hints import nearest
from normbench.norms.base import Norm, Site
from normbench.norms.running import RunningNorm

__all__ = ["Norm", "RunningNorm", "Site", "build", "layer", "names"]


@cache
def _layers() -> dict[str, type[Norm]]:
    """Every Norm of this package by its name."""
    found: dict[str, type[Norm]] = {}
    for module in pkgutil.iter_modules(__path__):
        if module.name == "__main__":
            continue
        file = importlib.import_module(f"{__name__}.{module.name}")
        for cls in vars(file).values():
            ours = isinstance(cls, type) and issubclass(cls, Norm) and cls.__module__ == file.__name__
            if ours and (name := vars(cls).get("name")):  # its own name
                found[name] = cls
    return found


@cache
def _installed(name: str) -> type[Norm]:
    """The class that an installed package offers under this name."""
    entry, cls = plugins.entry_of(name), plugins.load(name)
    if not (isinstance(cls, type) and issubclass(cls, Norm)):
        raise ConfigError(f"norm={name}: {entry.value} is not a subclass of normbench.norms.Norm")
    if cls.name != name:
        raise ConfigError(f"norm={name}: {entry.value} must say name = {name!r}, and says {cls.name!r}")
    return cls


def names() -> list[str]:
    """The names that `norm=` takes."""
    return sorted({*_layers(), *plugins.offered()})


def layer(name: str) -> type[Norm]:
    """The class of that name; raises ConfigError, with the choices, for an unknown one."""
    if name in plugins.offered():
        return _installed(name)
    if name not in _layers():
        raise ConfigError(f"norm={name}: no such layer{nearest(name, names())}; one of {', '.join(names())}")
    return _layers()[name]


def build(norm: str | type[Norm], conv: nn.Module, relu: bool = False, workers: int = 1, **options: Any) -> Norm:
    """The layer behind `conv`, given the name that `norm=` takes, or its class.

    conv: the Conv1d/2d/3d or Linear whose output is normalized. relu: whether a ReLU follows; only
    a norm that owns its activation acts on it. workers: the local (virtual) workers whose images
    the batch interleaves, image i belonging to worker i mod workers. options: those of
    conf/norm/<name>.yaml. Raises ConfigError where the options do not fit the layer.
    """
    cls = layer(norm) if isinstance(norm, str) else norm
    return cls(Site(conv, relu, workers), **options)
