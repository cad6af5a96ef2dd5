"""The overrides as text, before Hydra composes them: what it stumbles over is refused here.

No torch.
"""

import math
import re
from dataclasses import fields, is_dataclass

from hydra.core.override_parser.types import Override, OverrideType, RangeSweep, ValueType

from normbench.complaints import parse
from normbench.config import GROUPS, SOURCES, Config, ConfigError

MOST_CELLS = 10_000  # of a sweep: each is composed before the first one starts
# parts of the configuration that take any key: arguments of what somebody else wrote
FREE = ("model.options.", "recipe.optimizer_options.", "recipe.schedule_options.")
PATHS = ("out", "data.root", "norm.checkpoint")
# Hydra's own settings that a sweep takes; the others would be read by nobody, or run code
HYDRA_TAKES = re.compile(r"hydra/launcher|hydra\.sweep\.dir|hydra\.launcher(\.[A-Za-z]\w*)+")
NAMES = ("norm.name", "data.name", "data.source", "recipe.name", "protocol.name", "tracker.name")
NAME = re.compile(r"[\w-]+")


def spelled(overrides: list[str]) -> list[str]:
    """The overrides with quotes where Hydra's grammar has no letters for a value, as for größe.

    An argument of the network, the optimizer or the schedule need not stand in a yaml:
    model.options.dropout=0.5.
    """
    return [_quoted(f"++{o}" if o.startswith(FREE) else o) for o in overrides]


def vet(overrides: list[str], sweep: bool) -> None:
    """Raises ConfigError for the first of these overrides that is refused, whatever it would set.

    overrides: spelled. sweep: whether they are a sweep's, where a key may have several values.
    """
    cells, several = 1, set[str]()
    own_name = _has_own_name(overrides)
    for text in overrides:
        if not text.isprintable():
            raise ConfigError(f"{text!a}: a character that cannot be printed; leave it out")
        if "${" in text:
            raise ConfigError(f"{text}: a reference to another value is for files in conf/; type the value itself")
    for override in parse(overrides):
        key, text = str(override.key_or_group), str(override.input_line)
        _vet_key(override, key, text, sweep)
        if key in NAMES and not (key == "data.name" and own_name):
            raise ConfigError(f"{text}: the name goes with the rest of its file; type {key.partition('.')[0]}=NAME")
        if key in several:  # a single value before several gives way to them
            raise ConfigError(f"{text}: {key} is given twice, once with several values; give it once")
        if override.is_sweep_override():
            if not sweep:
                raise ConfigError(f"{text}: several values are a sweep; add -m")
            cells *= _count(override, text)
            several.add(key)
        elif _is_group(key):
            _vet_name(key, override.value(), text)
        elif _is_switch(key) and not isinstance(override.value(), bool):
            raise ConfigError(f"{text}: {key} is true or false")
        if cells > MOST_CELLS:
            raise ConfigError(f"{text}: that makes {cells:,} cells, and a sweep has at most {MOST_CELLS:,}; split it")


def _vet_key(override: Override, key: str, text: str, sweep: bool) -> None:
    if not key:
        raise ConfigError(f"{text}: a setting is key=value; --help lists the keys")
    if override.package is not None:
        raise ConfigError(f"{text}: a key has no @; type {key}=...")
    if override.type == OverrideType.DEL and not key.startswith(FREE):
        raise ConfigError(f"{text}: nothing can be taken away; type {key}=VALUE for another value")
    if override.is_add() and key in GROUPS:
        raise ConfigError(f"{text}: a run has one {key} already; type {text.lstrip('+')}")
    if key == "experiment" and override.is_sweep_override():
        raise ConfigError(f"{text}: one experiment at a time, for each brings a grid of its own")
    if key.startswith("experiment."):
        raise ConfigError(f"{text}: an experiment has no keys of its own; choose one by its name, experiment=NAME")
    if re.match(r"hydra\b", key):
        if not sweep:
            raise ConfigError(f"{text}: Hydra's own settings say how a sweep is launched; add -m, or leave it out")
        if not HYDRA_TAKES.fullmatch(key):
            takes = "hydra/launcher, hydra.launcher.KEY and hydra.sweep.dir"
            raise ConfigError(f"{text}: of Hydra's own settings a sweep takes {takes}; leave it out")
        if override.is_sweep_override():
            raise ConfigError(f"{text}: a sweep is launched in one way; give one value")
        if key == "hydra.sweep.dir" and not (isinstance(override.value(), str) and override.value()):
            raise ConfigError(f"{text}: a folder's name, e.g. hydra.sweep.dir=sweep")
        if key == "hydra.launcher.n_jobs" and (type(override.value()) is not int or not override.value()):
            raise ConfigError(f"{text}: how many jobs at a time, e.g. 4; -1 is one a core")


def _has_own_name(overrides: list[str]) -> bool:
    """Whether data.name= is the user's word: only a source's data sets have one."""
    chosen = [str(o.input_line).partition("=")[2] for o in parse(overrides) if o.key_or_group == "data"]
    return bool(chosen) and chosen[-1] in SOURCES


def _is_group(key: str) -> bool:
    return key in GROUPS or key == "hydra/launcher"


def _is_switch(key: str) -> bool:
    """Whether a key is true or false, for which OmegaConf would take a number as well."""
    part: type = Config
    for name in key.split("."):
        field = next((f for f in fields(part) if f.name == name), None) if is_dataclass(part) else None
        if field is None:
            return False
        part = field.type if isinstance(field.type, type) else object
    return part is bool


def _vet_name(key: str, value: object, text: str) -> None:
    """A group takes the name of one file of conf/."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        what = "is empty" if value == "" else "takes one name"
        way = f"leave it out, or type {key}=NAME" if key in ("experiment", "tracker") else f"type {key}=NAME"
        raise ConfigError(f"{text}: {key} {what}; {way}")


def _count(override: Override, text: str) -> int:
    """The number of values of a sweep; raises ConfigError where they cannot be listed."""
    key, value = str(override.key_or_group), override.value()
    kind = override.value_type
    if kind in (ValueType.GLOB_CHOICE_SWEEP, ValueType.INTERVAL_SWEEP):
        what = "a pattern" if kind == ValueType.GLOB_CHOICE_SWEEP else "an interval"
        raise ConfigError(f"{text}: {what} does not say which values; list them, {key}=A,B")
    if isinstance(value, RangeSweep):
        start, stop, step = value.start or 0, value.stop, value.step
        if stop is None or not step or not all(map(math.isfinite, (start, stop, step))):
            raise ConfigError(f"{text}: a range is range(START,STOP) or range(START,STOP,STEP), and STEP is not 0")
        count = math.ceil((stop - start) / step)
    else:
        found = list(getattr(value, "list", None) or [])
        count = len(found)
        if _is_group(key):
            for one in found:
                _vet_name(key, one, text)
    if count < 1:
        raise ConfigError(f"{text}: not one value; list them, {key}=A,B")
    return count


def _quoted(override: str) -> str:
    key, equals, value = override.partition("=")
    if not equals or (key not in PATHS and value.isascii()) or "${" in value:
        return override
    try:
        parsed = parse([override])[0]
    except ConfigError:
        pass
    else:
        if key not in PATHS or parsed.is_sweep_override() or isinstance(parsed.value(), str | None):
            return override
    quoted = f"{key}='" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    try:
        parse([quoted])
    except ConfigError:
        return override
    return quoted
