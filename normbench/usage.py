"""`normbench --help` and `--version`.

Hydra would load every option of every group for it, and take seconds. No torch.
"""

import importlib.metadata
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from normbench import plugins
from normbench.compose import composed
from normbench.config import GROUPS, Config
from normbench.version import VERSION

TEXT = """\
How does the error of a network depend on the number of images each worker normalizes over?

  normbench norm=gn batch=2                      one run
  normbench -m norm=bn,gn batch=2,4,8 seed=0,1   a sweep; rerun it and it continues
  normbench -m norm=bn,gn batch=2,4,8 --dry      its cells, states and device-hours, without running it
  normbench -m norm=bn,gn hydra/launcher=joblib  as many at a time as GPUs or cores; ray, slurm: on a cluster
  normbench data=cifar10 data.download=true      the network, recipe and protocol that belong to CIFAR-10
  normbench norms                                the norms, with their options and papers
  normbench collect                              what is on disk, cell by cell
  normbench show 3f2a                            one run: its curve, its errors by class, what continues it
  normbench figures gn_fig1                      error against batch, the published curve beneath
  normbench --cfg job norm=gn                    the whole configuration, without running it
  normbench --hydra-help                         Hydra's own flags

Groups, chosen as group=option:

{groups}

Keys, set as key=value; normbench norms {norm} says what the options of norm={norm} mean:

{keys}"""

WIDEST = 40  # of key=value, before its meaning
# what a yaml or the code says, and no one types
NOT_SET = ("data.facts", "data.files", "batch_free", "experiment")


def text(overrides: list[str]) -> str:
    """The help, with the keys and values that these overrides lead to.

    Raises ConfigError for a wrong one.
    """
    groups = "\n".join(f"  {group}: {', '.join(plugins.names(group))}" for group in GROUPS)
    values = _plain(composed(overrides))
    lines = [(f"{name}={_typed(value)}", meaning) for name, value, meaning in _keys(Config, values)]
    width = min(max(len(typed) for typed, _ in lines), WIDEST)
    keys = "\n".join(f"  {typed:{width}}  {meaning}".rstrip() for typed, meaning in lines)
    return TEXT.format(groups=groups, keys=keys, norm=values["norm"]["name"])


def version() -> str:
    """normbench and what its numbers depend on, as a report of a fault should name them."""
    named = ["torch", "torchvision", "hydra-core", "numpy"]
    return "\n".join([f"normbench {VERSION}", *(f"{name} {importlib.metadata.version(name)}" for name in named)])


def _plain(config: DictConfig) -> dict[str, Any]:
    """As plain values; unresolved where one hangs on another that is still to be set."""
    try:
        return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    except OmegaConfBaseException:
        return cast(dict[str, Any], OmegaConf.to_container(config))


def _keys(schema: type, values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Every key with its value and its meaning; of a norm and a network, those that it has."""
    for f in fields(schema):
        name, value = f"{prefix}{f.name}", values[f.name]
        if isinstance(f.default_factory, type) and is_dataclass(f.default_factory):
            yield from _keys(f.default_factory, value, f"{name}.")
        elif isinstance(value, dict) and value:
            if name not in NOT_SET:
                yield from ((f"{name}.{option}", given, "") for option, given in value.items() if option not in NOT_SET)
        elif name not in NOT_SET:
            yield name, value, f.metadata["meaning"]


def _typed(value: Any) -> str:
    """A value as it is typed on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(_typed, value))}]"
    return "..." if str(value).startswith("${") else str(value)
