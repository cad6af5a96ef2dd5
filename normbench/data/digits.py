"""The embedded data set: real handwritten digits, made hard enough to tell norms apart.

An image is a 12x12 canvas with an 8x8 digit at a random offset, a 4x4 patch of another digit as
clutter, and noise. Training and test images are made of different digits.
"""

import numpy as np
import torch

from normbench.config import Data
from normbench.data import order
from normbench.data.images import Arrays, InMemory

CLASSES = 10
TRAIN_DIGITS = 1297  # of the 1,797 of scikit-learn; the other 500 make the test images
TRAIN_IMAGES, TEST_IMAGES = 8000, 2000
CANVAS, DIGIT, PATCH = 12, 8, 4
NOISE_SD = 0.1  # on the 0..1 scale of the pixels


def load(data: Data, *, seed: int, device: torch.device, dtype: torch.dtype) -> InMemory:
    """The data set; its pixels are a function of data.seed alone, `seed` orders them."""
    from sklearn.datasets import load_digits  # 0.8 s to import

    found = load_digits()
    digits, labels = found.images / found.images.max(), found.target.astype(np.int64)
    # no seed: the same digits test every run
    chosen = order.permutation(len(digits), "digits", "split")
    train, test = chosen[:TRAIN_DIGITS], chosen[TRAIN_DIGITS:]
    train_images, train_labels = _draw(digits[train], labels[train], TRAIN_IMAGES, order.rng(data.seed, "digits train"))
    # Rounded, so that the order in which a machine sums leaves no trace in the images.
    mean, sd = round(float(train_images.mean()), 6), round(float(train_images.std()), 6)
    kept = order.first_of(TRAIN_IMAGES, data.train_size)
    return InMemory(
        Arrays(train_images[kept], train_labels[kept]),
        Arrays(*_draw(digits[test], labels[test], TEST_IMAGES, order.rng(data.seed, "digits test"))),
        mean=[mean],
        sd=[sd],
        num_classes=CLASSES,
        augment=data.augment,
        seed=seed,
        device=device,
        dtype=dtype,
    )


def _draw(
    digits: np.ndarray, labels: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """`count` images (count, 1, 12, 12) of those digits, each equally often, and their labels."""
    sources = len(digits)
    which = rng.permutation(np.arange(count) % sources)
    other = (which + rng.integers(1, sources, count)) % sources
    canvas = np.zeros((count, CANVAS, CANVAS))
    canvas[_windows(rng, count, DIGIT, CANVAS)] = digits[which]
    patch = digits[other][_windows(rng, count, PATCH, DIGIT)]
    place = _windows(rng, count, PATCH, CANVAS)
    canvas[place] = np.maximum(canvas[place], patch)
    noisy = canvas + rng.normal(0, NOISE_SD, canvas.shape)
    return noisy[:, None].astype(np.float32), labels[which]


def _windows(rng: np.random.Generator, count: int, side: int, inside: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The index of a square of `side` at a random place in each of `count` squares of `inside`."""
    top, left = rng.integers(0, inside - side + 1, (2, count, 1))
    along = np.arange(side)
    return np.arange(count)[:, None, None], (top + along)[:, :, None], (left + along)[:, None, :]
