"""Data sets under a name of the user's own: class folders (data=folder), and torchvision's by name."""

import gzip
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_datasets import CPU, given
from torchvision.transforms.v2 import functional as TF

import normbench
from normbench import cli, facts, records
from normbench import data as datasets
from normbench.compose import run_of, runs_of
from normbench.config import ConfigError
from normbench.data import Images, InMemory, augment, order, pixels
from normbench.data.folder import Folder
from normbench.runs import Run, science


def pictures(root: Path, each: int = 12, side: int = 28, grey: bool = True) -> Path:
    """Bright and dark pictures, one class each, with noise."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for level, name in ((60, "dark"), (180, "light")):
            (root / split / name).mkdir(parents=True)
            for i in range(each):
                values = rng.normal(level, 20, (side, side) if grey else (side, side, 3)).clip(0, 255)
                Image.fromarray(values.astype(np.uint8)).save(root / split / name / f"{i}.png")
    return root


def build(run: Run, dtype: torch.dtype = torch.float32) -> Images:
    return datasets.build(run.data, seed=run.seed, device=CPU, dtype=dtype)


SMALL = ["data=folder", "data.grey=true", "data.image_size=28", "data.loader_processes=0", "model=cifar_resnet8"]


# ---------------------------------------------------------------------------- class folders


def test_grey_pictures_train_under_their_own_name(tmp_path: Path) -> None:
    root = pictures(tmp_path / "pictures")
    small = ["recipe.epochs=2", "sgd_batch=8", "batch=4", "model.options.width=4", f"out={tmp_path / 'runs'}"]
    typed = [*SMALL, f"data.root={root}", "data.name=shades", "data.augment=crop_flip", "device=cpu", *small]
    result = normbench.run(typed)
    assert (result.status, result.path.parts[-5]) == ("done", "shades")
    config, made = records.read_config(result.path), records.read_json(result.path / "env.json")
    assert (config["data"]["name"], config["data"]["source"], config["data"]["num_classes"]) == ("shades", "folder", 2)
    every = np.stack([np.asarray(Image.open(path)) for path in sorted(root.glob("train/*/*.png"))]) / 255
    assert made["pixels"]["mean"] == [pytest.approx(every.mean(), abs=5e-5)]
    assert made["pixels"]["sd"] == [pytest.approx(every.std(), abs=5e-5)]


def test_grey_pixels_are_those_of_the_file_less_the_mean_over_the_sd(tmp_path: Path) -> None:
    root = pictures(tmp_path)
    images = build(run_of([*SMALL, f"data.root={root}", "data.augment=none"]), torch.float64)
    assert isinstance(images, Folder)
    assert (images.image_shape, images.num_classes) == ((1, 28, 28), 2)
    assert images.mean and images.sd
    x, y = next(images.evaluation(batch=24))
    paths = sorted(root.glob("val/*/*.png"))  # dark ones first
    for place, number in enumerate(order.permutation(24, "evaluation")):
        wanted = (
            np.asarray(Image.open(sorted(paths, key=lambda p: (p.parent.name, p.name))[number])) / 255
        ) - images.mean
        np.testing.assert_allclose(x[place, 0], wanted / images.sd, atol=1e-12)
        assert int(y[place]) == (number >= 12)


def test_a_colour_image_gives_grey_and_a_grey_one_three_channels(tmp_path: Path) -> None:
    colour = build(run_of([*SMALL, f"data.root={pictures(tmp_path / 'a', grey=False)}", "data.augment=none"]))
    grey = build(run_of(["data=folder", "data.image_size=28", f"data.root={pictures(tmp_path / 'b')}", "batch=4",
                         "sgd_batch=8", "data.loader_processes=0", "data.augment=inception_color"]))  # fmt: skip
    assert (colour.image_shape, grey.image_shape) == ((1, 28, 28), (3, 28, 28))
    assert next(colour.epoch(0, 8))[0].shape == (8, 1, 28, 28)
    assert next(grey.epoch(0, 8))[0].shape == (8, 3, 28, 28)


def test_crop_flip_of_photos_is_a_crop_of_the_padded_centre_and_a_flip() -> None:
    ramp = np.arange(1, 101, dtype=np.uint8).reshape(10, 10)
    padded, seen = np.pad(ramp, augment.PAD), set()
    flips = {window.tobytes(): (i, j, flip) for i in range(9) for j in range(9) for flip in (1, -1)
             for window in [np.ascontiguousarray(padded[i : i + 10, j : j + 10][:, ::flip])]}  # fmt: skip
    transform = augment.shifted(10, 10)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(200):
            seen.add(flips[transform(Image.fromarray(ramp)).numpy().tobytes()])
    assert {flip for _, _, flip in seen} == {1, -1}
    assert {i for i, _, _ in seen} == {j for _, j, _ in seen} == set(range(9))


def test_mean_and_sd_are_counted_exactly_whatever_the_parts() -> None:
    images = np.random.default_rng(1).integers(0, 256, (50, 3, 5, 4), dtype=np.uint8)
    whole = pixels.mean_and_sd([images])
    assert whole == pixels.mean_and_sd(images[i : i + 7] for i in range(0, 50, 7))
    np.testing.assert_allclose(whole, [(images / 255).mean((0, 2, 3)), (images / 255).std((0, 2, 3))], atol=5.1e-5)
    with pytest.raises(ConfigError, match="channels of one value only"):
        pixels.mean_and_sd([np.zeros((2, 1, 3, 3), np.uint8)])


def test_a_folder_is_itself_under_any_place_and_another_under_another_name(tmp_path: Path) -> None:
    root = pictures(tmp_path / "a")
    first = run_of([*SMALL, f"data.root={root}", "batch=4", "sgd_batch=8", "data.augment=none"])
    root.rename(tmp_path / "b")
    again = [*SMALL, f"data.root={tmp_path / 'b'}", "batch=4", "sgd_batch=8", "data.augment=none"]
    assert run_of(again).identity == first.identity
    assert first.folder.parts[-5] == "folder"
    assert run_of([*again, "data.name=mine"]).identity != first.identity
    assert run_of([*again, "data.grey=false"]).identity != first.identity


def test_what_is_off_leaves_no_trace_in_the_identity_of_other_data_sets() -> None:
    assert not {"source", "grey", "options"} & set(science(run_of([]))["data"])


def test_a_dry_run_counts_the_folder_and_needs_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = [*SMALL, f"data.root={pictures(tmp_path)}", "batch=4", "sgd_batch=8", "data.name=shades", "--dry"]
    assert cli._guarded(typed) == 0
    assert "shades: 24 training and 24 test images, counted in" in capsys.readouterr().out
    assert cli._guarded(["data=folder", "data.root=nowhere", "--dry"]) == 1
    said = "data=folder data.root=nowhere: no folder nowhere/train; set data.root=FOLDER that holds train/<class>/"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["data.name=imagenet"], "data.name=imagenet: another data set has that name, and its curves"),
        (["data.name=ImageNet"], "another data set has that name"),
        (["data.name=coco"], "another data set has that name"),  # of published numbers
        (["data.name=svhn"], "another data set has that name"),
        (["data.name=../x"], "use letters, digits"),
        (["data.source=torchvision"], "the name goes with the rest of its file"),
        (["data.augment=crop"], "use data.augment=none or crop_flip or inception or inception_color"),
        (["data.grey=true", "data.augment=inception_color"], "changes colours, which data.grey=true has none of"),
        (["data.download=true"], "data.download=True does not apply"),
        (["data.train_images=5"], "they are counted"),
    ],
)
def test_what_a_folder_does_not_take_is_one_line(typed: list[str], said: str, tmp_path: Path) -> None:
    root = pictures(tmp_path, each=1)
    with pytest.raises(ConfigError, match=said):
        run_of(["data=folder", f"data.root={root}", "batch=2", "sgd_batch=2", *typed])


def test_three_channel_networks_say_what_takes_grey(tmp_path: Path) -> None:
    typed = [f"data.root={pictures(tmp_path, each=2)}", "batch=2", "sgd_batch=2", f"out={tmp_path / 'runs'}"]
    with pytest.raises(ConfigError, match="takes images of 3 channels, the data has 1; cifar_resnet and timm"):
        normbench.run(["data=folder", "data.grey=true", "data.image_size=28", *typed, "device=cpu"])


def test_real_photos_under_their_own_name() -> None:
    root = given("imagenet-mini")
    run = run_of(
        ["data=folder", f"data.root={root}", "data.name=mini", "data.image_size=64", "data.loader_processes=0"]
    )
    images = build(run)
    assert (run.data.name, images.num_classes, images.train_images) == ("mini", 18, 576)
    photos = (Image.open(path).convert("RGB") for path in root.glob("train/*/*"))
    every = np.stack([np.asarray(TF.center_crop(TF.resize(photo, [64]), [64])) for photo in photos]) / 255
    np.testing.assert_allclose([images.mean, images.sd], [every.mean((0, 1, 2)), every.std((0, 1, 2))], atol=5.1e-5)
    assert next(images.epoch(0, 4))[0].isfinite().all()


# ---------------------------------------------------------------------------- torchvision's


class Made:
    """What a data set of torchvision has once it is read."""

    def __init__(self, data: Any, labels: Any, under: str) -> None:
        self.data = data
        setattr(self, under, labels)


SHAPES = {  # how torchvision holds them: images, labels, and where it keeps those
    "MNIST": (torch.uint8, False, "targets"), "QMNIST": (torch.uint8, False, "targets"), "USPS": (np.uint8, False, "targets"),
    "EMNIST_letters": (torch.uint8, False, "targets"), "SVHN": (np.uint8, True, "labels"), "STL10": (np.uint8, True, "labels"),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_each_way_in_which_torchvision_holds_images(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from torchvision import datasets as theirs

    kind, channels_first, under = SHAPES[name]
    asked: list[dict[str, Any]] = []
    known = facts.of("torchvision", name)
    _, height, width = known.image_shape
    rng = np.random.default_rng(0)
    first = 1 if name == "EMNIST_letters" else 0
    classes = 26 if first else 10

    def make(root: str, **given: Any) -> Made:
        asked.append(given)
        values = rng.integers(0, 256, (60, 3, height, width) if channels_first else (60, height, width), dtype=np.uint8)
        labels: Any = np.arange(60) % classes + first
        if name == "QMNIST":
            labels = torch.from_numpy(np.stack([labels, labels * 0 + 7], 1))
        return Made(torch.from_numpy(values) if kind is torch.uint8 else values, labels, under)

    data = run_of(["data=torchvision", f"data.name={name}"], files=False).data
    monkeypatch.setattr(theirs, name.split("_")[0], make)
    monkeypatch.setattr(facts, "of", lambda *_: replace(known, train_images=60, test_images=60))
    images = datasets.build(data, seed=0, device=CPU, dtype=torch.float64)
    assert isinstance(images, InMemory)
    assert images.image_shape == known.image_shape
    assert images.num_classes == classes
    assert images.train_y.tolist() == [i % classes for i in range(60)]
    x = torch.cat([x for x, _ in images.epoch(0, 60)])
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(known.image_shape[0], dtype=x.dtype), atol=1e-3, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3)), torch.ones(known.image_shape[0], dtype=x.dtype), atol=3e-3, rtol=0)
    split = {"SVHN": "split", "STL10": "split"}.get(name, "train")
    assert [given[split] for given in asked] == (["train", "test"] if split == "split" else [True, False])
    assert not asked[0]["download"]
    assert ("letters" in asked[0].values()) == (name == "EMNIST_letters")


def test_mnist_is_read_from_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, raw = np.random.default_rng(0), tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    written = {}
    for part, count in (("train", 40), ("t10k", 20)):
        pictures, labels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8), np.arange(count, dtype=np.uint8) % 10
        written[part] = pictures
        for kind, values in (("images-idx3", pictures), ("labels-idx1", labels)):
            head = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
            (raw / f"{part}-{kind}-ubyte").write_bytes(head + values.tobytes())
    typed = ["data=torchvision", "data.name=MNIST", f"data.root={tmp_path}"]
    with pytest.raises(ConfigError, match=r"training images 40 loaded, and 60000 in the facts of torchvision\.yaml"):
        build(run_of(typed))
    known, data = replace(facts.of("torchvision", "MNIST"), train_images=40, test_images=20), run_of(typed).data
    monkeypatch.setattr(facts, "of", lambda *_: known)
    images = datasets.build(data, seed=0, device=CPU, dtype=torch.float32)
    assert isinstance(images, InMemory)
    np.testing.assert_array_equal(images.train_x[:, 0], written["train"])
    np.testing.assert_array_equal(images.test_x[:, 0], written["t10k"])
    (raw / "train-images-idx3-ubyte").write_bytes(gzip.compress(b"torn"))
    with pytest.raises(ConfigError, match="MNIST cannot be read"):
        datasets.build(data, seed=0, device=CPU, dtype=torch.float32)


def test_a_dry_run_knows_every_one_of_them_without_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    names = facts.stated(run_of(["data=torchvision", "data.name=SVHN"], files=False).data)["sets"]
    runs = runs_of(["data=torchvision", f"data.name={','.join(names)}"], files=False)
    assert [run.data.name for run in runs] == list(names)
    assert len({run.identity for run in runs}) == len(names) >= 12
    for run in runs:
        known = facts.of_data(run.data)
        assert run.data.train_images == known.train_images
        assert run.data.num_classes == names[run.data.name]["num_classes"]
        assert datasets.image_shape(run.data) == known.image_shape
    assert cli._guarded(["data=torchvision", "data.name=SVHN", "batch=32", "recipe.epochs=1", "--dry"]) == 0
    assert "steps: 572 left of 572" in capsys.readouterr().out  # 73,257 // 128


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ([], "data=torchvision needs data.name=NAME; one of MNIST, FashionMNIST"),
        (
            ["data.name=svhn"],
            r"data.name=svhn: no such data set of data=torchvision \(did you mean SVHN\?\); one of MNIST",
        ),
        (["data.name=CIFAR10"], "data=cifar10 is it"),
        (["data.name=SVHN"], "no file data/train_32x32.mat; set data.root=FOLDER that holds train_32x32.mat and"),
        (["data.name=STL10"], "no folder data/stl10_binary; set data.root=FOLDER .* add data.download=true"),
        (["data.name=MNIST", "data.augment=inception"], "use data.augment=none or crop_flip"),
        (["data.name=MNIST", "data.image_size=32"], "data.image_size=32 does not apply"),
        (["data.name=MNIST", "data.train_size=60001"], "more than the 60000 training images of MNIST"),
    ],
)
def test_what_torchvision_does_not_have_is_one_line(
    typed: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=said):
        run_of(["data=torchvision", *typed])


def test_a_data_set_of_torchvisions_is_told_how_it_is_typed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._guarded(["data=svhn"]) == 1
    assert "data=svhn: no such data (it is data=torchvision data.name=SVHN); one of" in capsys.readouterr().err
