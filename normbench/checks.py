"""The rules that typed values obey, each by itself.

A broken one is a ConfigError: rule, value, what to type. No torch.

Nothing here changes a Config; settle.py has the rules on what follows from it.
"""

import math
import re
from dataclasses import asdict, fields
from importlib.util import find_spec
from typing import Any

from normbench import facts, plugins, ranges
from normbench.config import (
    EVAL_STATS,
    INITS,
    OPTIMIZERS,
    PRECISIONS,
    PROTOCOLS,
    SCHEDULES,
    TORCH_SCHEDULES,
    TRACKER_MODES,
    Config,
    ConfigError,
    Data,
    Probe,
    Recipe,
    Tracker,
)
from normbench.hints import nearest

DEEPEST = 10_000  # layers that a cifar_resnet may have: each is built before the first step
# the keys of data.* that every data set takes
COMMON_OPTIONS = {"name", "source", "num_classes", "train_images", "train_size", "test_size", "labels_per_batch"}
COMMON_OPTIONS |= {"augment", "options", "facts", "files"}


def check(config: Config, norm_schema: dict[str, Any]) -> None:
    """Checks every value as it was typed; raises ConfigError with the first rule broken."""
    _check_text("", asdict(config))
    _check_norm(config.norm, norm_schema)
    facts.check_name(config.data.source, config.data.name)
    _check_facts(config.data)
    _one_of("tracker.mode", config.tracker.mode, TRACKER_MODES)
    _check_device(config.device)
    depth = re.fullmatch(r"cifar_resnet(\d+)", config.model.name)
    if depth and int(depth[1]) > DEEPEST:
        raise ConfigError(f"model.name={config.model.name}: at most {DEEPEST} layers; He et al. went to 1202")
    if config.experiment is not None:
        raise ConfigError(f"experiment={config.experiment}: choose one by its name, experiment=NAME")
    _one_of("recipe.schedule", config.recipe.schedule, (*SCHEDULES, *TORCH_SCHEDULES))
    _one_of("recipe.init", config.recipe.init, INITS)
    _one_of("precision", config.precision, PRECISIONS)
    _one_of("eval_stats", config.eval_stats, EVAL_STATS)
    _check_eval_also(config)
    _check_tracker(config.tracker)
    _one_of("protocol.name", config.protocol.name, PROTOCOLS)
    ranges.check_keys(config)
    _check_recipe(config.recipe)
    check_options(config.data)
    _check_freeze(config)
    _check_probe(config.probe)


def _check_text(key: str, value: Any) -> None:
    """No text is empty or has characters that no path and no terminal takes; no argument is nan."""
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_text(f"{key}.{name}".lstrip("."), inner)
    elif isinstance(value, list):
        for inner in value:
            _check_text(key, inner)
    elif isinstance(value, float) and key.startswith("model.options") and not math.isfinite(value):
        raise ConfigError(f"{key} must be a finite number, got {value}")
    elif isinstance(value, str):
        if not value.strip():
            raise ConfigError(f"{key} is empty; give it a value, {key}=..., or leave it out")
        if not value.isprintable():
            raise ConfigError(f"{key}={value!a} has a character that cannot be printed; leave that out")


def _check_device(device: str) -> None:
    if not re.fullmatch(r"auto|(cpu|cuda|mps|xpu)(:\d{1,3})?", device):
        raise ConfigError(f"device={device}: one of auto, cpu, cuda, or cuda:N for the GPU of that number")


def _check_recipe(recipe: Recipe) -> None:
    if not 0 < recipe.lr < math.inf:
        raise ConfigError(f"recipe.lr must be above 0, got {recipe.lr}")
    if not 0 < recipe.decay <= 1:
        raise ConfigError(f"recipe.decay must be above 0 and at most 1, got {recipe.decay}; the usual one is 0.1")
    if not 0 <= recipe.label_smoothing < 1:
        raise ConfigError(f"recipe.label_smoothing must be in [0, 1), got {recipe.label_smoothing}")
    at = recipe.milestones
    if not all(isinstance(m, float) and 0 < m <= 1 for m in at):
        raise ConfigError(
            f"recipe.milestones are fractions of the epochs, in (0, 1], got {at}; "
            "epochs 30, 60, 90 of 100 are [0.3,0.6,0.9]"
        )
    if sorted(set(at)) != at:
        raise ConfigError(f"recipe.milestones must rise, got {at}; use [{','.join(map(str, sorted(set(at))))}]")
    if recipe.warmup_epochs > recipe.epochs:
        raise ConfigError(
            f"recipe.warmup_epochs={recipe.warmup_epochs:g} is more than recipe.epochs={recipe.epochs}: the run would end "
            "before its learning rate is reached; use fewer"
        )
    _check_updates(recipe)
    if recipe.nesterov and recipe.momentum == 0:
        raise ConfigError("recipe.nesterov=true needs a momentum, got recipe.momentum=0; leave one of the two out")


