"""From what the user typed to a checked Config. Hydra composes; its complaints become one line each. No torch.

`python -m normbench a=1 b=2` and `normbench.run(["a=1", "b=2"])` both go through config_of(), a sweep through cells().
"""

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from normbench import paths, plugins
from normbench.checks import check
from normbench.config import Config, ConfigError, label
from normbench.hints import nearest

ConfigStore.instance().store(group="schema", name="config", node=Config, package="_global_")
for _name in set(plugins.offered()) - set(plugins.builtin()):
    with suppress(ConfigError):  # told to whoever chooses that norm, and to nobody else
        ConfigStore.instance().store(group="norm", name=_name, node=plugins.schema(_name))

GROUPS = ("norm", "model", "data", "recipe", "protocol", "tracker", "experiment")


def config_of(overrides: list[str], files: bool = True) -> Config:
    """The checked Config that these overrides make; raises ConfigError, one line, for anything wrong with them.

    files: whether the data set's files have to be there.
    """
    with _hydra():
        return resolve(_compose(welcome(overrides)), files)


def composed(overrides: list[str]) -> DictConfig:
    """The configuration as Hydra composes it, its values not yet checked."""
    with _hydra():
        return _compose(welcome(overrides))


def cells(overrides: list[str], files: bool = True) -> list[Config]:
    """The Configs of a sweep, one a distinct run, in the order in which they are launched.

    files: whether the data set's files have to be there.
    """
    return [config for _, config in planned(overrides, files)]


def planned(overrides: list[str], files: bool = True) -> list[tuple[list[str], Config]]:
    """The Configs of a sweep, each with the overrides that make it without the sweep."""
    with _hydra():
        overrides = welcome(overrides)
        grid = [f"{key}={value}" for key, value in _sweeper_params(overrides).items()]
        compose_cell = _Composer()
        return [(cell, resolve(compose_cell(cell), files)) for cell in _product([*grid, *_no_hydra(overrides)])]


def resolve(composed: DictConfig, files: bool = True) -> Config:
    """The checked Config of a composed configuration."""
    if unknown := _unknown(composed, Config):
        raise ConfigError(f"{unknown}: no such key, and + would add one that nobody reads; leave it out")
    if missing := sorted(OmegaConf.missing_keys(composed)):
        raise ConfigError(f"{missing[0]} must be given: {missing[0]}=...")
    try:
        config = OmegaConf.to_object(composed)
    except OmegaConfBaseException as e:
        raise ConfigError(_first_line(e)) from None
    assert isinstance(config, Config)
    name = str(config.norm.get("name"))
    return check(config, norm_schema(name), norm_names(), files)


def norm_label(config: Config) -> str:
    """The norm's name and the options that differ from conf/norm/<name>.yaml."""
    return label(config.norm["name"], config.norm, norm_schema(config.norm["name"]))


def model_label(config: Config) -> str:
    """The network's name and the options that differ from conf/model/<name>.yaml."""
    path = paths.conf() / "model" / f"{config.model.name}.yaml"
    defaults = OmegaConf.select(OmegaConf.load(path), "options") if path.exists() else None
    return label(config.model.name, config.model.options, dict(defaults or {}))


def norm_names() -> list[str]:
    return plugins.norm_names()


def norm_schema(name: str) -> dict[str, Any]:
    """The keys and default values of a norm's yaml, interpolations left as they stand."""
    if name not in norm_names():
        raise ConfigError(f"norm={name}: no such norm{nearest(name, norm_names())}; one of {', '.join(norm_names())}")
    return plugins.schema(name)


@contextmanager
def _hydra() -> Iterator[None]:
    """Hydra's global state for the length of one composition; inside a Hydra app its own is put back."""
    had = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(paths.conf()), version_base="1.3", job_name="normbench"):
            yield
    finally:
        GlobalHydra.instance().clear()
        if had is not None:
            GlobalHydra.instance().hydra = had


def welcome(overrides: list[str]) -> list[str]:
    """Lets model.options.dropout=0.5 set a keyword argument of the network that its yaml does not list."""
    return [f"++{o}" if o.startswith("model.options.") else o for o in overrides]


# ---------------------------------------------------------------------------- sweeps


def _sweeper_params(overrides: list[str]) -> dict[str, Any]:
    """The grid that an experiment brings along, less what the command line says itself."""
    chosen = {o.key_or_group for o in _parse(overrides)}
    single = [o for o in _parse(overrides) if not o.is_sweep_override()]
    # of the values none: norm.window=4 may be meant for a norm that the grid chooses
    composed = _compose([o.input_line or "" for o in single if _is_choice(str(o.key_or_group))], hydra_too=True)
    params = OmegaConf.select(composed, "hydra.sweeper.params") or {}
    return {key: value for key, value in params.items() if key not in chosen}


