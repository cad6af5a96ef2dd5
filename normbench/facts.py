"""What each data set is: the facts of conf/data/<name>.yaml, read without torch or its files.

A data set is that yaml and the loader it names, normbench/data/<loader>.py. Its facts are no
options: nothing on the command line changes them, and no identity or record repeats them.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from normbench import paths, plugins
from normbench.config import ConfigError
from normbench.hints import one_line


@dataclass(frozen=True)
class Facts:
    """What a data set is, whatever is asked of it.

    image_shape: channels, height, width; a null side is data.image_size. augments: what
    data.augment takes. options: keys of data.* that apply, beside those of every data set. folders:
    those that data.root must hold; none: no files are needed. layout: what data.root holds, as an
    error message says it. class_folders: whether train/<class>/ and val/<class>/ decide how many
    images and classes there are; train_images and test_images are then those of the release in
    `release`. sgd_batch: images per optimizer step that go with it, where protocol= does not say.
    mean, sd: of the training pixels, per channel, on the 0..1 scale, where the loader does not
    compute them.
    """

    loader: str
    image_shape: tuple[int, int | None, int | None]
    train_images: int
    test_images: int
    augments: tuple[str, ...] = ("none",)
    options: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    layout: str = ""
    class_folders: bool = False
    release: str = ""
    sgd_batch: int | None = None
    mean: tuple[float, ...] = ()
    sd: tuple[float, ...] = ()


def names() -> list[str]:
    """Every name that data= takes."""
    return sorted(path.stem for path in (paths.conf() / "data").glob("*.yaml"))


def of(name: str) -> Facts:
    """The facts of a data set; raises ConfigError where its yaml does not say them."""
    return _read(paths.conf() / "data" / f"{name}.yaml")


def plain(value: Any) -> Any:
    """A value of a yaml as Facts holds it."""
    return tuple(value) if isinstance(value, list) else value


@cache
def _read(path: Path) -> Facts:
    found = plugins.read(path).get("facts") or {}
    try:
        return Facts(**{key: plain(value) for key, value in found.items()})
    except (TypeError, AttributeError) as error:
        raise ConfigError(f"{path} must say under facts what the data set is: {one_line(error)}") from None
