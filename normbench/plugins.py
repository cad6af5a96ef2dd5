"""Norms that installed packages offer: entry points, and the yaml beside each class. No torch.

A package's pyproject.toml names the class, `[project.entry-points."normbench.norms"]` with `frn2 =
"package.module:Class"`, and frn2.yaml lies beside the file that holds it: what
conf/norm/<name>.yaml is for our own. The yaml is found and read without importing the package, so a
sweep over its options is checked before anything starts; the class is imported when that norm is
built. A config file can name a norm, never code.
"""

import importlib.util
import re
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from normbench import paths
from normbench.config import ConfigError
from normbench.hints import nearest, one_line

GROUP = "normbench.norms"


def builtin() -> list[str]:
    """The norms of conf/norm."""
    return sorted(path.stem for path in (paths.conf() / "norm").glob("*.yaml"))


@cache
def offered() -> dict[str, list[EntryPoint]]:
    """What installed packages offer, by norm name; two packages may claim one name."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        if entry not in found.setdefault(entry.name, []):
            found[entry.name].append(entry)
    return found


def norm_names() -> list[str]:
    """Every name that norm= takes."""
    return sorted({*builtin(), *offered()})


def entry_of(name: str) -> EntryPoint:
    """The one entry point of that name; raises ConfigError where more than one layer claims it."""
    entries = offered()[name]
    claims = [_claim(entry) for entry in entries] + (["normbench itself"] if name in builtin() else [])
    if len(claims) > 1:
        raise ConfigError(f"norm={name} is claimed by {' and by '.join(claims)}; uninstall or rename one of them")
    return entries[0]


def yaml_of(name: str) -> Path:
    """The file with a norm's options, in conf/norm or beside an installed layer."""
    if name not in norm_names():
        raise ConfigError(f"norm={name}: no such norm{nearest(name, norm_names())}; one of {', '.join(norm_names())}")
    if name not in offered():
        return paths.conf() / "norm" / f"{name}.yaml"
    entry = entry_of(name)
    path = _yaml_beside(entry)
    if path is None or not path.is_file():
        where = f" ({path})" if path else ""
        raise ConfigError(f"norm={name}: {_claim(entry)} needs the file {name}.yaml beside it{where}, with its options")
    return path


def schema(name: str) -> dict[str, Any]:
    """The keys and defaults of a norm's yaml, interpolations left as they stand; or ConfigError."""
    path = yaml_of(name)
    found = read(path)
    if name in offered() and (found.get("name") != name or not isinstance(found.get("batch_free"), bool)):
        raise ConfigError(f"{path} must say name: {name}, and batch_free: true or false")
    return found


def options(name: str) -> list[str]:
    """The keys that norm.<key>= takes for that norm; raises ConfigError."""
    return [key for key in schema(name) if key not in ("name", "batch_free")]


def meanings(name: str) -> dict[str, list[str]]:
    """What each option means, line by line: the comment behind it in the yaml, and below that."""
    found: dict[str, list[str]] = {}
    for line in yaml_of(name).read_text(encoding="utf-8").splitlines():
        given, comment = (part.strip() for part in (*re.split(r"(?:^|\s+)#", line, maxsplit=1), "")[:2])
        if given:
            found[given.partition(":")[0]] = [comment] if comment else []
        elif comment and line.startswith(" ") and found:
            found[list(found)[-1]].append(comment)
    return found


@cache
def read(path: Path) -> dict[str, Any]:
    """A yaml as it stands, interpolations too.

    Read once, so not to be changed; raises ConfigError.
    """
    try:
        found = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OmegaConfBaseException, YAMLError, OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path} cannot be read: {one_line(e)}") from None
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}


def _claim(entry: EntryPoint) -> str:
    return f"{entry.value} of {entry.dist.name}" if entry.dist else entry.value


def _yaml_beside(entry: EntryPoint) -> Path | None:
    """<name>.yaml beside the file of the entry point's module; no module or package is imported."""
    module, *inner = entry.module.split(".")
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    for name in inner:
        if spec is None or spec.submodule_search_locations is None:
            return None
        module = f"{module}.{name}"
        spec = PathFinder.find_spec(module, list(spec.submodule_search_locations))
    return Path(spec.origin).parent / f"{entry.name}.yaml" if spec is not None and spec.origin else None
