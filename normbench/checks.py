"""The rules that the values of a Config obey. A broken one is a ConfigError: rule, value, what to type. No torch."""

import math
from pathlib import Path
from typing import Any

from normbench.config import (
    AUGMENTS,
    DATASETS,
    EVAL_STATS,
    INITS,
    PRECISIONS,
    PROBE_STEPS,
    PROTOCOLS,
    SCHEDULES,
    TRACKERS,
    Config,
    ConfigError,
    Data,
    Probe,
    resolved,
)
from normbench.hints import divisors, nearest


def check(config: Config, norm_schema: dict[str, Any], norm_names: list[str], files: bool = True) -> Config:
    """Checks every value and fills in workers and sgd_batch; raises ConfigError with the first rule broken.

    files: whether the data set's files have to be there, as for every use but the profile.
    """
    _check_norm(config.norm, norm_schema)
    _one_of("data.name", config.data.name, DATASETS)
    _one_of("norm.name", config.norm["name"], norm_names)
    _one_of("data.augment", config.data.augment, AUGMENTS)
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
    _check_freeze(config)
    _check_probe(config.probe)
    _derive_workers(config)
    known = config.data.train_size or config.data.train_images
    if known is not None:
        check_train_size(config, known)
    if files:
        check_folder(config.data)
    _check_labels(config)
    return config


def check_train_size(config: Config, train_images: int) -> None:
    """The rule that an epoch has at least one step; asked again once a folder has been counted."""
    if config.data.train_images is not None and (config.data.train_size or 0) > config.data.train_images:
        raise ConfigError(
            f"data.train_size={config.data.train_size} is more than the {config.data.train_images} training images "
            f"of {config.data.name}"
        )
    if resolved(config.sgd_batch) > train_images:
        raise ConfigError(
            f"sgd_batch={config.sgd_batch} (batch={config.batch} x workers={config.workers}) is larger than the "
            f"training set of {train_images} images; use a smaller batch, workers or sgd_batch"
        )


def check_world_size(config: Config, world_size: int) -> None:
    """Every rank must play the same number of virtual workers."""
    workers = resolved(config.workers)
    if workers % world_size:
        raise ConfigError(
            f"the {world_size} processes must divide workers={workers} evenly; start {divisors(workers)} of them "
            f"(--nproc_per_node), or choose workers={math.lcm(workers, world_size)}"
        )


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
    """A norm's yaml is its schema: same keys, and values of the type written there (null takes anything)."""
    where = f"conf/norm/{norm.get('name')}.yaml"
    for key, value in norm.items():
        if key not in schema:
            known = [k for k in schema if k not in ("name", "batch_free")]
            raise ConfigError(f"norm.{key}: no such option of {where}{nearest(key, known)}; it has {', '.join(known)}")
        default = schema[key]
        if default is None or (isinstance(default, str) and "${" in default):
            continue
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            norm[key] = float(value)  # eps=1 and eps=1.0 are one experiment
        elif isinstance(default, str) and isinstance(value, (int, float)) and default == "auto":
            continue
        elif type(value) is not type(default):
            raise ConfigError(
                f"norm.{key}={value!r} should be a {type(default).__name__}, like the {default!r} of {where}"
            )
    if norm["batch_free"] != schema["batch_free"]:
        raise ConfigError(f"norm.batch_free is a property of {norm['name']}, not an option: leave it out")


def _check_eval_also(config: Config) -> None:
    """Further statistics than the run's own, none twice, and none that the layers no longer have."""
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
    config.eval_also = [name for name in EVAL_STATS if name in also] or None  # [] is off, and the order no matter


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
    if probe.layer is not None and probe.every is None:
        probe.every = PROBE_STEPS


def _check_labels(config: Config) -> None:
    k, batch, classes = config.data.labels_per_batch, config.batch, config.data.num_classes
    if k is None:
        return
    if batch % k:
        fits = ", ".join(str(d) for d in range(1, min(batch, classes) + 1) if batch % d == 0)
        raise ConfigError(f"data.labels_per_batch={k} must divide batch={batch}, as many images of each; one of {fits}")
    if k > classes:
        raise ConfigError(f"data.labels_per_batch={k} is more than the {classes} classes of {config.data.name}")


def _derive_workers(config: Config) -> None:
    """Fills in workers and sgd_batch from the protocol: sgd_batch = batch x workers."""
    protocol, batch = config.protocol, config.batch
    if protocol.name == "per_worker":
        if protocol.sgd_batch is not None:
            raise ConfigError(f"protocol=per_worker takes workers, got protocol.sgd_batch={protocol.sgd_batch}")
        workers = config.workers or protocol.workers
        if workers is None:
            raise ConfigError("protocol=per_worker needs the number of workers, e.g. workers=8")
        if config.sgd_batch not in (None, batch * workers):
            raise ConfigError(
                f"sgd_batch={config.sgd_batch} cannot be set under protocol=per_worker, where it is batch x workers = "
                f"{batch} x {workers}; use protocol=fixed_sgd sgd_batch={config.sgd_batch}, or workers=..."
            )
        config.workers, config.sgd_batch = workers, batch * workers
    else:
        if protocol.workers is not None:
            raise ConfigError(f"protocol=fixed_sgd takes sgd_batch, got protocol.workers={protocol.workers}")
        sgd_batch = config.sgd_batch or protocol.sgd_batch
        if sgd_batch is None:
            raise ConfigError("protocol=fixed_sgd needs the images per optimizer step, e.g. sgd_batch=256")
        if sgd_batch % batch:
            raise ConfigError(
                f"batch={batch} must divide sgd_batch={sgd_batch} (workers = sgd_batch / batch); "
                f"use batch={_nearest_divisor(sgd_batch, batch)} or sgd_batch={batch * max(1, sgd_batch // batch)}"
            )
        if config.workers not in (None, sgd_batch // batch):
            raise ConfigError(
                f"workers={config.workers} cannot be set under protocol=fixed_sgd, where it is sgd_batch / batch = "
                f"{sgd_batch} / {batch}; use protocol=per_worker workers={config.workers}, or sgd_batch=..."
            )
        config.workers, config.sgd_batch = sgd_batch // batch, sgd_batch
    protocol.workers = protocol.sgd_batch = None  # said once, at the top level


def _nearest_divisor(number: int, near: int) -> int:
    return min((d for d in range(1, number + 1) if number % d == 0), key=lambda d: abs(d - near))


_LAYOUTS = {
    "cifar10": ("cifar-10-batches-py", "torchvision's cifar-10-batches-py/; add data.download=true to fetch it"),
    "cifar100": ("cifar-100-python", "torchvision's cifar-100-python/; add data.download=true to fetch it"),
    "imagenet": (
        "train",
        "train/<class>/*.JPEG and val/<class>/*.JPEG; the images come from image-net.org, after registration",
    ),
}


def check_folder(data: Data) -> None:
    """The layout is there; of class folders, how many, so that two different folders are never taken for one run."""
    if data.name not in _LAYOUTS or data.download:
        return
    folder, layout = _LAYOUTS[data.name]
    root = Path(str(data.root)).expanduser()
    for path in [root / folder] + ([root / "val"] if data.name == "imagenet" else []):
        if data.root is None or not path.is_dir():
            seen = f"no folder {path}" if data.root is not None else "no folder given"
            raise ConfigError(
                f"data={data.name} data.root={data.root}: {seen}; set data.root=FOLDER that holds {layout}"
            )
    if data.name == "imagenet":
        data.num_classes = sum(path.is_dir() for path in (root / "train").iterdir())
