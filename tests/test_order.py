"""Who sees what when: the same for every number of processes."""

import numpy as np
import pytest
import torch
from torch.utils.data import DistributedSampler, TensorDataset

from normbench.data import order

SGD_BATCH, WORKERS = 24, 4


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_a_ranks_image_j_is_of_its_local_worker_j_mod_w_which_is_the_worker_of_the_position(world_size: int) -> None:
    local_workers = WORKERS // world_size
    for rank in range(world_size):
        for share in order.shares(range(3), SGD_BATCH, rank, world_size):
            for j, position in enumerate(share):
                assert order.worker_of(position, WORKERS) == rank + (j % local_workers) * world_size


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_the_ranks_shares_of_a_step_are_that_step(world_size: int) -> None:
    by_rank = [order.shares(range(2, 5), SGD_BATCH, rank, world_size) for rank in range(world_size)]
    for step, shares in zip(range(2, 5), zip(*by_rank, strict=True), strict=True):
        positions = sorted(p for share in shares for p in share)
        assert positions == list(range(step * SGD_BATCH, (step + 1) * SGD_BATCH))


def test_the_assignment_is_that_of_distributed_sampler() -> None:
    for rank in range(WORKERS):
        sampler: DistributedSampler[object] = DistributedSampler(
            TensorDataset(torch.arange(5 * SGD_BATCH)), WORKERS, rank, shuffle=False
        )
        ours = [p for share in order.shares(range(5), SGD_BATCH, rank, WORKERS) for p in share]
        assert ours == list(sampler)


def test_an_order_is_a_permutation_of_its_name_alone() -> None:
    epochs = [order.permutation(1000, 0, epoch, "order") for epoch in (0, 1, 0, "precise")]
    assert all(np.array_equal(np.sort(p), np.arange(1000)) for p in epochs)
    assert np.array_equal(epochs[0], epochs[2])
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[0], epochs[3])
    assert not np.array_equal(epochs[0], order.permutation(1000, 1, 0, "order"))


def test_orders_do_not_change_between_platforms_and_versions() -> None:
    """A change here makes new runs unlike old ones: raise config.FORMAT with it."""
    assert order.key(0, 0, "order") == 1633818918947701945
    assert order.permutation(10, 0, 0, "order").tolist() == [0, 2, 1, 9, 6, 3, 7, 8, 5, 4]


def test_a_number_and_its_text_and_other_cuts_of_the_words_are_different_names() -> None:
    names: list[tuple[int | str, ...]] = [(1, 12), (11, 2), ("1", 12), ("1, 12",), (112,), (12, 1), ("",), ()]
    assert len({order.key(*name) for name in names}) == len(names)


def test_train_size_keeps_the_first_of_one_fixed_permutation_in_their_own_order() -> None:
    small, large = order.first_of(100, 10), order.first_of(100, 40)
    assert set(small) < set(large)
    assert len(small) == 10
    assert len(large) == 40
    assert np.array_equal(large, np.sort(large))
    assert np.array_equal(order.first_of(100, 100), order.first_of(100, None))
