"""Between which values each number of a run lies: keys of the command line, and options of norms.

No torch.
"""

import math
from typing import Any

from normbench.config import Config, ConfigError

MOST = 2**31 - 1  # a whole number that every library takes
MOST_IMAGES = 10_000_000  # of one optimizer step
SEEDS = 2**64 - 1  # torch's
ANY = math.inf

KEYS: dict[str, tuple[float, float]] = {
    "batch": (1, MOST_IMAGES),
    "workers": (1, MOST_IMAGES),
    "sgd_batch": (1, MOST_IMAGES),
    "protocol.workers": (1, MOST_IMAGES),
    "protocol.sgd_batch": (1, MOST_IMAGES),
    "seed": (0, SEEDS),
    "data.seed": (0, SEEDS),
    "data.contrast": (0.001, 1),
    "data.train_size": (1, MOST),
    "data.test_size": (1, MOST),
    "data.labels_per_batch": (1, MOST_IMAGES),
    "data.num_classes": (2, 1_000_000),
    "data.image_size": (1, 16_384),
    "data.eval_resize": (1, 16_384),
    "data.loader_processes": (0, 1024),
    "model.gn_min_channels": (1, MOST),
    "recipe.epochs": (1, MOST),
    "recipe.lr_batch": (1, MOST),
    "recipe.warmup_epochs": (0, ANY),
    "recipe.momentum": (0, 1),
    "recipe.weight_decay": (0, ANY),
    "recipe.fc_std": (0, ANY),
    "launcher.per_gpu": (1, 1024),
    "precise_images": (1, MOST),
    "probe.every": (1, MOST),
    "train.micro_workers": (1, MOST_IMAGES),
    "threads": (1, 1024),
    "eval_batch": (1, MOST_IMAGES),
    "checkpoint_steps": (1, MOST),
}

# options of conf/norm/*.yaml, those of one norm as norm.option: whole number or not, least, most
OPTIONS: dict[str, tuple[type, float, float]] = {
    "eps": (float, 0, 1),
    "ws_eps": (float, 0, 1),
    "momentum": (float, 0, 1),
    "rate": (float, 0, 1),
    "rho": (float, 0, 1),
    "powernorm.alpha": (float, 0, 1),
    "alpha": (float, 0, ANY),
    "beta": (float, 0, ANY),
    "limit": (float, 1, ANY),
    "rmax": (float, 1, ANY),
    "dmax": (float, 0, ANY),
    "relu_gain": (float, 1e-6, 1e6),
    "example_weight": (float, 0, 1),
    "burnin_epochs": (float, 0, ANY),
    "bn_epochs": (float, 0, ANY),
    "rmax_epochs": (float, 0, ANY),
    "dmax_epochs": (float, 0, ANY),
    "warmup_epochs": (float, 0, ANY),
    "correction_epochs": (float, 0, ANY),
    "groups": (int, 1, MOST),
    "channels_per_group": (int, 1, MOST),
    "min_channels_per_group": (int, 1, MOST),
    "window": (int, 1, MOST),
    "imitate": (int, 1, MOST),
    "ghost": (int, 1, MOST),
    "examples": (int, 1, MOST),
    "sync_size": (int, 1, MOST),
    "size": (int, 1, 65_536),
    "correction": (int, 0, 1),
    "group_scaling": (int, 0, MOST),
}
WORDS = {"groups": "auto", "example_weight": "auto"}  # that an option takes beside numbers


def check_keys(config: Config) -> None:
    """Raises ConfigError for the first number of the command line that is out of its range."""
    for key, (least, most) in KEYS.items():
        value = value_of(config, key)
        if value is not None and not (least <= value <= most and math.isfinite(value)):
            raise ConfigError(f"{key} {_rule(least, most, value)}, got {value}")


def value_of(config: Config, key: str) -> Any:
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def check_options(norm: dict[str, Any], schema: dict[str, Any]) -> None:
    """Raises ConfigError for a number of a norm that is out of its range, or none at all."""
    for key, value in norm.items():
        kind, least, most = OPTIONS.get(f"{norm['name']}.{key}", OPTIONS.get(key, (None, 0, 0)))
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"norm.{key} must be a finite number, got {value}")
        if kind is None or (value is None and schema[key] is None) or value == WORDS.get(key, key):
            continue
        whole = kind is int
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            word = f", or {WORDS[key]}" if key in WORDS else ", or null" if schema[key] is None else ""
            raise ConfigError(f"norm.{key} must be a {'whole ' if whole else ''}number{word}, got {value!r}")
        if not least <= value <= most:
            raise ConfigError(f"norm.{key} {_rule(least, most, value)}, got {value}")


def _rule(least: float, most: float, value: float) -> str:
    if most < MOST and most != 1:
        return f"must be from {least:g} to {most:,g}" if value > most else f"must be at least {least:g}"
    if most == 1:
        return f"must be from {least:g} to 1"
    return f"must be at most {most:,}" if most < ANY and value > most else f"must be at least {least:g}"
