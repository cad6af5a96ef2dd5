"""What a user can set, as typed: the schema that Hydra fills in.

checks.py has the rules, runs.py what a run makes of it.

Science fields fix the numbers. Fields marked HARDWARE only say where, how fast and under what name
a run happens, so they never fork a run. Nothing here imports torch: a typo is answered before torch
would have been loaded.
"""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

FORMAT = 1  # of the run folder; a reader refuses a newer one
HARDWARE: dict[str, Any] = {"hardware": True}

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


@dataclass
class Model:
    # cifar_resnet20 (ours), resnet50 (torchvision's by name), timm/resnet26 (timm's)
    name: str = MISSING
    # keyword arguments of that network, e.g. width
    options: dict[str, Any] = field(default_factory=dict)
    gn_min_channels: int = field(default=4, metadata=HARDWARE)  # norm=gn reads it; recorded there


@dataclass
class Data:
    name: str = MISSING
    num_classes: int = MISSING
    train_images: int | None = None  # how many there are, where that is known before reading them
    train_size: int | None = None  # use only the first so many of a fixed permutation
    # k: a worker's batch holds k random labels, batch/k images each; None: as drawn
    labels_per_batch: int | None = None
    augment: str = "none"
    # side of the square the network sees; None: as the data set has it
    image_size: int | None = None
    eval_resize: int | None = None  # shorter side before the centre crop
    seed: int = 0  # of the generated digits
    # of the generated digits: whether every epoch draws them anew
    fresh: bool = False
    # of the generated digits: the least contrast of an image, 1 being the same for all
    contrast: float | None = None
    # of class folders: one channel instead of three
    grey: bool = False
    # an installed package's own; their names and defaults are those of its yaml
    options: dict[str, Any] = field(default_factory=dict)
    # one of SOURCES, where `name` is the user's word; None: the name says what the data set is
    source: str | None = None
    # digest of the images in class folders: no option, counted under data.root, wherever that is
    files: str | None = None
    root: str | None = field(default=None, metadata=HARDWARE)
    download: bool = field(default=False, metadata=HARDWARE)
    # None: one per core, at most 8
    loader_processes: int | None = field(default=None, metadata=HARDWARE)
    # What the data set is. No options: conf/data/<name>.yaml says it, facts.py reads it, and no
    # record repeats it.
    facts: dict[str, Any] = field(default_factory=dict, metadata=HARDWARE)


@dataclass
class Recipe:
    name: str = MISSING
    epochs: int = 100
    lr: float = 0.1  # for lr_batch images per step; scaled linearly to the run's sgd_batch
    lr_batch: int = 256
    schedule: str = "step"
    # fractions of the epochs
    milestones: list[float] = field(default_factory=lambda: [0.3, 0.6, 0.9])
    decay: float = 0.1  # lr is multiplied by this at each milestone, or on the line to it
    warmup_epochs: float = 0.0
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    decay_norm: bool = True  # weight decay on gamma, beta and biases too, as the GN paper does
    label_smoothing: float = 0.0
    init: str = "he_fan_out"
    # sd of the classifier's normal initialisation; None: the network's own
    fc_std: float | None = 0.01
    zero_last_gamma: bool = True  # gamma = 0 in the last norm of each residual block
    # fraction of the epochs after which batch statistics are those of evaluation (FrozenBN)
    freeze_from: float | None = None
    # sgd, another of torch's (adamw), or timm/<name> (timm/lamb)
    optimizer: str = field(default="sgd", metadata={"off": "sgd"})
    # its arguments beside lr and weight_decay, e.g. betas
    optimizer_options: dict[str, Any] = field(default_factory=dict)
    # arguments of a schedule of torch's
    schedule_options: dict[str, Any] = field(default_factory=dict)
    clip_norm: float | None = None  # the gradients' norm, all together, is at most this
    ema: float | None = None  # evaluate with a moving average of the weights of this decay

    def frozen(self, epochs_done: int) -> bool:
        """Whether the epoch after `epochs_done` finished ones trains with fixed statistics."""
        return self.freeze_from is not None and epochs_done >= self.freeze_from * self.epochs - 1e-9


@dataclass
class Protocol:
    name: str = MISSING
    workers: int | None = None  # given under per_worker
    sgd_batch: int | None = None  # given under fixed_sgd


@dataclass
class Probe:
    # the norm to watch through training: its module path, or last; None: no probes.jsonl
    layer: str | None = None
    # steps between two lines of probes.jsonl; None where a layer is given: 10
    every: int | None = None


@dataclass
class Train:
    # virtual workers played in one forward; None: all of a process at once
    micro_workers: int | None = None


@dataclass
class Tracker:
    name: str = "none"
    project: str = "normbench"
    mode: str = "auto"
    # an installed package's own; their names and defaults are those of its yaml
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Launcher:
    per_gpu: int = 1  # runs of a sweep at a time on one GPU, under hydra/launcher=joblib or ray


@dataclass
class Config:
    """Every key of the command line with its default.

    Values as typed: nothing changes one after Hydra filled it in.
    """

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
    workers: int | None = None  # short for protocol.workers
    sgd_batch: int | None = None  # short for protocol.sgd_batch
    seed: int = 0
    precision: str = "fp32"
    eval_stats: str = "worker0"
    # further eval_stats, each a column top1_error_pct_<name> of every epoch's row
    eval_also: list[str] | None = None
    # training images that eval_stats=precise recomputes the statistics over
    precise_images: int = 2048
    device: str = field(default="auto", metadata=HARDWARE)
    channels_last: bool = field(default=False, metadata=HARDWARE)
    threads: int | None = field(default=None, metadata=HARDWARE)
    eval_batch: int = field(default=500, metadata=HARDWARE)  # images per forward in evaluation
    # steps between two checkpoints within an epoch; each epoch ends with one
    checkpoint_steps: int = field(default=1000, metadata=HARDWARE)
    out: str = field(default="results/runs", metadata=HARDWARE)
    overwrite: bool = field(default=False, metadata=HARDWARE)
