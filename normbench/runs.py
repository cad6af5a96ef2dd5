"""A run as a value: what was asked for, and all that follows from it by arithmetic.

compose.py makes it. No torch.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from normbench.config import Config, Data, Launcher, Recipe, Tracker, Train


@dataclass(frozen=True)
class NormChoice:
    """The norm of a run.

    options: as in conf/norm/<name>.yaml. label: the name, and the options that differ from there.
    """

    name: str
    batch_free: bool  # whether it treats each image alone
    options: dict[str, Any]
    label: str

    def as_dict(self) -> dict[str, Any]:
        """As conf/norm/<name>.yaml has it, and as models.build takes it."""
        return {"name": self.name, "batch_free": self.batch_free, **self.options}


@dataclass(frozen=True)
class ModelChoice:
    """The network of a run.

    options: its keyword arguments. label: the name, and the options that differ from its yaml's.
    """

    name: str
    options: dict[str, Any]
    label: str
    gn_min_channels: int  # for the record: norm=gn has it among its options


@dataclass(frozen=True)
class Watched:
    """The norm that a run looks at while it trains."""

    layer: str  # its module path, or last
    every: int  # steps between two lines of probes.jsonl


@dataclass(frozen=True)
class Run:
    """One training, settled: every number that trains or names it.

    The fields are Config's, with what was left open filled in. Nothing changes a run or a part of
    one; dataclasses.replace makes another, whose identity and folder follow. Equal runs have equal
    identities.
    """

    model: ModelChoice
    data: Data
    norm: NormChoice
    recipe: Recipe
    protocol: str
    probe: Watched | None
    train: Train
    tracker: Tracker
    launcher: Launcher
    experiment: Any
    batch: int  # images per worker
    workers: int
    sgd_batch: int  # images per optimizer step: batch x workers
    seed: int
    precision: str
    eval_stats: str
    eval_also: list[str] | None
    precise_images: int
    device: str
    channels_last: bool
    threads: int | None
    eval_batch: int
    checkpoint_steps: int
    out: str
    overwrite: bool

    # ------------------------------------------------------------ what follows by arithmetic

    @property
    def lr(self) -> float:
        """The linear rule, recipe.lr x sgd_batch / recipe.lr_batch. It serves both protocols."""
        return self.recipe.lr * self.sgd_batch / self.recipe.lr_batch

    @property
    def batch_free(self) -> bool:
        """Whether nothing in the run depends on how the SGD batch is split among workers.

        data.labels_per_batch gives each worker's batch labels of its own, and a probe watches
        worker 0's images.
        """
        by_worker = self.data.labels_per_batch or self.probe
        return self.norm.batch_free and self.protocol == "fixed_sgd" and not by_worker

    def steps_per_epoch(self, train_images: int) -> int:
        """Whole SGD batches in an epoch; the images left over are other ones every epoch."""
        return train_images // self.sgd_batch

    # ------------------------------------------------------------ the names under which it is found

    @cached_property
    def identity(self) -> str:
        """Eight hexadecimal digits of the SHA-256 of the science fields."""
        text = json.dumps(science(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def split(self) -> str:
        """How the SGD batch is split: b<batch>x<workers>; any<sgd_batch> where that is free."""
        return f"any{self.sgd_batch}" if self.batch_free else f"b{self.batch}x{self.workers}"

    @cached_property
    def folder(self) -> Path:
        """<out>/<data>/<network's label>/<norm's label>/<split>/s<seed>-<identity>"""
        place = Path(self.out) / self.data.name / self.model.label / self.norm.label
        return place / self.split / f"s{self.seed}-{self.identity}"

    def short(self) -> str:
        """The run in a few words, to begin a line with."""
        batch = "any" if self.batch_free else f"b{self.batch}"
        return f"{self.data.name} {self.norm.label} {batch} s{self.seed}"

    def headline(self, train_images: int | None = None) -> str:
        """The run and its arithmetic in one line. train_images: the number of them, once known."""
        split = "any batch," if self.batch_free else f"batch={self.batch} x workers={self.workers} ="
        line = (
            f"{self.data.name} {self.model.name} {self.norm.label} seed={self.seed}: {self.protocol}, "
            f"{split} sgd_batch={self.sgd_batch}, lr={self.lr:g}, {self.recipe.epochs} epochs"
        )
        known = train_images or self.data.train_size or self.data.train_images
        if known is None:
            return line
        steps = self.steps_per_epoch(known)
        return f"{line} x {steps} steps = {self.recipe.epochs * steps} steps"

    # ------------------------------------------------------------ the record

    def settings(self) -> dict[str, Any]:
        """Every field, plain and nested, under the names and in the order of Config."""
        values = asdict(self)
        del values["data"]["facts"], values["model"]["label"]
        values["norm"] = self.norm.as_dict()
        values["protocol"] = {"name": self.protocol, "workers": None, "sgd_batch": None}
        values["probe"] = values["probe"] or {"layer": None, "every": None}
        return values

    def description(self) -> dict[str, Any]:
        """config.yaml: every field, and the names under which the run is found."""
        return {
            "identity": self.identity,
            "label": self.norm.label,
            "model_label": self.model.label,
            "batch_free": self.batch_free,
            "lr": self.lr,
            **self.settings(),
        }


# ---------------------------------------------------------------------------- identity


def science(run: Run) -> dict[str, Any]:
    """The fields that fix a run's numbers, as nested plain values.

    What is off (None, False, or what a field names as its off) leaves no trace, so an option added
    in a later version does not fork the runs made before it. A batch-free norm under fixed_sgd has
    no batch and no workers: its one run serves every batch.
    """
    found = _science(run.settings(), Config)
    if run.batch_free:
        del found["batch"], found["workers"]
    return found


def _science(values: dict[str, Any], schema: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for f in fields(schema):
        if f.metadata.get("hardware"):
            continue
        part, value = f.default_factory, values[f.name]
        value = _science(value, part) if isinstance(part, type) and is_dataclass(part) else _without_off(value)
        if value is not None and value is not False and value != {} and value != f.metadata.get("off"):
            found[f.name] = value
    return found


def _without_off(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_off(v) for k, v in value.items() if v is not None and v is not False}
    return value
