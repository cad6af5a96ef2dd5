"""What a user can set, as typed: the schema that Hydra fills in.

checks.py has the rules, runs.py what a run makes of it.

Every key has its meaning beside it, which --help prints. Science keys fix the numbers. Keys marked
hardware only say where, how fast and under what name a run happens, so they never fork a run.
Nothing here imports torch: a typo is answered before torch would have been loaded.
"""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

FORMAT = 1  # of the run folder; a reader refuses a newer one

# folders of conf/: a run has one file of each, but for experiment, of which it may have none
GROUPS = ("norm", "model", "data", "recipe", "protocol", "tracker", "experiment")
PRECISIONS = ("fp32", "bf16", "fp16", "fp64")
EVAL_STATS = ("worker0", "mean", "precise", "batch")
SCHEDULES = ("step", "linear", "cosine")
# torch's by name; those that need a function, other schedules or a metric are none of them
PER_STEP_SCHEDULES = ("CyclicLR", "OneCycleLR")
TORCH_SCHEDULES = (
    "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", *PER_STEP_SCHEDULES, "ExponentialLR", "LinearLR",
    "MultiStepLR", "PolynomialLR", "StepLR",
)  # fmt: skip
# torch's; LBFGS needs the loss as a function, SparseAdam sparse gradients, Muon matrices
OPTIMIZERS = (
    "sgd", "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "asgd", "nadam", "radam", "rmsprop", "rprop",
)  # fmt: skip
INITS = ("he_fan_out", "default")
PROTOCOLS = ("per_worker", "fixed_sgd")
SOURCES = ("folder", "torchvision")  # whose data sets have a name of their own, data.name=
TRACKER_MODES = ("auto", "online", "offline", "disabled")


class ConfigError(ValueError):
    """A value the user can mend.

    Its text is one line: the rule, the value seen, what to type instead.
    """


def key(default: Any, meaning: str, *, hardware: bool = False, off: Any = None) -> Any:
    """A field of a dataclass below.

    off: the value that leaves no trace in a run's identity, beside None, False and {}.
    """
    metadata = {"meaning": meaning, "hardware": hardware} | ({} if off is None else {"off": off})
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class Model:
    name: str = key(MISSING, "cifar_resnet20 (ours), resnet50 (torchvision's), timm/resnet26 (timm's)")
    options: dict[str, Any] = key(dict, "that network's keyword arguments, e.g. model.options.width=32")
    # hardware, since the norm records it
    gn_min_channels: int = key(4, "for norm=gn groups=auto: least channels in a group", hardware=True)


@dataclass
class Data:
    name: str = key(MISSING, "of the data set, or your word for it where data=folder")
    num_classes: int = key(MISSING, "counted in train/ where the data set is folders of classes")
    train_images: int | None = key(None, "how many there are, where that is known before reading them")
    train_size: int | None = key(None, "use only the first so many of a fixed permutation; null: all")
    test_size: int | None = key(None, "the same of the test images")
    labels_per_batch: int | None = key(None, "k random labels in a worker's batch, batch/k images each; null: as drawn")
    augment: str = key("none", "crop_flip, inception, inception_color, or none")
    image_size: int | None = key(None, "side of the square that the network sees; null: as the data set has it")
    eval_resize: int | None = key(None, "shorter side before the centre crop in evaluation")
    seed: int = key(0, "of the generated digits")
    fresh: bool = key(False, "of the generated digits: every epoch draws them anew")
    contrast: float | None = key(None, "of the generated digits: least contrast of an image; 1: the same for all")
    grey: bool = key(False, "of folders of classes: one channel instead of three")
    options: dict[str, Any] = key(dict, "those of an installed package's data set, by its yaml")
    source: str | None = key(None, "folder or torchvision, where data.name is the user's word; set by data=")
    files: str | None = key(None, "digest of the images in folders of classes; counted, not set")
    root: str | None = key(None, "the folder that holds the files", hardware=True)
    download: bool = key(False, "fetch what is not in data.root", hardware=True)
    loader_processes: int | None = key(None, "that decode images; null: one per core, at most 8", hardware=True)
    # No options: conf/data/<name>.yaml says it, facts.py reads it, and no record repeats it.
    facts: dict[str, Any] = key(dict, "what the data set is; not set", hardware=True)


