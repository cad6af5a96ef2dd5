"""The overrides that lead to a setting: what its data, network and recipe do not bring along."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from normbench import paths, records
from normbench.config import Config, Data, Recipe
from normbench.study.read import experiments, science
from normbench.study.read.selection import FOLLOWS, plain

# What the protocol fixes while the batch varies.
GIVEN = {"per_worker": "workers", "fixed_sgd": "sgd_batch"}
PROTOCOL = ("protocol", *FOLLOWS.values())
# What tells cells apart; norm stands for its options too.
OWN = ("norm", "batch", "seed", "eval_also")
COUNTED = ("files", "num_classes", "train_images", "source")  # of data, and no options


def beside(name: str, own: pd.DataFrame) -> list[str]:
    """What is typed beside experiment=name to train more runs of the kind of these.

    That is what they have in common, and no choice of the experiment's. None where no run is.
    """
    if own.empty:
        return []
    wanted = experiments.read(name)
    chosen = {*wanted.swept, *(key for product in wanted.products for key in product.fixed)}
    # Of a protocol's fields one says the others.
    chosen |= {*PROTOCOL} if chosen & {*PROTOCOL} else set()
    common = {}
    for key in science.columns(own):
        values = own[key].map(plain).unique()
        if key in chosen or key.split(".")[0] in OWN:
            continue
        if len(values) == 1:
            common[key] = str(values[0])
        else:
            chosen.add(key)
    return [*leading_to(common, chosen), *where(own)]


def and_filters(of: list[str], filters: list[str]) -> list[str]:
    """What runs are of, and the filters that chose them beside it."""
    said = {text.partition("=")[0] for text in of}
    return [*of, *(text for text in filters if text.partition("=")[0] not in said)]


def where(own: pd.DataFrame) -> list[str]:
    """data.root of the first of these runs whose folder is here, if it is one of the user's."""
    for path in own["path"]:
        try:
            data = records.read_config(Path(path))["data"]
        except (OSError, ValueError, KeyError):
            continue  # of the reference, or gone
        usual = _yaml(paths.conf() / "data" / f"{data.get('source') or data['name']}.yaml").get("root")
        return [] if data.get("root") in (None, usual) else [f"data.root={data['root']}"]
    return []


def leading_to(setting: Mapping[str, str], unsaid: Collection[str] = ()) -> list[str]:
    """The overrides that lead to science fields, given in one spelling; data and model first.

    Without a protocol among them, that is left as it is; so are the fields that stay unsaid. None
    where there are no fields.
    """
    if not setting:
        return []
    file, words = _data(setting)
    words += _network(setting["model"])
    of_data = _of_data(paths.conf(), file)
    if (recipe := setting.get("recipe")) not in (None, of_data["recipe"]):
        words.append(f"recipe={recipe}")
    protocol = setting.get("protocol", "")
    if given := GIVEN.get(protocol):
        value = setting.get(given, "")
        if (protocol, value) != (of_data["protocol"], of_data["given"]):
            words += [f"protocol={protocol}", f"{given}={value}"]
    return [*words, *_changed(setting, unsaid)]


def _data(setting: Mapping[str, str]) -> tuple[str, list[str]]:
    """The file of conf/data behind a data set, and how that is typed."""
    name, source = setting["data"], setting.get("data.source")
    return (source, [f"data={source}", f"data.name={name}"]) if source else (name, [f"data={name}"])


def _network(name: str) -> list[str]:
    """How a network is typed that has a file in conf/model, or is one of a library by its name."""
    if (paths.conf() / "model" / f"{name}.yaml").is_file():
        return [f"model={name}"]
    return [f"model={'timm' if name.startswith('timm/') else 'torchvision'}", f"model.name={name}"]


def _changed(setting: Mapping[str, str], unsaid: Collection[str]) -> Iterator[str]:
    """The fields whose value is not the one that data, network and recipe bring along."""
    defaults = _defaults(paths.conf(), _data(setting)[0], setting["model"], setting.get("recipe", ""))
    said = {"data", "model", "recipe", *PROTOCOL, *(f"data.{key}" for key in COUNTED), *unsaid}
    # A field without a record is off, if it can be; else the record is older than the field.
    recorded = [key for key in defaults if key in setting or _can_be_off(key)]
    for key in dict.fromkeys([*recorded, *setting]):
        default, value = defaults.get(key), setting.get(key, "null")
        if key not in said and "${" not in str(default) and value != _spelled(default):
            # What is off is recorded alike, and typed as the kind of thing it is.
            off = {bool: "false", str: "none"}.get(type(default), "null")
            yield f"{key}={off if value == 'null' else value}"


# ---------------------------------------------------------------------------- defaults


@cache
def _of_data(conf: Path, data: str) -> dict[str, str]:
    """The recipe and the protocol that go with a data set."""
    file = _yaml(conf / "data" / f"{data}.yaml")
    chosen = {key: str(value) for entry in file.get("defaults", []) for key, value in dict(entry).items()}
    named = {key.removeprefix("override /").partition("@")[0]: value for key, value in chosen.items()}
    # Where it names no protocol, the SGD batch that goes with the data set is given.
    protocol = named.get("protocol", "fixed_sgd")
    numbers = _yaml(conf / "protocol" / f"{protocol}.yaml") if "protocol" in named else file.get("facts", {})
    return {"recipe": named.get("recipe", ""), "protocol": protocol, "given": plain(numbers.get(GIVEN[protocol]))}


@cache
def _defaults(conf: Path, data: str, model: str, recipe: str) -> dict[str, Any]:
    """Every science field that data, network and recipe decide, and what they make of it."""
    network = _yaml(conf / "model" / f"{model}.yaml")
    found = {f"data.{key}": value for key, value in _fields(Data, _yaml(conf / "data" / f"{data}.yaml")).items()}
    found |= {f"model.options.{key}": value for key, value in network.get("options", {}).items()}
    found |= {
        f"recipe.{key}": value for key, value in _fields(Recipe, _yaml(conf / "recipe" / f"{recipe}.yaml")).items()
    }
    found |= {key: value for key, value in _fields(Config, {}).items() if key not in OWN}
    return found


def _fields(kind: type, file: dict[str, Any]) -> dict[str, Any]:
    """The science fields of a part of the config that hold plain values, less its name."""
    found = {}
    for f in fields(kind):
        default = (
            f.default if f.default is not MISSING else f.default_factory() if callable(f.default_factory) else None
        )
        value = file.get(f.name, default)
        value = None if value == f.metadata.get("off") else value  # then no record has it
        if f.name != "name" and not f.metadata.get("hardware") and isinstance(value, str | float | int | list | None):
            found[f.name] = value
    return found


def _can_be_off(key: str) -> bool:
    """Whether a field may be None or False, of which a record keeps no trace."""
    part, _, name = key.rpartition(".")
    types = {f.name: f.type for f in fields({"data": Data, "recipe": Recipe}.get(part, Config))}
    return part == "model.options" or types.get(name) is bool or "None" in str(types.get(name))


def _yaml(path: Path) -> dict[str, Any]:
    loaded: Any = OmegaConf.to_container(OmegaConf.load(path)) if path.is_file() else {}
    return {str(key): value for key, value in loaded.items()}


def _spelled(value: Any) -> str:
    return plain(json.dumps(value) if isinstance(value, list) else value)