def _check_updates(recipe: Recipe) -> None:
    if not recipe.optimizer.startswith("timm/"):
        _one_of("recipe.optimizer", recipe.optimizer, OPTIMIZERS)
    if recipe.optimizer != "sgd" and (recipe.nesterov or recipe.momentum != Recipe.momentum):
        raise ConfigError(
            f"recipe.momentum and recipe.nesterov are those of recipe.optimizer=sgd; give {recipe.optimizer} its own, "
            "recipe.optimizer_options.KEY=VALUE"
        )
    if taken := {"lr", "weight_decay", "params", "foreach", "fused"} & recipe.optimizer_options.keys():
        raise ConfigError(
            f"recipe.optimizer_options.{min(taken)} is not for here; recipe.lr and recipe.weight_decay are keys"
        )
    if recipe.schedule_options and recipe.schedule in SCHEDULES:
        raise ConfigError(
            f"recipe.schedule_options are for a schedule of torch's; recipe.schedule={recipe.schedule} has "
            f"{'none' if recipe.schedule == 'cosine' else 'milestones and decay'}"
        )
    if recipe.clip_norm is not None and not 0 < recipe.clip_norm < math.inf:
        raise ConfigError(f"recipe.clip_norm must be above 0, got {recipe.clip_norm}; leave it out for no clipping")
    if recipe.ema is not None and not 0 < recipe.ema < 1:
        raise ConfigError(f"recipe.ema must be above 0 and below 1, got {recipe.ema}; usual is 0.999")
    if recipe.ema is not None and recipe.freeze_from is not None:
        raise ConfigError("recipe.ema averages statistics that recipe.freeze_from holds fast; leave one of the two out")


def _one_of(key: str, value: str, choices: tuple[str, ...] | list[str]) -> None:
    if value not in choices:
        raise ConfigError(f"{key}={value}: no such choice{nearest(str(value), choices)}; one of {', '.join(choices)}")


def _check_norm(norm: dict[str, Any], schema: dict[str, Any]) -> None:
    """A norm's yaml is its schema: same keys, values of the same type (null takes anything)."""
    where = f"conf/norm/{norm.get('name')}.yaml"
    typed, defaults = ({k: v for k, v in part.items() if k not in ("name", "batch_free")} for part in (norm, schema))
    plugins.check_like(typed, defaults, "norm.", where)
    ranges.check_options(norm, schema)
    if norm["batch_free"] != schema["batch_free"]:
        raise ConfigError(f"norm.batch_free is a property of {norm['name']}, not an option: leave it out")


def _check_tracker(tracker: Tracker) -> None:
    defaults = plugins.schema(tracker.name, "tracker").get("options") or {}
    plugins.check_like(tracker.options, defaults, "tracker.options.", f"tracker={tracker.name}")
    if tracker.name != "tensorboard":
        return
    for key in ("project", "mode"):
        if getattr(tracker, key) != getattr(Tracker, key):
            raise ConfigError(f"tracker.{key}={getattr(tracker, key)} is of tracker=wandb; leave it out")
    if find_spec("tensorboard") is None:
        raise ConfigError("tracker=tensorboard needs pip install 'normbench[tensorboard]'")


def _check_facts(data: Data) -> None:
    known, stated = facts.of_data(data), facts.stated(data)
    images = None if known.class_folders else known.train_images
    if data.train_images != images:
        there = "they are counted" if images is None else f"{data.name} has {images}"
        raise ConfigError(
            f"data.train_images={data.train_images} is no option: {there}; leave it out, or use "
            "data.train_size=N to train on fewer"
        )
    if data.files is not None:
        raise ConfigError(f"data.files={data.files} is no option: it is read from data.root; leave it out")
    for key, value in data.facts.items():
        if key not in stated or value != stated[key]:
            raise ConfigError(
                f"data.facts.{key}={value} is a property of the data set, not an option: leave it out; {data.name} has "
                f"{stated.get(key, 'none')}"
            )


def check_options(data: Data) -> None:
    """Raises ConfigError for an augmentation or an option that does not apply to the data set."""
    known = facts.of_data(data)
    if data.augment not in known.augments:
        near, choices = nearest(data.augment, known.augments), " or ".join(known.augments)
        raise ConfigError(
            f"data.augment={data.augment} does not apply to data={data.name}{near}; use data.augment={choices}"
        )
    if data.grey and data.augment == "inception_color":
        raise ConfigError(
            "data.augment=inception_color changes colours, which data.grey=true has none of; use inception"
        )
    for option in fields(data):
        value = getattr(data, option.name)
        if option.name not in COMMON_OPTIONS | set(known.options) and value != option.default:
            raise ConfigError(f"data.{option.name}={value} does not apply to data={data.name}; leave it out")
    plugins.check_like(data.options, facts.own_options(data), "data.options.", f"data={data.source or data.name}")
    if "contrast" in known.options and data.contrast is None:
        raise ConfigError("data.contrast=null: the least contrast of an image is a number up to 1; 1 is all alike")


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
