"""Who sees what when.

An epoch's order is one permutation of the training images. Step t takes its positions t*S up to (t+1)*S, S images being
the SGD batch, and worker v of W takes every W-th of them, v, v+W, v+2W, ...: DistributedSampler's assignment. A rank r
of R takes every R-th and plays W/R workers: image j of its share belongs to its local worker j mod (W/R), which is the
same worker v.

All of it, and every random number that an image's augmentation draws, is a function of (seed, epoch, position). Nothing
depends on how many processes train, load or evaluate, and a walk can start at any step without walking there.
"""

import hashlib

import numpy as np

Epoch = int | str  # a training epoch by number, or a walk of its own by name ("precise")


def key(*words: int | str) -> int:
    """A 64-bit number made of the words. Hashed, so that no two purposes, epochs or seeds share a random stream."""
    text = "\0".join(map(repr, words))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def rng(*words: int | str) -> np.random.Generator:
    """The random stream of that name, the same on every platform."""
    return np.random.Generator(np.random.Philox(key=key(*words)))


def permutation(count: int, *words: int | str) -> np.ndarray:
    """The order of that name over 0 .. count-1, int64."""
    return rng(*words).permutation(count)


def first_of(count: int, size: int | None) -> np.ndarray:
    """Which images `train_size` keeps: the first so many of a permutation that no seed changes, in their own order."""
    return np.arange(count) if size is None else np.sort(permutation(count, "train_size")[:size])


def shares(steps: range, sgd_batch: int, rank: int, world_size: int) -> list[range]:
    """This rank's positions in each of the steps."""
    assert sgd_batch % world_size == 0, (sgd_batch, world_size)
    assert 0 <= rank < world_size, (rank, world_size)
    return [range(t * sgd_batch + rank, (t + 1) * sgd_batch, world_size) for t in steps]


def worker_of(position: int, workers: int) -> int:
    """The worker that the image at a position of the epoch's order belongs to, whichever rank plays it."""
    return position % workers
