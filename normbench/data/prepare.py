"""One image from anywhere, as a network was tested: cut to size and normalised, ready for it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from normbench import data as data_sets
from normbench import facts, plugins
from normbench.config import ConfigError, Data
from normbench.data import augment
from normbench.data.folder import decode, eight_bits
from normbench.data.images import InMemory

Picture = str | Path | Image.Image | np.ndarray | Tensor
MODES = {1: "L", 3: "RGB"}  # Pillow's, by the number of channels


class Preprocess:
    """What the test images went through, as a function of one image: (1, C, H, W).

    image: the path of a file that Pillow reads; an Image of Pillow's; an array (H, W) or (H, W, C);
    a tensor (C, H, W). Of uint8 values it is turned into the network's channels and cut to its size
    as the data set's test images are (of data sets in memory: the shorter side resized, the centre
    kept). Of floating-point values, on the 0..1 scale, it is taken as it is.

    Raises ConfigError for a file that is no image, and for values or a shape that are neither.
    """

    def __init__(self, data: Data, normalise: augment.Normalise, white: float) -> None:
        """white: of the stored pixels, which normalise takes: 255 or 1."""
        self.shape = facts.image_shape(data)  # (C, H, W) of what the network sees
        self._normalise, self._white = normalise, white
        self._cut: Callable[[Image.Image], Tensor] = self._covering
        if facts.of_data(data).class_folders:
            assert data.image_size is not None
            self._cut = augment.centre(data.eval_resize or data.image_size, data.image_size)

    def __call__(self, image: Picture) -> Tensor:
        x = self._stored(image).to(self._normalise.mean.device)
        return self._normalise(x)[None]

    def _stored(self, image: Picture) -> Tensor:
        """The pixels (C, H, W) as those of the data set are stored."""
        if isinstance(image, str | Path):
            image = decode(str(image), grey=self.shape[0] == 1)
        if isinstance(image, Image.Image):
            return self._from_pillow(eight_bits(image, "this image"))
        pixels = _channels_first(image)
        if pixels.is_floating_point():
            if pixels.shape != self.shape:
                wanted = " x ".join(map(str, self.shape))
                raise ConfigError(
                    f"an image of floating-point values is taken as it is, {wanted}, and this one is "
                    f"{' x '.join(map(str, pixels.shape))}; give uint8 values to have it cut to size"
                )
            return pixels * self._white
        if pixels.dtype != torch.uint8:
            raise ConfigError(f"an image has uint8 values, or floating-point ones from 0 to 1; got {pixels.dtype}")
        if pixels.shape == self.shape:
            return self._of_bytes(pixels)
        if len(pixels) not in MODES:
            raise ConfigError(f"an image has 1 channel or 3, or is {self.shape}; got {tuple(pixels.shape)}")
        array = pixels.permute(1, 2, 0).cpu().numpy()
        return self._from_pillow(Image.fromarray(array[:, :, 0] if len(pixels) == 1 else array))

    def _from_pillow(self, image: Image.Image) -> Tensor:
        if self.shape[0] not in MODES:
            raise ConfigError(f"the network sees {self.shape[0]} channels; give an array or a tensor of as many")
        return self._of_bytes(self._cut(image.convert(MODES[self.shape[0]])))

    def _of_bytes(self, pixels: Tensor) -> Tensor:
        """Values of 0 to 255 on the scale of the stored ones; themselves where that is theirs."""
        return pixels if self._white == 255 else pixels * (self._white / 255)

    def _covering(self, image: Image.Image) -> Tensor:
        """The image at the network's size: as small as covers it, and of that the centre."""
        from torchvision.transforms import v2  # 1 s to import

        _, height, width = self.shape
        scale = max(height / image.height, width / image.width)
        sides = [max(height, round(image.height * scale)), max(width, round(image.width * scale))]
        cut: augment.Transform = v2.Compose([v2.Resize(sides), v2.CenterCrop([height, width]), v2.PILToTensor()])
        return cut(image)


def preprocess(data: Data, pixels: Mapping[str, Any], device: torch.device, dtype: torch.dtype) -> Preprocess:
    """What the test images of a data set go through.

    pixels: mean and sd of the training pixels as env.json has them, {} where it does not. Then they
    are those of the data set's facts; else the images are loaded for them. Raises ConfigError where
    a package's data set prepares its images by a way of its own.
    """
    known, name = facts.of_data(data), data.source or data.name
    channels = facts.image_shape(data)[0]
    for stated in (pixels, {"mean": known.mean, "sd": known.sd}):
        mean, sd = (_on_bytes(stated.get(key), channels) for key in ("mean", "sd"))
        if mean and sd and name not in plugins.offered("data"):
            return Preprocess(data, augment.Normalise(mean, sd, device, dtype), 255)
    images = data_sets.build(data, seed=0, device=device, dtype=dtype)
    if not isinstance(images, InMemory):
        raise ConfigError(f"data={data.name}: its package prepares images in a way of its own; ask for predictions()")
    return Preprocess(data, images.normalise, 255 if images.test_x.dtype == torch.uint8 else 1)


def _on_bytes(values: Any, channels: int) -> list[float]:
    """Numbers of the 0..1 scale, one a channel, on that of 0 to 255; [] where they are not."""
    known = isinstance(values, list | tuple) and len(values) == channels
    return [255 * value for value in values] if known and all(type(v) in (int, float) for v in values) else []


def _channels_first(image: np.ndarray | Tensor) -> Tensor:
    """An array (H, W) or (H, W, C), or a tensor (C, H, W), as (C, H, W)."""
    if isinstance(image, np.ndarray):
        pixels = torch.from_numpy(np.array(image))  # a copy: Pillow's arrays cannot be written to
        pixels = pixels[None] if pixels.dim() == 2 else pixels.movedim(-1, 0)
    else:
        pixels = image
    if pixels.dim() != 3:
        raise ConfigError(f"an image is an array (H, W) or (H, W, C), or a tensor (C, H, W); got {tuple(image.shape)}")
    return pixels
