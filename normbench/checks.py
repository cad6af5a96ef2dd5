"""The rules that typed values obey, each by itself.

A broken one is a ConfigError: rule, value, what to type. No torch.

Nothing here changes a Config; settle.py has the rules on what follows from it.
"""

import math
from dataclasses import fields
from typing import Any

from normbench import facts
from normbench.config import (
    EVAL_STATS,
    INITS,
    PRECISIONS,
    PROTOCOLS,
    SCHEDULES,
    TRACKERS,
    Config,
    ConfigError,
    Data,
    Probe,
)
from normbench.hints import nearest

# the keys of data.* that every data set takes
COMMON_OPTIONS = {"name", "num_classes", "train_images", "train_size", "labels_per_batch", "augment", "facts"}


def check(config: Config, norm_schema: dict[str, Any]) -> None:
    """Checks every value as it was typed; raises ConfigError with the first rule broken."""
    _check_norm(config.norm, norm_schema)
    _one_of("data.name", config.data.name, facts.names())
    _check_facts(config.data)
    _one_of("recipe.schedule", config.recipe.schedule, SCHEDULES)
    _one_of("recipe.init", config.recipe.init, INITS)
    _one_of("precision", config.precision, PRECISIONS)
    _one_of("eval_stats", config.eval_stats, EVAL_STATS)
    _check_eval_also(config)
    _one_of("tracker.name", config.tracker.name, TRACKERS)
    _one_of("protocol.name", config.protocol.name, PROTOCOLS)
    for key, least in _LEAST.items():
        value = _get(config, key)
        if value is not None and not (value >= least and math.isfinite(value)):
            raise ConfigError(f"{key} must be at least {least:g}, got {value}")
    for key in ("recipe.lr", "recipe.decay"):
        if not 0 < _get(config, key) < math.inf:
            raise ConfigError(f"{key} must be above 0, got {_get(config, key)}")
    if not 0 <= config.recipe.label_smoothing < 1:
        raise ConfigError(f"recipe.label_smoothing must be in [0, 1), got {config.recipe.label_smoothing}")
    if any(not 0 < m <= 1 for m in config.recipe.milestones):
        raise ConfigError(
            f"recipe.milestones are fractions of the epochs, in (0, 1], got {config.recipe.milestones}; "
            "epochs 30, 60, 90 of 100 are [0.3,0.6,0.9]"
        )
    check_options(config.data)
    _check_freeze(config)
    _check_probe(config.probe)


_LEAST: dict[str, float] = {
    "batch": 1,
    "workers": 1,
    "sgd_batch": 1,
    "protocol.workers": 1,
    "protocol.sgd_batch": 1,
    "seed": 0,
    "data.seed": 0,
    "data.train_size": 1,
    "data.labels_per_batch": 1,
    "data.num_classes": 2,
    "data.image_size": 1,
    "data.eval_resize": 1,
    "data.loader_processes": 0,
    "recipe.epochs": 1,
    "recipe.lr_batch": 1,
    "recipe.warmup_epochs": 0,
    "recipe.momentum": 0,
    "recipe.weight_decay": 0,
    "recipe.fc_std": 0,
    "launcher.per_gpu": 1,
    "precise_images": 1,
    "probe.every": 1,
    "train.micro_workers": 1,
    "threads": 1,
    "eval_batch": 1,
    "checkpoint_steps": 1,
}


def _get(config: Config, key: str) -> Any:
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _one_of(key: str, value: str, choices: tuple[str, ...] | list[str]) -> None:
    if value not in choices:
        raise ConfigError(f"{key}={value}: no such choice{nearest(str(value), choices)}; one of {', '.join(choices)}")


def _check_norm(norm: dict[str, Any], schema: dict[str, Any]) -> None:
    """A norm's yaml is its schema: same keys, values of the same type (null takes anything)."""
    where = f"conf/norm/{norm.get('name')}.yaml"
    for key, value in norm.items():
        if key not in schema:
            known = [k for k in schema if k not in ("name", "batch_free")]
            raise ConfigError(f"norm.{key}: no such option of {where}{nearest(key, known)}; it has {', '.join(known)}")
        default = schema[key]
        if default is None or (isinstance(default, str) and "${" in default):
            continue
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            continue  # settle.py makes it a float
        if default == "auto" and isinstance(value, (int, float)):
            continue
        if type(value) is not type(default):
            raise ConfigError(
                f"norm.{key}={value!r} should be a {type(default).__name__}, like the {default!r} of {where}"
            )
    if norm["batch_free"] != schema["batch_free"]:
        raise ConfigError(f"norm.batch_free is a property of {norm['name']}, not an option: leave it out")


def _check_facts(data: Data) -> None:
    known = facts.of(data.name)
    for key, value in data.facts.items():
        if facts.plain(value) != getattr(known, key, None):
            raise ConfigError(
                f"data.facts.{key}={value} is a property of the data set, not an option: leave it out; {data.name} has "
                f"{getattr(known, key, 'none')}"
            )


def check_options(data: Data) -> None:
    """Raises ConfigError for an augmentation or an option that does not apply to the data set."""
    known = facts.of(data.name)
    if data.augment not in known.augments:
        near, choices = nearest(data.augment, known.augments), " or ".join(known.augments)
        raise ConfigError(
            f"data.augment={data.augment} does not apply to data={data.name}{near}; use data.augment={choices}"
        )
    for option in fields(data):
        value = getattr(data, option.name)
        if option.name not in COMMON_OPTIONS | set(known.options) and value != option.default:
            raise ConfigError(f"data.{option.name}={value} does not apply to data={data.name}; leave it out")


def _check_eval_also(config: Config) -> None:
    """Statistics beside the run's own, none of them twice, all of which the layers still have."""
    also, own = config.eval_also or [], config.eval_stats
    for name in also:
        _one_of("eval_also", name, EVAL_STATS)
    if own in also:
        raise ConfigError(f"eval_also={own} is what eval_stats={own} evaluates with already; leave it out")
    if own == "precise" and {"worker0", "mean"} & set(also):
        raise ConfigError(
            "eval_stats=precise replaces the moving averages that eval_also would evaluate with; "
            "use eval_stats=worker0 eval_also=[precise], or eval_stats=mean"
        )
    if {"worker0", "mean"} <= {own, *also}:
        raise ConfigError(
            "the layers keep worker 0's moving averages or their mean over the workers: ask for one of the two"
        )


def _check_freeze(config: Config) -> None:
    recipe, norm = config.recipe, config.norm
    if recipe.freeze_from is None:
        return
    if not 0 < recipe.freeze_from < 1 or not recipe.frozen(recipe.epochs - 1):
        raise ConfigError(
            f"recipe.freeze_from={recipe.freeze_from} of {recipe.epochs} epochs: a fraction above 0 and below 1, "
            "which leaves at least the last epoch to freeze"
        )
    if norm["batch_free"]:
        raise ConfigError(f"recipe.freeze_from: norm={norm['name']} has no batch statistics to freeze; leave it out")


def _check_probe(probe: Probe) -> None:
    if probe.layer is None and probe.every is not None:
        raise ConfigError(
            f"probe.every={probe.every} has no layer to watch; add probe.layer=last, or another norm's path"
        )
