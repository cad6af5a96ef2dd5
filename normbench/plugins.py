"""Norms, networks, data sets and trackers that installed packages offer. No torch.

A package's pyproject.toml names the class or function, `[project.entry-points."normbench.norms"]`
with `frn2 = "package.module:Class"`, and frn2.yaml lies beside the file that holds it: what
conf/norm/<name>.yaml is for our own. The groups are those of GROUPS. A yaml is found and read
without importing the package, so a sweep over its options is checked before anything starts; the
class is imported when it is built. A config file can name what is offered, never code.
"""

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from normbench import paths
from normbench.config import ConfigError, Data, Model, Tracker
from normbench.hints import nearest, one_line

# groups of conf/, and of entry points
GROUPS = {
    "norm": "normbench.norms",
    "model": "normbench.models",
    "data": "normbench.data",
    "tracker": "normbench.trackers",
}
# what a yaml may say; a norm's says its options at the top
SCHEMAS: dict[str, type] = {"model": Model, "data": Data, "tracker": Tracker}


def builtin(group: str = "norm") -> list[str]:
    """What conf/<group> holds."""
    return sorted(path.stem for path in (paths.conf() / group).glob("*.yaml") if not path.stem.startswith("for_"))


@cache
def offered(group: str = "norm") -> dict[str, list[EntryPoint]]:
    """What installed packages offer, by name; two packages may claim one name."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUPS[group]):
        if entry not in found.setdefault(entry.name, []):
            found[entry.name].append(entry)
    return found


def names(group: str = "norm") -> list[str]:
    """Every name that <group>= takes."""
    return sorted({*builtin(group), *(offered(group) if group in GROUPS else ())})


def entry_of(name: str, group: str = "norm") -> EntryPoint:
    """The one entry point of that name; raises ConfigError where more than one claims it."""
    entries = offered(group)[name]
    claims = [_claim(entry) for entry in entries] + (["normbench itself"] if name in builtin(group) else [])
    if len(claims) > 1:
        raise ConfigError(f"{group}={name} is claimed by {' and by '.join(claims)}; uninstall or rename one of them")
    return entries[0]


def load(name: str, group: str = "norm") -> Any:
    """The class or function that an installed package offers; raises ConfigError."""
    entry = entry_of(name, group)
    try:
        return entry.load()
    except Exception as e:  # a stranger's import may fail in any way
        said = f"{type(e).__name__}: {one_line(e)}"
        raise ConfigError(f"{group}={name}: {entry.value} cannot be imported: {said}") from e


def yaml_of(name: str, group: str = "norm") -> Path:
    """The file of that name, in conf/<group> or beside what an installed package offers."""
    if name not in names(group):
        choices = names(group)
        raise ConfigError(f"{group}={name}: no such {group}{nearest(name, choices)}; one of {', '.join(choices)}")
    if name not in offered(group):
        return paths.conf() / group / f"{name}.yaml"
    entry = entry_of(name, group)
    path = _yaml_beside(entry)
    if path is None or not path.is_file():
        where = f" ({path})" if path else ""
        claim = f"{group}={name}: {_claim(entry)}"
        raise ConfigError(f"{claim} needs the file {name}.yaml beside it{where}, with its options")
    return path


def schema(name: str, group: str = "norm") -> dict[str, Any]:
    """The keys and defaults of a yaml, interpolations left as they stand; or ConfigError."""
    path = yaml_of(name, group)
    found = read(path)
    if name not in offered(group):
        return found
    if group == "norm" and (found.get("name") != name or not isinstance(found.get("batch_free"), bool)):
        raise ConfigError(f"{path} must say name: {name}, and batch_free: true or false")
    if found.get("name") != name:
        raise ConfigError(f"{path} must say name: {name}")
    known = [f.name for f in fields(SCHEMAS[group])] if group in SCHEMAS else list(found)
    for key in found:
        if key not in known and not (group == "data" and key == "defaults"):
            way = f"a {group}'s own go under options"
            raise ConfigError(f"{path} says {key}, which no {group} has{nearest(key, known)}; {way}")
    if not isinstance(found.get("options", {}), dict):
        raise ConfigError(f"{path}: options are key: default, got {found['options']!r}")
    return found


def check_like(typed: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str, where: str) -> None:
    """Raises ConfigError for an option that a yaml does not have, or has as another type.

    A default of null takes anything, and so does an interpolation. prefix: what stands before the
    key on the command line. where: the yaml, in words.
    """
    for key, value in typed.items():
        if key not in defaults:
            has = f"it has {', '.join(defaults)}" if defaults else "it has none, leave it out"
            raise ConfigError(f"{prefix}{key}: no such option of {where}{nearest(key, defaults)}; {has}")
        default = defaults[key]
        if default is None or (isinstance(default, str) and "${" in default):
            continue
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            continue  # settle.py makes it a float
        if default == "auto" and isinstance(value, (int, float)):
            continue
        if type(value) is not type(default):
            kind = type(default).__name__
            raise ConfigError(f"{prefix}{key}={value!r} should be a {kind}, like the {default!r} of {where}")


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
