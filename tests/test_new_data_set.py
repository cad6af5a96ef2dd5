"""A loader file and a yaml are all of a data set: a made-up one is composed, planned and trained as
those of conf/data.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import normbench
from normbench import cli, facts, paths, plugins, records
from normbench import data as datasets
from normbench.compose import run_of
from normbench.config import ConfigError

YAML = """
defaults:
  - override /model@_global_.model: cifar_resnet8
  - override /recipe@_global_.recipe: digits
name: stripes
num_classes: 2
train_images: ${.facts.train_images}
facts:
  loader: stripes
  image_shape: [1, 8, 8]
  train_images: 64
  test_images: 20
  augments: [none, crop_flip]
  sgd_batch: 32
"""
LOADER = '''
"""Horizontal stripes and vertical ones."""

import numpy as np

from normbench.data import order
from normbench.data.images import Arrays, InMemory


def load(data, *, seed, device, dtype):
    chosen = dict(num_classes=2, augment=data.augment, seed=seed, device=device, dtype=dtype)
    return InMemory(_draw(64, "train"), _draw(20, "test"), mean=[0.5], sd=[0.5], **chosen)


def _draw(count, name):
    labels = np.arange(count) % 2
    rows = (np.indices((8, 8)) % 2).astype(np.float32)
    noise = order.rng("stripes", name).normal(0, 0.1, (count, 1, 8, 8))
    return Arrays((rows[labels][:, None] + noise).astype(np.float32), labels)
'''


@pytest.fixture(autouse=True)
def _stripes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    conf, loaders = tmp_path / "conf", tmp_path / "loaders"
    shutil.copytree(paths.conf(), conf)
    (conf / "data" / "stripes.yaml").write_text(YAML)
    loaders.mkdir()
    (loaders / "stripes.py").write_text(LOADER)
    monkeypatch.setattr(paths, "conf", lambda: conf)
    monkeypatch.setattr(datasets, "__path__", [*datasets.__path__, str(loaders)])
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("normbench.data.stripes", None)


def test_it_trains_with_the_network_recipe_and_sgd_batch_that_its_yaml_names() -> None:
    result = normbench.run(["data=stripes", "batch=4", "recipe.epochs=1", "model.options.width=4", "device=cpu"])
    assert (result.status, result.epochs) == ("done", 1)
    (row,) = records.read_rows(result.path)
    assert row["images_seen"] == 64
    assert result.path.parts[-5:-1] == ("stripes", "cifar_resnet8-width4", "bn", "b4x8")
    assert "facts" not in records.read_config(result.path)["data"]


def test_it_is_planned_and_offered_in_messages(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._guarded(["-m", "data=stripes", "norm=bn,gn", "batch=4", "--dry"]) == 0
    assert "steps: 80 left of 80" in capsys.readouterr().out  # 2 runs x 20 epochs x 2 steps
    with pytest.raises(
        ConfigError, match=r"did you mean stripes\?\); one of cifar10, cifar100, digits, folder, imagenet, stripes"
    ):
        run_of(["data=strips"])
    with pytest.raises(
        ConfigError, match=r"inception does not apply to data=stripes; use data\.augment=none or crop_flip"
    ):
        run_of(["data=stripes", "data.augment=inception"])


@pytest.mark.parametrize(
    "typed", ["data.facts.loader=cifar", "data.facts.image_shape=[3,8,8]", "+data.facts.colour=red"]
)
def test_what_it_is_cannot_be_typed(typed: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^data\.facts\.\w+=.* is a property of the data set, not an option: leave it out"
    ):
        run_of(["data=stripes", typed])


def test_facts_are_in_no_identity() -> None:
    before = run_of(["data=stripes"]).identity
    path = paths.conf() / "data" / "stripes.yaml"
    path.write_text(YAML.replace("test_images: 20", "test_images: 30"))
    plugins.read.cache_clear()
    assert run_of(["data=stripes"]).identity == before


def test_a_yaml_that_does_not_say_what_the_data_set_is_is_one_line() -> None:
    (paths.conf() / "data" / "empty.yaml").write_text("name: empty\nnum_classes: 2\n")
    with pytest.raises(ConfigError, match=r"empty\.yaml must say under facts what the data set is: .*loader") as caught:
        facts.of("empty")
    assert "\n" not in str(caught.value)
