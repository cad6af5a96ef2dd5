"""Shares, epochs, randomness: functions of (seed, epoch, position) and of nothing else, in memory
and from a folder.
"""

import pickle
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from normbench import data as datasets
from normbench import facts
from normbench.config import ConfigError, Data
from normbench.data import Arrays, Batch, Images, InMemory, augment, order

CPU = torch.device("cpu")
PHOTOS = Data("imagenet", 1000, augment="inception_color", image_size=24, eval_resize=28, loader_processes=0)
SIZES = {"a": 9, "b": 6, "c": 8}  # images a class in the folder of small photos


def build(data: Data, seed: int = 0, dtype: torch.dtype = torch.float32) -> Images:
    return datasets.build(data, seed=seed, device=CPU, dtype=dtype)


def same(some: Iterable[Batch], others: Iterable[Batch]) -> bool:
    """Bitwise, and as many of them."""
    pairs = list(zip(some, others, strict=True))
    return bool(pairs) and all(torch.equal(a, b) for one, other in pairs for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small folder in ImageNet's layout, of images of many sizes."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for split, names in (("train", SIZES), ("val", dict.fromkeys(SIZES, 3))):
        for name, count in names.items():
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (*rng.integers(30, 60, 2), 3), np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.jpg")
    return root


def in_memory(seed: int = 0, dtype: torch.dtype = torch.float32, test_images: int = 11) -> InMemory:
    """A data set like CIFAR; the label of an image is its number."""
    rng = np.random.default_rng(1)
    arrays = [Arrays(rng.integers(0, 256, (n, 3, 8, 8), np.uint8), np.arange(n)) for n in (70, test_images)]
    facts: dict[str, Any] = {"mean": [120.0, 110.0, 100.0], "sd": [60.0, 61.0, 62.0], "num_classes": 70}
    return InMemory(*arrays, **facts, augment="crop_flip", seed=seed, device=CPU, dtype=dtype)


# ---------------------------------------------------------------------------- what every data set keeps


@pytest.fixture(params=["in memory", "folder"])
def images(request: pytest.FixtureRequest, photos: Path) -> Images:
    return in_memory() if request.param == "in memory" else build(replace(PHOTOS, root=str(photos)))


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_together_train_on_what_one_process_trains_on(images: Images, world_size: int) -> None:
    by_rank = [images.epoch(3, 8, rank, world_size) for rank in range(world_size)]
    whole = list(images.epoch(3, 8))
    shares = [list(share) for share in by_rank]
    assert len(whole) == images.train_images // 8
    for step, (x, y) in enumerate(whole):
        for rank, share in enumerate(shares):
            assert torch.equal(share[step][0], x[rank::world_size])
            assert torch.equal(share[step][1], y[rank::world_size])


def test_a_walk_from_a_later_step_is_the_rest_of_the_whole_walk(images: Images) -> None:
    assert same(list(images.epoch(1, 8))[1:], images.epoch(1, 8, first_step=1))


def test_an_epoch_has_each_image_at_most_once_and_epochs_differ() -> None:
    images = in_memory()
    first, second = (torch.cat([y for _, y in images.epoch(epoch, 16)]) for epoch in (0, 1))
    assert len(first) == len(set(first.tolist())) == 64
    assert not torch.equal(first, second)


def test_seeds_differ_and_the_same_seed_gives_the_same_epoch(images: Images) -> None:
    again = in_memory() if isinstance(images, InMemory) else images
    assert same(list(images.epoch(0, 8)), list(again.epoch(0, 8)))
    assert not same(in_memory(seed=0).epoch(0, 8), in_memory(seed=1).epoch(0, 8))


def test_the_sample_for_precise_statistics_is_whole_sgd_batches_and_always_the_same(images: Images) -> None:
    sample = list(images.precise(9, 8))
    assert [len(y) for _, y in sample] == [8, 8]
    assert same(sample, list(images.precise(9, 8)))
    assert len(list(images.precise(10**6, 8))) == images.train_images // 8
    halves = [list(images.precise(9, 8, rank, 2)) for rank in (0, 1)]
    assert torch.equal(halves[1][0][0], sample[0][0][1::2])


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("batch", [4, 500])
def test_evaluation_counts_every_image_exactly_once(world_size: int, batch: int) -> None:
    images = in_memory(test_images=11)
    chunks = [y for rank in range(world_size) for _, y in images.evaluation(rank, world_size, batch)]
    assert sorted(torch.cat(chunks).tolist()) == list(range(11))
    assert max(len(y) for y in chunks) <= batch


def test_a_rank_without_test_images_has_no_chunk() -> None:
    assert list(in_memory(test_images=2).evaluation(rank=2, world_size=3)) == []


def test_evaluation_is_shuffled_so_that_a_chunk_is_not_one_class(photos: Path) -> None:
    labels = [y for _, y in build(replace(PHOTOS, root=str(photos))).evaluation(batch=3)]
    assert sorted(torch.cat(labels).tolist()) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert all(len(set(y.tolist())) > 1 for y in labels)


def test_no_data_set_touches_the_global_random_streams(images: Images) -> None:
    before = torch.get_rng_state(), pickle.dumps(np.random.get_state())
    list(images.epoch(0, 8)), list(images.precise(8, 8)), list(images.evaluation())
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == pickle.dumps(np.random.get_state())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_images_come_in_the_dtype_asked_for_and_labels_as_class_numbers(dtype: torch.dtype) -> None:
    x, y = next(in_memory(dtype=dtype).epoch(0, 8))
    reference, _ = next(in_memory(dtype=torch.float32).epoch(0, 8))
    assert x.dtype == dtype
    assert y.dtype == torch.int64
    torch.testing.assert_close(x.float(), reference.to(dtype).float(), rtol=1e-6, atol=1e-6)


# ---------------------------------------------------------------------------- folder


def test_loader_processes_change_no_bit_in_any_walk(photos: Path) -> None:
    none, two = (build(replace(PHOTOS, root=str(photos), loader_processes=p)) for p in (0, 2))
    for walk in (
        lambda i: list(i.epoch(0, 4)),
        # the same processes, another walk
        lambda i: list(i.epoch(1, 4, rank=1, world_size=2, first_step=2)),
        lambda i: list(i.precise(8, 4)),
        lambda i: list(i.evaluation(batch=2)),
    ):
        assert same(walk(none), walk(two))


def test_a_walk_left_in_the_middle_does_not_leak_into_the_next(photos: Path) -> None:
    images = build(replace(PHOTOS, root=str(photos), loader_processes=1))
    left = images.epoch(0, 4)
    next(left)
    assert same(list(images.epoch(1, 4)), list(build(replace(PHOTOS, root=str(photos))).epoch(1, 4)))
    with pytest.raises(AssertionError, match="second walk"):
        next(left)


@pytest.mark.parametrize("kind", ["none", "inception", "inception_color"])
def test_augmentation_is_drawn_anew_each_epoch_unless_there_is_none(photos: Path, kind: str) -> None:
    images = build(replace(PHOTOS, root=str(photos), augment=kind, train_size=4))
    by_epoch = [next(images.epoch(epoch, 4)) for epoch in range(2)]
    first, second = (x.sum((1, 2, 3)).sort().values for x, _ in by_epoch)
    assert torch.allclose(first, second) == (kind == "none")


def test_a_test_image_is_the_centre_of_the_resized_photo(photos: Path) -> None:
    images = build(replace(PHOTOS, root=str(photos)))
    x, y = next(images.evaluation(batch=9))
    for number, (ours, label) in enumerate(zip(x, y, strict=True)):
        at = int(order.permutation(9, "evaluation")[number])
        photo = Image.open(photos / "val" / "abc"[at // 3] / f"{at % 3}.jpg")
        width, height = (28 * side // min(photo.size) for side in photo.size)
        left, top = round((width - 24) / 2), round((height - 24) / 2)
        resized = photo.resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(resized.crop((left, top, left + 24, top + 24))) / 255
        literal = (pixels - facts.of("imagenet").mean) / facts.of("imagenet").sd
        np.testing.assert_allclose(ours.permute(1, 2, 0), literal, atol=1e-5)
        assert label == at // 3


def test_lighting_has_the_covariance_of_its_constants() -> None:
    vectors, values = augment._EIGENVECTORS.double(), augment._EIGENVALUES.double()
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(3).double(), rtol=0, atol=1e-3)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        colours = (
            torch.stack([augment.lighting(torch.full((3, 1, 1), 0.5)) for _ in range(4000)]).view(-1, 3).double() - 0.5
        )
    expected = vectors @ torch.diag((0.1 * values) ** 2) @ vectors.T
    torch.testing.assert_close(colours.T.cov(), expected, rtol=0.1, atol=1e-6)


@pytest.mark.parametrize("loader_processes", [0, 1])
@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
def test_a_corrupt_image_is_an_error_of_one_line_that_names_the_file(
    photos: Path, tmp_path: Path, loader_processes: int, damage: str
) -> None:
    shutil.copytree(photos, tmp_path, dirs_exist_ok=True)
    bad = tmp_path / "train" / "b" / "3.jpg"
    content = bad.read_bytes()
    bad.write_bytes({"truncated": content[: len(content) // 2], "garbage": b"\0" * 99, "empty": b""}[damage])
    images = build(replace(PHOTOS, root=str(tmp_path), loader_processes=loader_processes))
    assert (complaint := complaint_of(images)).startswith(f"{bad}: ")
    assert "\n" not in complaint


def complaint_of(images: Images) -> str:
    """Not by pytest.raises, which keeps the loader processes in a cycle of references: they would
    take 5 s to leave.
    """
    try:
        list(images.epoch(0, 23))
    except ConfigError as error:
        return str(error)
    return "none"


def test_the_folder_decides_the_classes_and_its_two_halves_must_agree(photos: Path, tmp_path: Path) -> None:
    assert build(replace(PHOTOS, root=str(photos))).num_classes == 3
    shutil.copytree(photos, tmp_path, dirs_exist_ok=True)
    (tmp_path / "val" / "c").rename(tmp_path / "val" / "d")
    with pytest.raises(ConfigError, match="only one of the two has c, d"):
        build(replace(PHOTOS, root=str(tmp_path)))
    (tmp_path / "train" / "e").mkdir()
    with pytest.raises(ConfigError, match="Found no valid file for the classes e"):
        build(replace(PHOTOS, root=str(tmp_path)))


def test_more_images_than_the_folder_holds_are_an_error(photos: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.train_size=24 is more than the 23 images"):
        build(replace(PHOTOS, root=str(photos), train_size=24))
    held = build(replace(PHOTOS, root=str(photos))).test_images
    assert build(replace(PHOTOS, root=str(photos), test_size=held - 1)).test_images == held - 1
    with pytest.raises(ConfigError, match=rf"data\.test_size={held + 1} is more than the {held} images of .*val$"):
        build(replace(PHOTOS, root=str(photos), test_size=held + 1))
