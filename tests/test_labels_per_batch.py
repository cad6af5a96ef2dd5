"""data.labels_per_batch: each worker's batch has k labels, equally often each, whoever plays the
worker.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from normbench import data as datasets
from normbench.compose import run_of
from normbench.config import ConfigError
from normbench.data import Images, order
from normbench.runs import science

CPU = torch.device("cpu")
UNEVEN = np.repeat(np.arange(8), [30, 31, 47, 52, 40, 40, 60, 20])  # 320 images of 8 labels


def order_of(labels: np.ndarray, sgd_batch: int, batch: int, k: int, epoch: int = 1) -> np.ndarray:
    return order.by_labels(labels, sgd_batch, batch, k, 0, epoch, "order by labels")


def by_worker(chosen: np.ndarray, sgd_batch: int, batch: int) -> np.ndarray:
    """(steps, workers, batch): worker v has positions v, v + W, ... of each step."""
    return chosen.reshape(-1, batch, sgd_batch // batch).transpose(0, 2, 1)


@pytest.mark.parametrize(("batch", "k"), [(32, 8), (16, 4), (16, 8), (8, 2), (8, 1), (4, 4), (2, 1), (1, 1)])
def test_every_workers_batch_has_k_labels_and_as_many_images_of_each(batch: int, k: int) -> None:
    chosen = order_of(UNEVEN, 32, batch, k)
    assert len(chosen) == len(UNEVEN) // 32 * 32
    for images in by_worker(chosen, 32, batch).reshape(-1, batch):
        labels, counts = np.unique(UNEVEN[images], return_counts=True)
        assert (len(labels), set(counts)) == (k, {batch // k})
        assert len(set(images)) == batch


def test_no_image_comes_twice_where_the_labels_suffice() -> None:
    even = np.tile(np.arange(10), 80)
    for batch, k in [(32, 2), (32, 8), (4, 2), (2, 2)]:
        chosen = order_of(even, 32, batch, k)
        assert len(chosen) == len(set(chosen)) == 800


def test_only_labels_that_are_too_rare_come_again() -> None:
    """All 8 labels in every batch: each is asked for 40 times, and some have fewer images."""
    times = np.bincount(order_of(UNEVEN, 8, 8, 8), minlength=len(UNEVEN))
    for label in range(8):
        own = times[label == UNEVEN]
        assert own.sum() == 40
        assert own.max() - own.min() <= 1


def test_labels_are_drawn_at_random_and_alike() -> None:
    labels = np.tile(np.arange(10), 320)
    batches = np.sort(np.unique(labels[by_worker(order_of(labels, 16, 4, 2), 16, 4)].reshape(-1, 4), axis=1), axis=1)
    pairs = np.array([np.unique(b) for b in batches])
    together = np.zeros((10, 10))
    np.add.at(together, (pairs[:, 0], pairs[:, 1]), 1)
    expected = len(pairs) / 45
    upper = together[np.triu_indices(10, 1)]
    # chi square of 44 degrees of freedom: once in a thousand
    assert ((upper - expected) ** 2 / expected).sum() < 80
    thirds = [pairs[i : i + 266].ravel() for i in (0, 266, 532)]  # and not the rare ones last
    assert all(abs(np.bincount(a) - np.bincount(b)).max() < 40 for a, b in pairwise(thirds))


def test_an_epochs_order_is_a_function_of_seed_and_epoch() -> None:
    first, again, other = (order_of(UNEVEN, 32, 8, 2, epoch) for epoch in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_order_does_not_change_between_platforms_and_versions() -> None:
    """A change here makes new runs unlike old ones: raise config.FORMAT with it."""
    assert order_of(np.arange(24) // 4, 8, 4, 2)[:8].tolist() == [9, 3, 10, 2, 21, 15, 23, 14]


def digits(k: int, batch: int = 8) -> Images:
    run = run_of([f"data.labels_per_batch={k}", f"batch={batch}", "data.train_size=512"])
    return datasets.build(run.data, seed=0, batch=run.batch, device=CPU, dtype=torch.float32)


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_the_same_images_are_on_the_same_worker_for_every_number_of_ranks(world_size: int) -> None:
    workers, local = 4, 4 // world_size
    whole = [y for _, y in digits(4).epoch(1, 32)]
    for rank in range(world_size):
        for step, (_, y) in enumerate(digits(4).epoch(1, 32, rank, world_size)):
            for j in range(local):
                own = y[j::local]
                assert torch.equal(own, whole[step][rank + j * world_size :: workers])
                assert sorted(np.unique(own, return_counts=True)[1].tolist()) == [2, 2, 2, 2]
    assert len(whole) == 16


def test_precise_statistics_are_taken_over_such_batches_too() -> None:
    for _, y in digits(2).precise(64, 32):
        assert all(len(y[worker::4].unique()) == 2 for worker in range(4))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.labels_per_batch=3"], r"must divide batch=32, as many images of each; one of 1, 2, 4, 8$"),
        (["data.labels_per_batch=16"], "more than the 10 classes of digits"),
        (["data.labels_per_batch=0"], "at least 1, got 0"),
    ],
)
def test_a_number_of_labels_that_cannot_be_had_is_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run_of(overrides)


def test_too_few_images_of_a_label_are_refused_when_they_are_known() -> None:
    run = run_of(["data.labels_per_batch=8", "batch=32", "data.train_size=32", "sgd_batch=32"])
    with pytest.raises(ConfigError, match="labels of digits have the 4 training images"):
        datasets.build(run.data, seed=0, batch=32, device=CPU, dtype=torch.float32)


def test_a_batch_free_norm_then_has_a_batch_in_its_identity() -> None:
    on, off = (run_of(["norm=gn", "batch=4", *more]) for more in (["data.labels_per_batch=2"], []))
    assert (on.batch_free, off.batch_free) == (False, True)
    assert science(on)["batch"] == 4
    assert science(replace(on, data=off.data)) == science(off)
