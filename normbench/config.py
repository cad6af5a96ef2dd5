"""The experiment: its fields, what follows from them, and its identity. checks.py has the rules their values obey.

Science fields fix the numbers; fields marked HARDWARE only say where, how fast and under what name a run happens, so they
never fork a run. Nothing here imports torch: a typo is answered before torch would have been loaded.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING

FORMAT = 1  # of the run folder; a reader refuses a newer one
HARDWARE: dict[str, Any] = {"hardware": True}

PRECISIONS = ("fp32", "bf16", "fp16", "fp64")
EVAL_STATS = ("worker0", "mean", "precise", "batch")
SCHEDULES = ("step", "cosine")
INITS = ("he_fan_out", "default")
AUGMENTS = ("none", "crop_flip", "inception", "inception_color")
DATASETS = ("digits", "cifar10", "cifar100", "imagenet")
PROTOCOLS = ("per_worker", "fixed_sgd")
TRACKERS = ("none", "wandb")
PROBE_STEPS = 10  # between two lines of probes.jsonl, where nothing else is asked


class ConfigError(ValueError):
    """A value the user can mend. Its text is one line: the rule, the value seen, what to type instead."""


@dataclass
class Model:
    name: str = MISSING  # cifar_resnet20 (ours), resnet50 (torchvision's by name), timm/resnet26 (timm's)
    options: dict[str, Any] = field(default_factory=dict)  # keyword arguments of that network, e.g. width
    gn_min_channels: int = field(default=4, metadata=HARDWARE)  # norm=gn reads it; recorded there


@dataclass
class Data:
    name: str = MISSING
    num_classes: int = MISSING
    train_images: int | None = None  # how many there are, where that is known before reading them
    train_size: int | None = None  # use only the first so many of a fixed permutation
    labels_per_batch: int | None = (
        None  # k: a worker's batch holds k random labels, batch/k images each; None: as drawn
    )
    augment: str = "none"
    image_size: int | None = None  # side of the square the network sees; None: as the data set has it
    eval_resize: int | None = None  # shorter side before the centre crop
    seed: int = 0  # of the generated digits
    root: str | None = field(default=None, metadata=HARDWARE)
    download: bool = field(default=False, metadata=HARDWARE)
    loader_processes: int | None = field(default=None, metadata=HARDWARE)  # None: one a core, at most 8


@dataclass
class Recipe:
    name: str = MISSING
    epochs: int = 100
    lr: float = 0.1  # for lr_batch images a step; scaled linearly to the run's sgd_batch
    lr_batch: int = 256
    schedule: str = "step"
    milestones: list[float] = field(default_factory=lambda: [0.3, 0.6, 0.9])  # fractions of the epochs
    decay: float = 0.1  # lr is multiplied by this at each milestone
    warmup_epochs: float = 0.0
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    decay_norm: bool = True  # weight decay on gamma, beta and biases too, as the GN paper does
    label_smoothing: float = 0.0
    init: str = "he_fan_out"
    fc_std: float | None = 0.01  # sd of the classifier's normal initialisation; None: the network's own
    zero_last_gamma: bool = True  # gamma = 0 in the last norm of each residual block
    freeze_from: float | None = (
        None  # fraction of the epochs after which batch statistics are those of evaluation (FrozenBN)
    )

    def frozen(self, epochs_done: int) -> bool:
        """Whether the epoch after so many finished ones trains with fixed statistics."""
        return self.freeze_from is not None and epochs_done >= self.freeze_from * self.epochs - 1e-9


@dataclass
class Protocol:
    name: str = MISSING
    workers: int | None = None  # given under per_worker
    sgd_batch: int | None = None  # given under fixed_sgd


@dataclass
class Probe:
    layer: str | None = None  # the norm to watch through training: its module path, or last; None: no probes.jsonl
    every: int | None = None  # steps between two of its lines; None where a layer is given: 10


@dataclass
class Train:
    micro_workers: int | None = None  # virtual workers played in one forward; None: all of a process at once


@dataclass
class Tracker:
    name: str = "none"
    project: str = "normbench"
    mode: str = "auto"


@dataclass
class Launcher:
    per_gpu: int = 1  # cells of a sweep that share one GPU, under hydra/launcher=joblib or ray


@dataclass
class Config:
    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    norm: dict[str, Any] = field(default_factory=dict)  # conf/norm/<name>.yaml is its schema
    recipe: Recipe = field(default_factory=Recipe)
    protocol: Protocol = field(default_factory=Protocol)
    probe: Probe = field(default_factory=Probe)
    train: Train = field(default_factory=Train, metadata=HARDWARE)
    tracker: Tracker = field(default_factory=Tracker, metadata=HARDWARE)
    launcher: Launcher = field(default_factory=Launcher, metadata=HARDWARE)
    experiment: Any = field(default=None, metadata=HARDWARE)
    batch: int = 32
    workers: int | None = None  # short for protocol.workers; always a number once resolved
    sgd_batch: int | None = None  # short for protocol.sgd_batch; always a number once resolved
    seed: int = 0
    precision: str = "fp32"
    eval_stats: str = "worker0"
    eval_also: list[str] | None = None  # further eval_stats, each a column top1_error_pct_<name> of every epoch's row
    precise_images: int = 2048  # training images that eval_stats=precise recomputes the statistics over
    device: str = field(default="auto", metadata=HARDWARE)
    channels_last: bool = field(default=False, metadata=HARDWARE)
    threads: int | None = field(default=None, metadata=HARDWARE)
    eval_batch: int = field(default=500, metadata=HARDWARE)  # images a forward in evaluation
    checkpoint_steps: int = field(
        default=1000, metadata=HARDWARE
    )  # a checkpoint within long epochs; each ends with one
    out: str = field(default="results/runs", metadata=HARDWARE)
    overwrite: bool = field(default=False, metadata=HARDWARE)

    @property
    def lr(self) -> float:
        """The linear rule, recipe.lr x sgd_batch / recipe.lr_batch. It serves both protocols."""
        return self.recipe.lr * resolved(self.sgd_batch) / self.recipe.lr_batch

    @property
    def batch_free(self) -> bool:
        """Whether nothing in the run depends on how the SGD batch is cut into workers."""
        cut = (
            self.data.labels_per_batch or self.probe.layer
        )  # a worker's batch has its labels; a probe watches worker 0's
        return bool(self.norm["batch_free"]) and self.protocol.name == "fixed_sgd" and not cut

    def steps_per_epoch(self, train_images: int) -> int:
        """Whole SGD batches in an epoch; the images left over are other ones every epoch."""
        return train_images // resolved(self.sgd_batch)


def resolved(value: int | None) -> int:
    """A field that check() has filled in."""
    assert value is not None
    return value


# ---------------------------------------------------------------------------- identity


def science(config: Config) -> dict[str, Any]:
    """The fields that fix a run's numbers, as nested plain values.

    What is off (None or False) leaves no trace, so an option added in a later version does not fork the runs made before
    it. A batch-free norm under fixed_sgd has no batch and no workers: its one run serves every batch.
    """
    found = _science(config)
    if config.batch_free:
        del found["batch"], found["workers"]
    return found


def _science(node: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for f in fields(node):
        if f.metadata.get("hardware"):
            continue
        value = getattr(node, f.name)
        value = _science(value) if is_dataclass(value) else _without_off(value)
        if value is not None and value is not False and value != {}:
            found[f.name] = value
    return found


def _without_off(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_off(v) for k, v in value.items() if v is not None and v is not False}
    return value


def identity(config: Config) -> str:
    """Eight hexadecimal digits of the SHA-256 of the science fields: equal runs, equal identity."""
    text = json.dumps(science(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def label(name: str, options: dict[str, Any], defaults: dict[str, Any]) -> str:
    """A name and the options that differ from its yaml: gn, gn-groups8, cifar_resnet8-width32."""
    differing = {k: v for k, v in options.items() if k != "name" and not _is_default(v, defaults.get(k))}
    return name.replace("/", "_") + "".join(f"-{k}{_plain(v)}" for k, v in differing.items())


def _is_default(value: Any, default: Any) -> bool:
    return value == default or (isinstance(default, str) and "${" in default)


def _plain(value: Any) -> str:
    return "".join(c if c.isalnum() or c in "._+-" else "_" for c in str(value))


def run_path(config: Config, model: str, norm: str) -> Path:
    """<out>/<data>/<model label>/<norm label>/b<batch>x<workers>/s<seed>-<identity>; any<sgd_batch> where batch is free."""
    cut = f"any{config.sgd_batch}" if config.batch_free else f"b{config.batch}x{config.workers}"
    return Path(config.out) / config.data.name / model / norm / cut / f"s{config.seed}-{identity(config)}"


def as_dict(config: Config) -> dict[str, Any]:
    """Every resolved field, plain and nested."""
    return asdict(config)
