"""Who sees what when.

An epoch's order is one permutation of the training images. Step t takes its positions t*S up to
(t+1)*S, S images being the SGD batch, and worker v of W takes every W-th of them, v, v+W, v+2W,
...: DistributedSampler's assignment. A rank r of R takes every R-th and plays W/R workers: image j
of its share belongs to its local worker j mod (W/R), which is the same worker v.

With data.labels_per_batch the order is another one, in which a worker's images of a step have few
labels (by_labels).

All of it, and every random number that an image's augmentation draws, is a function of (seed,
epoch, position). Nothing depends on how many processes train, load or evaluate, and a walk can
start at any step without walking there.
"""

import hashlib

import numpy as np

Epoch = int | str  # a training epoch by number, or a walk of its own by name ("precise")


def key(*words: int | str) -> int:
    """A 64-bit number made of the words.

    Hashed, so that no two purposes, epochs or seeds share a random stream.
    """
    text = "\0".join(map(repr, words))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def rng(*words: int | str) -> np.random.Generator:
    """The random stream of that name, the same on every platform."""
    return np.random.Generator(np.random.Philox(key=key(*words)))


def permutation(count: int, *words: int | str) -> np.ndarray:
    """The order of that name over 0 .. count-1, int64."""
    return rng(*words).permutation(count)


def by_labels(labels: np.ndarray, sgd_batch: int, batch: int, per_batch: int, *words: int | str) -> np.ndarray:
    """The order of that name in which a worker's batch has `per_batch` labels, equally often each.

    Batch Renorm's batches that are not i.i.d. (Ioffe 2017, Fig. 3: 16 random labels x 2 images).
    Each label's images are shuffled and dealt out in blocks of batch / per_batch; a worker's batch
    is blocks of different labels, drawn at random in proportion to the blocks that each label has
    left. No image comes twice in an epoch, but where the labels are so uneven that whole SGD
    batches cannot be filled otherwise, a label begins again. Left out of the epoch, other ones each
    time: what does not fill a block, the blocks of a label beyond one a batch, and what does not
    fill an SGD batch. Labels with fewer images than a block are left out for good. Returns whole
    SGD batches: as many image numbers as the steps of an epoch need.
    """
    draw, each = rng(*words), batch // per_batch
    steps = len(labels) // sgd_batch
    batches = steps * (sgd_batch // batch)
    ends = np.cumsum(np.unique(labels, return_counts=True)[1])[:-1]
    # by label
    images = [own for own in np.split(np.argsort(labels, kind="stable"), ends) if len(own) >= each]
    assert len(images) >= per_batch, (len(images), per_batch)
    there = np.array([len(own) // each for own in images])  # blocks of each label
    wanted = np.minimum(there, batches)
    if (surplus := int(wanted.sum()) - batches * per_batch) >= 0:
        wanted -= draw.multivariate_hypergeometric(wanted, surplus)
    else:
        wanted += draw.multivariate_hypergeometric(batches - wanted, -surplus)
    blocks = []  # of each label, as many as wanted
    for own, has, wants in zip(images, there, wanted, strict=True):
        walks = [draw.permutation(own)[: has * each] for _ in range(-(-wants // has))]
        blocks.append(np.concatenate([own[:0], *walks]).reshape(-1, each)[:wants])
    left, rows = wanted.copy(), np.empty((batches, per_batch, each), np.int64)
    for to_come in range(batches, 0, -1):
        keys = np.where(left > 0, draw.exponential(size=len(left)) / np.maximum(left, 1), np.inf)
        keys[left == to_come] = -1.0  # else it could not be spent: one block of a label a batch
        for place, label in enumerate(np.argpartition(keys, per_batch - 1)[:per_batch]):
            left[label] -= 1
            rows[to_come - 1, place] = blocks[label][left[label]]
    shuffled = rows[draw.permutation(batches)].reshape(steps, -1, batch)  # step, worker, image
    return shuffled.transpose(0, 2, 1).reshape(-1)


def first_of(count: int, size: int | None) -> np.ndarray:
    """Which images a data.train_size or data.test_size keeps: the first of a permutation, sorted.

    No seed changes them.
    """
    return np.arange(count) if size is None else np.sort(permutation(count, "train_size")[:size])


def shares(steps: range, sgd_batch: int, rank: int, world_size: int) -> list[range]:
    """This rank's positions in each of the steps."""
    assert sgd_batch % world_size == 0, (sgd_batch, world_size)
    assert 0 <= rank < world_size, (rank, world_size)
    return [range(t * sgd_batch + rank, (t + 1) * sgd_batch, world_size) for t in steps]


def worker_of(position: int, workers: int) -> int:
    """The worker that plays the image at a position of the epoch's order, on whichever rank."""
    return position % workers
