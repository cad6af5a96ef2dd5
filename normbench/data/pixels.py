"""Mean and standard deviation of uint8 images, for data sets whose facts do not state them."""

from collections.abc import Iterable

import numpy as np

from normbench.config import ConfigError

DIGITS = 4  # to which they are rounded


def mean_and_sd(parts: Iterable[np.ndarray]) -> tuple[list[float], list[float]]:
    """Per channel, on the 0..1 scale, over all pixels; rounded to 4 digits.

    parts: (n, C, H, W) uint8, one part of the images after the other. Counted exactly, in whole
    numbers, so that neither the order nor the machine leaves a trace. Raises ConfigError where a
    channel has one value only, by which nothing can be divided.
    """
    counts: np.ndarray | int = 0  # (C, 256): how many pixels of each value
    for part in parts:
        counts = counts + np.stack([np.bincount(channel.ravel(), minlength=256) for channel in part.swapaxes(0, 1)])
    assert isinstance(counts, np.ndarray)
    found = []
    for own in counts.tolist():
        n, total, squares = (sum(k * v**power for v, k in enumerate(own)) for power in (0, 1, 2))
        found.append((total / n / 255, (n * squares - total**2) ** 0.5 / n / 255))
    mean, sd = ([round(value, DIGITS) for value in values] for values in zip(*found, strict=True))
    if not all(sd):
        raise ConfigError(f"the training images have channels of one value only (mean {mean}, sd {sd}); check them")
    return mean, sd
