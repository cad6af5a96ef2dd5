"""The embedded data set: real handwritten digits, made hard enough to tell norms apart.

An image is a 12x12 canvas with an 8x8 digit at a random offset, a 4x4 patch of another digit as
clutter, and noise; then, as in photographs, contrast and brightness of its own:

    gain = exp(uniform(log contrast, 0))     level = uniform(0, 1 - gain)
    pixel = level + gain * (canvas + noise)

Without these two the images are all alike, and the statistics of two of them as good as those of
32. Training and test images are made of different digits. Every epoch draws its training images
anew from the same digits; the test images stay.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from normbench.config import Data
from normbench.data import order
from normbench.data.images import Arrays, InMemory

CLASSES = 10
TRAIN_DIGITS = 1297  # of the 1,797 of scikit-learn; the other 500 make the test images
TRAIN_IMAGES, TEST_IMAGES = 8000, 8000
CANVAS, DIGIT, PATCH = 12, 8, 4
NOISE_SD = 0.1  # on the 0..1 scale of the canvas


class Digits(InMemory):
    """The digits as training sees them."""

    sources: np.ndarray  # which of the training digits each training image shows
    pixels: np.ndarray  # of the training digits, (digits, 8, 8)
    drawn_by: tuple[int, int] | None  # data.seed and seed of data.fresh; None: the images stay
    contrast: float

    def _images(self, epoch: order.Epoch) -> Tensor:
        if self.drawn_by is None:
            return self.train_x
        drawn = draw(self.pixels, self.sources, self.contrast, order.rng(*self.drawn_by, epoch, "digits train"))
        return torch.from_numpy(drawn).to(self.device)


def load(data: Data, *, seed: int, device: torch.device, dtype: torch.dtype) -> Digits:
    """The data set; its pixels are a function of data.seed, seed and epoch, and of the options.

    Without data.fresh they are one of data.seed alone, and `seed` orders them.
    """
    assert data.contrast is not None
    digits, labels = scanned()
    # no seed: the same digits test every run
    chosen = order.permutation(len(digits), "digits", "split")
    train, test = chosen[:TRAIN_DIGITS], chosen[TRAIN_DIGITS:]
    shown = _shown(TRAIN_IMAGES, len(train), order.rng(data.seed, "digits train"))
    images = draw(digits[train], shown, data.contrast, order.rng(data.seed, "digits train pixels"))
    # Rounded, so that the order in which a machine sums leaves no trace in the images.
    mean, sd = round(float(images.mean()), 6), round(float(images.std()), 6)
    kept = order.first_of(TRAIN_IMAGES, data.train_size)
    tested = _shown(TEST_IMAGES, len(test), order.rng(data.seed, "digits test"))
    test_images = draw(digits[test], tested, data.contrast, order.rng(data.seed, "digits test pixels"))
    made = Digits(
        Arrays(images[kept], labels[train][shown[kept]]),
        Arrays(test_images, labels[test][tested]).first_of(data.test_size),
        mean=[mean],
        sd=[sd],
        num_classes=CLASSES,
        augment=data.augment,
        seed=seed,
        device=device,
        dtype=dtype,
    )
    made.pixels, made.sources, made.contrast = digits[train], shown[kept], data.contrast
    made.drawn_by = (data.seed, seed) if data.fresh else None
    return made


def scanned() -> tuple[np.ndarray, np.ndarray]:
    """The 1,797 digits of scikit-learn, (1797, 8, 8) of 0..1, and their labels.

    Read from its file: importing it for load_digits, and scipy and pandas with it, would take
    longer than all else that a short run does before its first step.
    """
    package = find_spec("sklearn")
    assert package and package.origin
    table = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    pixels = table[:, :-1].reshape(-1, DIGIT, DIGIT)
    return pixels / pixels.max(), table[:, -1].astype(np.int64)


def draw(digits: np.ndarray, shown: np.ndarray, contrast: float, rng: np.random.Generator) -> np.ndarray:
    """An image of each of those digits, (count, 1, 12, 12) float32.

    digits: (digits, 8, 8) of 0..1. shown: (count,) which digit each image shows. contrast: the
    least gain, in (0, 1]; 1: all images alike.
    """
    count = len(shown)
    other = (shown + rng.integers(1, len(digits), count)) % len(digits)
    canvas = np.zeros((count, CANVAS, CANVAS))
    canvas[_windows(rng, count, DIGIT, CANVAS)] = digits[shown]
    patch = digits[other][_windows(rng, count, PATCH, DIGIT)]
    place = _windows(rng, count, PATCH, CANVAS)
    canvas[place] = np.maximum(canvas[place], patch)
    canvas += rng.normal(0, NOISE_SD, canvas.shape)
    gain = np.exp(rng.uniform(np.log(contrast), 0, (count, 1, 1)))
    level = rng.uniform(0, 1, (count, 1, 1)) * (1 - gain)
    return (level + gain * canvas)[:, None].astype(np.float32)


def _shown(count: int, digits: int, rng: np.random.Generator) -> np.ndarray:
    """Which of the digits each of `count` images shows: each equally often, in random order."""
    return rng.permutation(np.arange(count) % digits)


def _windows(rng: np.random.Generator, count: int, side: int, inside: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The index of a square of `side` at a random place in each of `count` squares of `inside`."""
    top, left = rng.integers(0, inside - side + 1, (2, count, 1))
    along = np.arange(side)
    return np.arange(count)[:, None, None], (top + along)[:, :, None], (left + along)[:, None, :]
