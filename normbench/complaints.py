"""What Hydra refuses, said in one line: which override, the choices, the nearest of them.

No torch.
"""

from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from normbench import facts, plugins
from normbench.config import GROUPS, ConfigError
from normbench.hints import first_line, nearest


def parse(overrides: list[str]) -> list[Override]:
    """The overrides as Hydra reads them; raises ConfigError for one that it cannot."""
    return [_parse(override) for override in overrides]


@cache
def _parse(override: str) -> Override:
    try:
        return OverridesParser.create().parse_overrides([override])[0]
    except RecursionError:
        raise ConfigError(f"{override[:40]}...: nested too deep") from None
    except HydraException as e:
        raise ConfigError(
            f"{first_line(e).removeprefix('LexerNoViableAltException: ')}; an override is key=value, a sweep key=value,value"
        ) from None


def explain(overrides: list[str], error: Exception) -> str:
    """One line for what Hydra refused of these overrides."""
    keys = _keys(compose("config"))
    for override in parse(overrides):
        if isinstance(error, MissingConfigException) and (said := _no_such_choice(override, error)):
            return said
        if override.key_or_group.startswith("hydra"):
            continue
        if override.is_sweep_override():
            return f"{override.input_line}: several values are a sweep; add -m"
        key = override.key_or_group
        if key not in GROUPS and not override.is_add() and (said := _no_such_key(key, overrides, keys)):
            return said
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if "is not Optional" in str(cause) and (nulls := [o for o in overrides if o.endswith("=null")]):
        return f"{nulls[0]}: this key cannot be null; give it a value, or leave it out"
    named = next((o for o in overrides if o in str(error)), "")
    return f"{named}: {first_line(cause)}" if named and named not in first_line(cause) else first_line(cause)


def _no_such_choice(override: Override, error: MissingConfigException) -> str | None:
    """What to say where an override chooses a file that conf/ does not have; None otherwise."""
    key, value = override.key_or_group, str(override.value())
    if error.missing_cfg_file != f"{key}/{value}":
        return None
    if key in plugins.GROUPS and value in plugins.offered(key):
        plugins.schema(value, key)  # raises: Hydra was not told of one without a sound yaml
    options = [o for o in error.options or [] if not o.startswith("for_")]
    way = facts.within_a_source(value) if key == "data" else None
    said = f" ({way})" if way else nearest(value, options)
    return f"{key}={value}: no such {key}{said}; one of {', '.join(options)}"


def _no_such_key(key: str, overrides: list[str], keys: list[str]) -> str | None:
    """What to say of a key that is none of `keys`; None where it is one."""
    group, prefix = key.split(".")[0], f"{key.split('.')[0]}.options."
    if group == "norm" or (group in ("data", "tracker") and key.startswith(prefix)):
        default = {"norm": "bn", "data": "digits", "tracker": "none"}[group]
        name = next((str(o.value()) for o in parse(overrides) if o.key_or_group == group), default)
        if group == "norm":
            known = [f"norm.{option}" for option in plugins.options(name)]
        else:
            known = [prefix + option for option in plugins.schema(name, group).get("options", {})]
        if key in known:
            return None
        if not known:
            return f"{key}: no such option; {group}={name} has none, leave it out"
        return f"{key}: no such option{nearest(key, known)}; this {group} has {', '.join(known)}"
    if key in keys:
        return None
    siblings = [k for k in keys if k.rpartition(".")[0] == key.rpartition(".")[0]]
    top = [*GROUPS, *(k for k in keys if "." not in k and k not in GROUPS)]
    shown = siblings if "." in key and siblings else top
    return f"{key}: no such key{nearest(key, [*GROUPS, *keys])}; one of {', '.join(shown)}"


def unknown(node: DictConfig, schema: type) -> str | None:
    """The first key that + added where the keys are fixed, so that nobody would read it."""
    known = {f.name: f for f in fields(schema)}
    for key in map(str, node):
        if key not in known:
            return key
        part = known[key].default_factory
        if isinstance(part, type) and is_dataclass(part) and (inner := unknown(node[key], part)):
            return f"{key}.{inner}"
    return None


def _keys(node: Any, prefix: str = "") -> list[str]:
    found = []
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none():
            found += _keys(child, f"{prefix}{key}.")
        else:
            found.append(f"{prefix}{key}")
    return found
