"""The setting that runs or a paper's numbers are of, in words, and whether the two are one."""

import dataclasses
import json
from collections.abc import Collection
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from normbench import paths
from normbench.config import Recipe
from normbench.study.read.selection import plain

# The recipe of conf/recipe that a paper's numbers were trained by, and what it changes of it. The
# numbers of a paper that is not here were trained otherwise: they stand beside ours, never beneath.
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "group_norm_2018": ("gn2018", {}),
    "group_norm_reproduction": ("gn2018", {}),
    "mabn_2020": ("gn2018", {}),
    "wu_johnson_2021": ("gn2018", {}),
    "cross_iteration_bn_2021": ("gn2018", {"schedule": "cosine"}),
}
# What makes other data of a data set of the same name.
DATA = ("num_classes", "image_size", "train_size", "test_size", "labels_per_batch")
NAMES = {  # of data sets and networks, as the papers write them
    "imagenet": "ImageNet",
    "cifar10": "CIFAR-10",
    "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
    "resnet101": "ResNet-101",
    "inception_v3": "Inception-v3",
    "mobilenet_v2": "MobileNetV2",
}


def filters(own: pd.DataFrame) -> list[str]:
    """The data and the network of runs that have one of each, as filters; none where no run is."""
    return [f"{key}={own[key].iloc[0]}" for key in ("data", "model")] if len(own) else []


def place(data: str, model: str) -> str:
    """Data and network: "ImageNet, ResNet-50", and our own as they are called here."""
    return f"{NAMES.get(data, data)}, {NAMES.get(model, model)}"


def in_words(table: pd.DataFrame) -> str:
    """Data, network and SGD batch of runs or of a paper's numbers; "" where there are none."""
    if table.empty:
        return ""
    data, model = table[["dataset" if "dataset" in table else "data", "model"]].iloc[0]
    return f"{place(data, model)}, {protocol(table)}."


def protocol(table: pd.DataFrame) -> str:
    """What stays the same while the batch varies."""
    sizes = table["sgd_batch"] if "sgd_batch" in table else table["batch"] * table["workers"]
    if sizes.dropna().nunique() == 1:
        return f"SGD batch of {sizes.dropna().iloc[0]}"
    counts = table["workers"].dropna().unique()
    if set(table["protocol"]) == {"per_worker"} and len(counts) == 1:
        return f"{counts[0]} workers, so the SGD batch shrinks with the batch"
    return "protocols differ"


def recipe_lr(own: pd.DataFrame) -> float | None:
    """recipe.lr as the yaml of the runs' recipe has it; None for a recipe that is not ours."""
    name = str(own["recipe"].iloc[0])
    read = _yaml(paths.conf() / "recipe" / f"{name}.yaml")
    return float({**asdict(Recipe(name=name)), **read}["lr"]) if read else None


# ------------------------------------------------------------------ ours against a paper's


def unlike_the_papers(own: pd.DataFrame, theirs: pd.DataFrame, free: Collection[str] = ()) -> list[str]:
    """In what our runs are not those that a paper's numbers are of, as key=value; none: they are.

    Data set, number of classes, image size, network, epochs and every field of the recipe have to
    be the paper's. free: fields that may differ.
    """
    paper, dataset, network = (str(theirs[column].iloc[0]) for column in ("paper", "dataset", "model"))
    wanted = {"data": dataset, "model": network, **_data_fields(paths.conf(), dataset)}
    wanted |= _recipe_fields(paths.conf(), paper) or {"recipe": "of the paper"}
    wanted |= {name: "null" for name in map(str, own) if name.startswith("model.options.")}
    found = []
    for key, value in wanted.items():
        here = dict.fromkeys(own[key].map(plain)) if key in own else {"null": None}
        found += [f"{key}={other}" for other in here if other != value and key not in free]
    return found


@cache
def _data_fields(conf: Path, dataset: str) -> dict[str, str]:
    read = _yaml(conf / "data" / f"{dataset}.yaml")
    return {f"data.{key}": _plainly(read.get(key)) for key in DATA}


@cache
def _recipe_fields(conf: Path, paper: str) -> dict[str, str]:
    """Every field of the recipe of a paper; none where we have no such recipe."""
    if paper not in RECIPES:
        return {}
    name, changed = RECIPES[paper]
    fields = {**asdict(Recipe(name=name)), **_yaml(conf / "recipe" / f"{name}.yaml"), **changed}
    off = {f.name: f.metadata.get("off", {}) for f in dataclasses.fields(Recipe)}
    fields = {key: None if value == off.get(key) else value for key, value in fields.items()}
    return {"recipe" if key == "name" else f"recipe.{key}": _plainly(value) for key, value in fields.items()}


def _yaml(path: Path) -> dict[str, Any]:
    loaded: Any = OmegaConf.to_container(OmegaConf.load(path)) if path.is_file() else {}
    return {key: value for key, value in loaded.items() if key not in ("defaults", "facts")}


def _plainly(value: Any) -> str:
    return plain(json.dumps(value) if isinstance(value, list) else value)
