"""What each data set is: digits, CIFAR, photos, and the options that it takes."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from sklearn.datasets import load_digits
from torchvision.transforms.v2 import functional as TF

from normbench import data as datasets
from normbench import facts, paths
from normbench.checks import check_options
from normbench.config import ConfigError, Data
from normbench.data import Images, InMemory, augment, digits, order

CPU = torch.device("cpu")
DIGITS = Data("digits", 10, fresh=True, contrast=0.1)
CIFAR = Data("cifar10", 10, root="data")
PHOTOS = Data("imagenet", 1000, augment="inception_color", image_size=24, eval_resize=28, loader_processes=0)


def build(data: Data, seed: int = 0, dtype: torch.dtype = torch.float32) -> Images:
    return datasets.build(data, seed=seed, device=CPU, dtype=dtype)


def given(name: str) -> Path:
    """A data set that lies beside the checkout, or where NORMBENCH_TEST_DATA says."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("NORMBENCH_TEST_DATA", beside)) / name
    if not folder.is_dir():
        pytest.skip(f"{name}: no such folder beside the checkout or in NORMBENCH_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the real CIFAR-10."""
    root = tmp_path_factory.mktemp("cifar10")
    subprocess.run([sys.executable, given("cifar10") / "restore.py", root], check=True, capture_output=True)
    return root


# ---------------------------------------------------------------------------- digits


def test_digits_are_a_function_of_their_seed_and_options() -> None:
    assert fingerprint(DIGITS) == fingerprint(DIGITS)
    assert fingerprint(DIGITS) == "c39e34c4387009b4", "other digits make other runs: say so in data, e.g. by an option"
    others = [replace(DIGITS, seed=1), replace(DIGITS, contrast=1.0)]
    assert len({fingerprint(data) for data in (DIGITS, *others)}) == 3


def fingerprint(data: Data) -> str:
    """Of all pixels of two epochs and of the test images, rounded beyond what differs between
    mathematical libraries, and all labels.
    """
    images = build(data, seed=3)
    assert isinstance(images, InMemory)
    drawn = [images.train_x, images._images(1), images._images(2), images.test_x]
    rounded = [(x * 1e4).round().int() for x in drawn]
    return hashlib.sha256(b"".join(t.numpy().tobytes() for t in (*rounded, images.train_y, images.test_y))).hexdigest()[
        :16
    ]


def test_every_epoch_draws_the_same_digits_anew() -> None:
    images, again, other = build(DIGITS, seed=0), build(DIGITS, seed=0), build(DIGITS, seed=1)
    first, second = (images._images(epoch) for epoch in (1, 2))
    assert torch.equal(first, again._images(1))  # of whatever was drawn before it
    for unlike in (second, other._images(1), images.train_x, images._images("precise")):
        assert not (first == unlike).flatten(1).all(1).any()
    assert torch.equal(images.train_y, other.train_y)
    # a walk from its middle, and the half of one rank, see the same images
    whole = list(images.epoch(2, 64))
    for step, (x, y) in enumerate(again.epoch(2, 64, first_step=100), start=100):
        assert torch.equal(x, whole[step][0])
        assert torch.equal(y, whole[step][1])
    for (x, _), (mine, _) in zip(whole, again.epoch(2, 64, rank=1, world_size=2), strict=True):
        assert torch.equal(x[1::2], mine)
    # the test images are the same whatever the seed
    assert torch.equal(images.test_x, other.test_x)


def test_without_fresh_the_images_stay() -> None:
    images = build(replace(DIGITS, fresh=False), seed=0)
    assert torch.equal(images._images(1), images._images(2))
    assert torch.equal(images.train_x, build(replace(DIGITS, fresh=False), seed=1).train_x)


def test_train_size_keeps_the_same_digits_of_every_epoch() -> None:
    whole, part = (build(replace(DIGITS, train_size=size)) for size in (None, 200))
    kept = order.first_of(8000, 200)
    assert part._images(1).shape == (200, 1, 12, 12)
    assert torch.equal(part.train_y, whole.train_y[kept])
    assert torch.equal(part.train_x, whole.train_x[kept])


def test_test_size_keeps_some_of_the_test_images_whatever_the_seed() -> None:
    whole, part, other = (build(replace(DIGITS, test_size=n), seed=s) for n, s in ((None, 0), (200, 0), (200, 1)))
    kept = order.first_of(8000, 200)
    assert part.test_images == 200
    assert torch.equal(part.test_x, whole.test_x[kept])
    assert torch.equal(part.test_y, whole.test_y[kept])
    assert torch.equal(part.test_x, other.test_x)
    assert torch.equal(part.train_x, whole.train_x)


def test_the_digits_are_scikit_learns() -> None:
    pixels, labels = digits.scanned()
    found = load_digits()
    np.testing.assert_array_equal(pixels, found.images / found.images.max())
    np.testing.assert_array_equal(labels, found.target)


def test_digits_are_standardised_and_of_all_classes_alike() -> None:
    images = build(DIGITS, dtype=torch.float64)
    x, y = (torch.cat(parts) for parts in zip(*images.epoch(1, 64), strict=True))
    assert x.shape == (8000, 1, 12, 12)
    assert (images.image_shape, images.test_images) == ((1, 12, 12), 8000)
    assert abs(x.mean()) < 0.02  # of other images than those that mean and sd are of
    assert abs(x.std() - 1) < 0.02
    assert torch.bincount(y).min() > 0.9 * 800
    assert torch.bincount(y).max() < 1.1 * 800


def test_no_digit_is_in_training_and_test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    sources: list[set[bytes]] = []
    draw = digits.draw

    def spy(pixels: np.ndarray, *rest: Any) -> np.ndarray:
        sources.append({digit.tobytes() for digit in pixels})
        return draw(pixels, *rest)

    monkeypatch.setattr(digits, "draw", spy)
    images = build(DIGITS)
    assert isinstance(images, InMemory)
    images._images(1)
    assert [len(s) for s in sources] == [1297, 500, 1297]
    assert sources[0] == sources[2]
    assert not sources[0] & sources[1]


@pytest.mark.parametrize("contrast", [1.0, 0.1])
def test_a_digit_image_is_a_digit_and_a_patch_on_a_canvas_with_noise_at_a_gain_and_a_level(contrast: float) -> None:
    found = load_digits()
    shown = np.arange(50) * 7
    images = digits.draw(found.images, shown, contrast, order.rng("test"))
    rng, n = order.rng("test"), len(found.images)
    other = (shown + rng.integers(1, n, 50)) % n
    at, cut, put = (rng.integers(0, room + 1, (2, 50, 1))[..., 0].T for room in (12 - 8, 8 - 4, 12 - 4))
    noise = rng.normal(0, 0.1, (50, 12, 12))
    gain = np.exp(rng.uniform(np.log(contrast), 0, (50, 1, 1)))
    level = rng.uniform(0, 1, (50, 1, 1)) * (1 - gain)
    assert gain.min() >= contrast - 1e-12
    if contrast == 1:
        assert (gain == 1).all()
    else:
        assert np.median(gain) == pytest.approx(contrast**0.5, rel=0.5)  # log-uniform
    assert (level >= 0).all()
    assert (level + gain <= 1 + 1e-12).all()
    for i in range(50):
        canvas = np.zeros((12, 12))
        canvas[at[i, 0] : at[i, 0] + 8, at[i, 1] : at[i, 1] + 8] = found.images[shown[i]]
        patch = found.images[other[i]][cut[i, 0] : cut[i, 0] + 4, cut[i, 1] : cut[i, 1] + 4]
        place = canvas[put[i, 0] : put[i, 0] + 4, put[i, 1] : put[i, 1] + 4]
        np.maximum(place, patch, out=place)
        wanted = level[i] + gain[i] * (canvas + noise[i])
        np.testing.assert_array_equal(images[i, 0], wanted.astype(np.float32))


def test_each_digit_is_shown_equally_often() -> None:
    counts = np.bincount(digits._shown(8000, 1297, order.rng("test")))
    assert (len(counts), counts.min(), counts.max()) == (1297, 6, 7)


# ---------------------------------------------------------------------------- cifar


def test_one_gather_crops_and_flips_as_torchvision_does_image_by_image() -> None:
    draw = torch.arange(augment.CROP_FLIP_DRAWS)
    images = torch.randint(0, 256, (len(draw), 3, 9, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    ours = augment.crop_flip(images, draw)
    for image, out, d in zip(images, ours, draw.tolist(), strict=True):
        theirs = TF.crop(TF.pad(image, [4]), d // 18, d // 2 % 9, 9, 7)
        assert torch.equal(out, TF.horizontal_flip(theirs) if d % 2 else theirs)


def test_cifar10_is_read_as_torchvision_reads_it_and_standardised(cifar10: Path) -> None:
    images = build(Data("cifar10", 10, augment="none", root=str(cifar10)))
    assert isinstance(images, InMemory)
    assert (images.train_images, images.test_images, images.image_shape) == (50000, 10000, (3, 32, 32))
    assert torch.bincount(images.train_y).tolist() == [5000] * 10
    moments = torch.stack([torch.stack([x, x * x]).mean((1, 3, 4)) for x, _ in images.epoch(0, 500)]).mean(0)
    torch.testing.assert_close(moments, torch.tensor([[0.0] * 3, [1.0] * 3]), rtol=0, atol=1e-3)


def test_a_cifar_file_that_fails_its_checksum_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(ConfigError, match="cifar10 cannot be read") as error:
        build(Data("cifar10", 10, augment="crop_flip", root=str(tmp_path)))
    assert "\n" not in str(error.value)


def test_without_a_network_data_download_is_not_advised_to_one_who_gave_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr("torchvision.datasets.CIFAR10", offline)
    with pytest.raises(
        ConfigError, match=r"neither read nor fetched \(.*not known.*\); where there is no network, copy"
    ):
        build(Data("cifar10", 10, root=str(tmp_path), download=True))
    with pytest.raises(ConfigError, match=r"cannot be read .* or add data\.download=true$"):
        build(Data("cifar10", 10, root=str(tmp_path)))


# ---------------------------------------------------------------------------- photos


def test_real_photos() -> None:
    root = given("imagenet-mini")
    images = build(Data("imagenet", 1000, augment="inception_color", root=str(root), image_size=64, eval_resize=72))
    x, y = next(images.epoch(0, 16))
    assert images.num_classes == 18
    assert x.shape == (16, 3, 64, 64)
    assert x.isfinite().all()
    assert int(y.max()) < 18


# ---------------------------------------------------------------------------- options


@pytest.mark.parametrize("name", facts.names())
def test_each_yaml_fits_the_schema_and_opens_with_its_command(name: str) -> None:
    path = paths.conf() / "data" / f"{name}.yaml"
    yaml = OmegaConf.masked_copy(loaded := OmegaConf.load(path), [key for key in loaded if key != "defaults"])
    if name == "torchvision":  # which of them, the user says
        yaml.name = "SVHN"
    data = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Data), yaml))
    assert isinstance(data, Data)
    assert (data.source or data.name) == name
    assert path.read_text().startswith(f"# normbench data={name}")
    check_options(data)


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (replace(DIGITS, augment="crop_flip"), "data.augment=crop_flip .* use data.augment=none"),
        (replace(DIGITS, root="x"), "data.root=x does not apply to data=digits"),
        (replace(DIGITS, image_size=32), "data.image_size=32"),
        (replace(DIGITS, num_classes=9), "data.num_classes=9: digits has 10"),
        (replace(CIFAR, augment="inception"), "use data.augment=none or crop_flip"),
        (replace(CIFAR, seed=1), "data.seed=1"),
        (replace(CIFAR, loader_processes=8), "data.loader_processes=8"),
        (replace(CIFAR, root=None, download=True), "set data.root"),
        (replace(PHOTOS, augment="crop_flip", root="x"), "use data.augment=none or inception or inception_color"),
        (replace(PHOTOS, download=True, root="x"), "data.download=True"),
        (replace(PHOTOS, image_size=None, root="x"), "data.image_size"),
        (replace(PHOTOS, eval_resize=20, root="x"), "data.eval_resize"),
        (replace(PHOTOS, root=None), "set data.root"),
    ],
)
def test_an_option_that_does_not_apply_is_an_error_that_names_it(data: Data, names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        build(data)