@dataclass
class Recipe:
    name: str = key(MISSING, "of the recipe, for records and figures")
    epochs: int = key(100, "passes over the training images")
    lr: float = key(0.1, "learning rate for lr_batch images per step, scaled linearly to the run's sgd_batch")
    lr_batch: int = key(256, "images per step that lr is for")
    schedule: str = key("step", "step, linear, cosine, or one of torch.optim.lr_scheduler by its name")
    milestones: list[float] = key([0.3, 0.6, 0.9], "of step and linear: fractions of the epochs")
    decay: float = key(0.1, "of step and linear: lr is multiplied by this at, or on the line to, each milestone")
    warmup_epochs: float = key(0.0, "in which lr rises linearly from 0")
    momentum: float = key(0.9, "of sgd")
    nesterov: bool = key(False, "of sgd")
    weight_decay: float = key(1e-4, "of weights, and by decay_norm of the rest")
    decay_norm: bool = key(True, "weight decay on gamma, beta and biases too, as in the GN paper")
    label_smoothing: float = key(0.0, "share of the target spread over all classes")
    init: str = key("he_fan_out", "of convolutions: he_fan_out, or default (the network's own)")
    fc_std: float | None = key(0.01, "sd of the classifier's normal initialisation; null: the network's own")
    zero_last_gamma: bool = key(True, "gamma = 0 in the last norm of each residual block")
    freeze_from: float | None = key(None, "fraction of the epochs after which the statistics are frozen (FrozenBN)")
    optimizer: str = key("sgd", "sgd, another of torch.optim as adamw, or of timm as timm/lamb", off="sgd")
    optimizer_options: dict[str, Any] = key(dict, "its arguments beside lr and weight_decay, e.g. betas")
    schedule_options: dict[str, Any] = key(dict, "arguments of a schedule of torch's")
    clip_norm: float | None = key(None, "largest norm of all gradients together; null: no clipping")
    ema: float | None = key(None, "decay of the moving average of the weights that is evaluated; null: none")

    def frozen(self, epochs_done: int) -> bool:
        """Whether the epoch after `epochs_done` finished ones trains with fixed statistics."""
        return self.freeze_from is not None and epochs_done >= self.freeze_from * self.epochs - 1e-9


@dataclass
class Protocol:
    name: str = key(MISSING, "per_worker: workers are given; fixed_sgd: images per optimizer step are given")
    workers: int | None = key(None, "given under per_worker")
    sgd_batch: int | None = key(None, "given under fixed_sgd")


@dataclass
class Probe:
    layer: str | None = key(None, "the norm to watch through training: its module path, or last; null: none")
    every: int | None = key(None, "steps between two lines of probes.jsonl; null: 10")


@dataclass
class Train:
    micro_workers: int | None = key(None, "virtual workers played in one forward; null: all of a process at once")


@dataclass
class Tracker:
    name: str = key("none", "none, wandb or tensorboard, beside the records on disk")
    project: str = key("normbench", "of W&B")
    mode: str = key("auto", "of W&B: auto, online, offline, disabled")
    options: dict[str, Any] = key(dict, "those of an installed package's tracker, by its yaml")


@dataclass
class Launcher:
    per_gpu: int = key(1, "runs of a sweep at a time on one GPU, under hydra/launcher=joblib or ray")


@dataclass
class Config:
    """Every key of the command line with its default.

    Values as typed: nothing changes one after Hydra filled it in.
    """

    model: Model = key(Model, "the network")
    data: Data = key(Data, "the data set")
    norm: dict[str, Any] = key(dict, "the normalization; conf/norm/<name>.yaml is its schema")
    recipe: Recipe = key(Recipe, "how it is trained")
    protocol: Protocol = key(Protocol, "what is held fixed while batch varies")
    probe: Probe = key(Probe, "what is recorded inside a layer")
    train: Train = key(Train, "how the work is cut", hardware=True)
    tracker: Tracker = key(Tracker, "where the records are mirrored", hardware=True)
    launcher: Launcher = key(Launcher, "how a sweep shares GPUs", hardware=True)
    experiment: Any = key(None, "a paper's grid", hardware=True)
    batch: int = key(32, "images per worker, which one BN statistic is taken over")
    workers: int | None = key(None, "short for protocol.workers")
    sgd_batch: int | None = key(None, "short for protocol.sgd_batch: images per optimizer step")
    seed: int = key(0, "of everything random in a run")
    precision: str = key("fp32", "fp32, bf16, fp16 or fp64")
    eval_stats: str = key("worker0", "whose statistics evaluate: worker0, mean, precise, batch")
    eval_also: list[str] | None = key(None, "further eval_stats, each a column top1_error_pct_<name> of every epoch")
    precise_images: int = key(2048, "training images that eval_stats=precise recomputes the statistics over")
    device: str = key("auto", "auto, cpu, cuda or cuda:N", hardware=True)
    channels_last: bool = key(False, "memory format of the tensors", hardware=True)
    threads: int | None = key(None, "of torch; null: as many as cores", hardware=True)
    eval_batch: int = key(500, "images per forward in evaluation", hardware=True)
    checkpoint_steps: int = key(1000, "steps between checkpoints; each epoch ends with one", hardware=True)
    out: str = key("results/runs", "the folder of runs", hardware=True)
    overwrite: bool = key(False, "train a finished run anew", hardware=True)
