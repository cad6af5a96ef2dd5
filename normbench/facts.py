"""What each data set is: the facts of conf/data/<name>.yaml, read without torch or its files.

A data set is that yaml and the loader it names, normbench/data/<loader>.py; or the yaml and the
loader that an installed package offers. Its facts are no options: nothing on the command line
changes them, and no identity or record repeats them.

A source (data=folder, data=torchvision) is one yaml for many data sets. Which of them, data.name
says: a word of the user's own for class folders, torchvision's name for its data sets.
"""

import csv
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from normbench import paths, plugins
from normbench.config import SOURCES, ConfigError, Data
from normbench.hints import nearest, one_line


@dataclass(frozen=True)
class Facts:
    """What a data set is, whatever is asked of it.

    image_shape: channels, height, width; a null side is data.image_size. augments: what
    data.augment takes. options: keys of data.* that apply, beside those of every data set. folders,
    files: those that data.root must hold; none: no files are needed. layout: what data.root holds,
    as an error message says it. class_folders: whether train/<class>/ and val/<class>/ decide how
    many images and classes there are; train_images and test_images are then those of the release in
    `release`, and 0 where there is none. sgd_batch: images per optimizer step that go with it,
    where protocol= does not say. mean, sd: of the training pixels, per channel, on the 0..1 scale,
    where the loader does not compute them.
    """

    loader: str
    image_shape: tuple[int, int | None, int | None]
    train_images: int
    test_images: int
    augments: tuple[str, ...] = ("none",)
    options: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    layout: str = ""
    class_folders: bool = False
    release: str = ""
    sgd_batch: int | None = None
    mean: tuple[float, ...] = ()
    sd: tuple[float, ...] = ()

    @property
    def only_counted(self) -> bool:
        """Whether nothing is known of the images and classes before they are counted."""
        return self.class_folders and not self.release


def names() -> list[str]:
    """Every name that data= takes."""
    return plugins.names("data")


def of(name: str, of_source: str | None = None) -> Facts:
    """The facts of a data set; raises ConfigError where its yaml does not say them.

    name: what data= takes. of_source: which data set of a source that has several.
    """
    found = dict(_stated(name))
    sets = found.pop("sets", {})
    if sets:
        found |= {key: value for key, value in sets[of_source].items() if key != "num_classes"}
    if name in plugins.offered("data"):
        found["loader"] = plugins.entry_of(name, "data").value
    plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
    try:
        return Facts(**plain)
    except TypeError as error:
        path = plugins.yaml_of(name, "data")
        raise ConfigError(f"{path} must say under facts what the data set is: {one_line(error)}") from None


def of_data(data: Data) -> Facts:
    """The facts of the data set that a config names."""
    return of(data.source or data.name, data.name)


def image_shape(data: Data) -> tuple[int, int, int]:
    """(C, H, W) of what the network sees, from the config alone."""
    channels, height, width = of_data(data).image_shape
    if height is None or width is None:
        if data.image_size is None:
            raise ConfigError(f"data={data.name} needs data.image_size, e.g. 224")
        height = width = data.image_size
    return 1 if data.grey else channels, height, width


def stated(data: Data) -> dict[str, Any]:
    """The facts as the yaml of that data set states them."""
    return _stated(data.source or data.name)


def own_options(data: Data) -> dict[str, Any]:
    """The options that the yaml of an installed package's data set has, with their defaults."""
    return plugins.schema(data.source or data.name, "data").get("options") or {}


def _stated(name: str) -> dict[str, Any]:
    found = plugins.schema(name, "data").get("facts") or {}
    if not isinstance(found, dict):
        path = plugins.yaml_of(name, "data")
        raise ConfigError(f"{path} must say under facts what the data set is, and says {found!r}")
    return found


# ---------------------------------------------------------------------------- a name of one's own


def check_name(source: str | None, name: str) -> None:
    """Raises ConfigError for a name that the source does not have, or that another data set has.

    Curves are drawn by the name of the data set, the published ones beneath those of the same name.
    """
    if source is None:
        plugins.yaml_of(name, "data")
        return
    if source not in SOURCES:
        raise ConfigError(f"data.source={source} comes with data=NAME; leave it out")
    if sets := _stated(source).get("sets"):
        if not name:
            raise ConfigError(f"data={source} needs data.name=NAME; one of {', '.join(sets)}")
        if name not in sets:
            way = f"data={name.lower()} is it" if name.lower() in names() else f"one of {', '.join(sets)}"
            raise ConfigError(f"data.name={name}: no such data set of data={source}{nearest(name, sets)}; {way}")
        return
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ConfigError(f"data.name={name}: a folder of runs has that name; use letters, digits, _ and -")
    taken = {other.lower() for other in (*names(), *_of_sources(), *_published())} - {source}
    if name.lower() in taken:
        raise ConfigError(f"data.name={name}: another data set has that name, and its curves; use one of your own")


def within_a_source(name: str) -> str | None:
    """How a data set that a source has, as SVHN of data=torchvision, is typed; None for others."""
    found = ((source, one) for source in SOURCES for one in _stated(source).get("sets", {}))
    return next((f"it is data={of} data.name={one}" for of, one in found if one.lower() == name.lower()), None)


def _of_sources() -> set[str]:
    return {name for source in SOURCES for name in _stated(source).get("sets", {})}


@cache
def _published() -> set[str]:
    """The data sets that published numbers are of."""
    found = set()
    for path in paths.published().glob("*.csv"):
        with Path(path).open(newline="", encoding="utf-8") as file:
            found |= {row["dataset"] for row in csv.DictReader(file) if row.get("dataset")}
    return found
