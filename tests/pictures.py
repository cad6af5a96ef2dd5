"""A folder of little images, for tests of class folders."""

from pathlib import Path

import numpy as np
from PIL import Image


def photos(root: Path, seed: int = 0, each: int = 3) -> Path:
    rng = np.random.default_rng(seed)
    for split in ("train", "val"):
        for name in ("a", "b"):
            (root / split / name).mkdir(parents=True)
            for i in range(each):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
    return root