class _Composer:
    """Composes the cells of a sweep: Hydra once for each choice of groups, values like batch=2 set in copies of that.

    Composing takes Hydra 60 ms, and a study has hundreds of cells. What a copy does not take is left to Hydra to refuse.
    """

    def __init__(self) -> None:
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def __call__(self, cell: list[str]) -> DictConfig:
        plain = [o for o in _parse(cell) if o.type == OverrideType.CHANGE and not _is_choice(str(o.key_or_group))]
        rest = tuple(o.input_line or "" for o in _parse(cell) if o not in plain)
        try:
            if rest not in self._composed:
                self._composed[rest] = _compose(list(rest))
            config = copy.deepcopy(self._composed[rest])
            for override in plain:
                OmegaConf.update(config, override.key_or_group, override.value())
        except (ConfigError, OmegaConfBaseException):
            return _compose(cell)
        return config


def _is_choice(key: str) -> bool:
    """Whether an override chooses a file of conf/, and so other values, or is Hydra's own."""
    return key in GROUPS or "/" in key or "@" in key or key.startswith("hydra")


def _product(overrides: list[str]) -> list[list[str]]:
    combinations: list[list[str]] = [[]]
    for override in _parse(overrides):
        if override.is_sweep_override():
            values = [f"{override.get_key_element()}={v}" for v in override.sweep_string_iterator()]
        else:
            values = [override.input_line or ""]
        combinations = [[*done, value] for done in combinations for value in values]
    return combinations


def _no_hydra(overrides: list[str]) -> list[str]:
    """Without hydra's own settings, which say how a sweep is launched and nothing about an experiment."""
    return [o for o in overrides if not re.match(r"[+~]*hydra[./=]", o)]


# ---------------------------------------------------------------------------- complaints


def _parse(overrides: list[str]) -> list[Override]:
    try:
        return OverridesParser.create().parse_overrides(overrides)
    except HydraException as e:
        raise ConfigError(f"{_first_line(e)}; an override is key=value, a sweep key=value,value") from None


def _compose(overrides: list[str], hydra_too: bool = False) -> DictConfig:
    try:
        return compose("config", overrides=overrides, return_hydra_config=hydra_too)
    except (HydraException, OmegaConfBaseException) as e:
        raise ConfigError(_explain(overrides, e)) from None


def _explain(overrides: list[str], error: Exception) -> str:
    """One line for what Hydra refused: which override, the choices, the nearest of them."""
    keys = _keys(compose("config"))
    for override in _parse(overrides):
        key = override.key_or_group
        if isinstance(error, MissingConfigException) and error.missing_cfg_file == f"{key}/{override.value()}":
            if key == "norm" and str(override.value()) in plugins.offered():
                plugins.schema(str(override.value()))  # raises: Hydra was not told of a norm without a sound yaml
            options = [o for o in error.options or [] if not o.startswith("for_")]
            near = nearest(str(override.value()), options)
            return f"{key}={override.value()}: no such {key}{near}; one of {', '.join(options)}"
        if key.startswith("hydra"):
            continue
        if override.is_sweep_override():
            return f"{override.input_line}: several values are a sweep; add -m"
        if key not in GROUPS and key.split(".")[0] == "norm":
            known = [f"norm.{k}" for k in _chosen_norm_keys(overrides)]
            if known and key not in known and not override.is_add():
                return f"{key}: no such option{nearest(key, known)}; this norm has {', '.join(known) or 'none'}"
        elif key not in GROUPS and key not in keys and not override.is_add():
            near = nearest(key, [*GROUPS, *keys])
            siblings = [k for k in keys if k.rpartition(".")[0] == key.rpartition(".")[0]]
            top = [*GROUPS, *(k for k in keys if "." not in k and k not in GROUPS)]
            shown = siblings if "." in key and siblings else top
            return f"{key}: no such key{near}; one of {', '.join(shown)}"
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    named = next((o for o in overrides if o in str(error)), "")
    return f"{named}: {_first_line(cause)}" if named and named not in _first_line(cause) else _first_line(cause)


def _unknown(node: DictConfig, schema: type) -> str | None:
    """A key that + added to a part of the configuration whose keys are fixed: it would be ignored."""
    known = {f.name: f for f in fields(schema)}
    for key in map(str, node):
        if key not in known:
            return key
        part = known[key].default_factory
        if isinstance(part, type) and is_dataclass(part) and (inner := _unknown(node[key], part)):
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


def _chosen_norm_keys(overrides: list[str]) -> list[str]:
    name = next((str(o.value()) for o in _parse(overrides) if o.key_or_group == "norm"), "bn")
    return [k for k in norm_schema(name) if k not in ("name", "batch_free")]


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
