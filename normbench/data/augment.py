"""What happens to pixels between the disk and the network."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

Transform = Callable[[Image.Image], Tensor]  # a photo to uint8 (C, H, W)

PAD = 4
SHIFTS = 2 * PAD + 1
CROP_FLIP_DRAWS = SHIFTS * SHIFTS * 2  # outcomes of one image's crop and flip, all equally likely


class Normalise:
    """(x - mean) / sd per channel, on the device.

    mean and sd are on the scale of the stored pixels.

    Computed in at least fp32 and rounded to `dtype` last: 16 bits are too few to subtract the mean
    in.
    """

    def __init__(self, mean: Sequence[float], sd: Sequence[float], device: torch.device, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.internal = torch.float64 if dtype == torch.float64 else torch.float32
        self.mean = torch.tensor(mean, dtype=self.internal, device=device).view(-1, 1, 1)
        self.sd = torch.tensor(sd, dtype=self.internal, device=device).view(-1, 1, 1)

    def __call__(self, x: Tensor) -> Tensor:
        return (x.to(self.internal) - self.mean).div_(self.sd).to(self.dtype)


def crop_flip(images: Tensor, draw: Tensor) -> Tensor:
    """Pads 4, crops at random, flips with probability 1/2: the whole batch in one gather.

    images: (N, C, H, W). draw: (N,) integers in [0, CROP_FLIP_DRAWS): image i is cropped at row
    draw//18, column draw//2 % 9 of its padded self, and flipped where draw is odd. The padding is
    black, zero before normalization, as in torchvision's RandomCrop(padding=4) in front of
    Normalize.
    """
    n, c, h, w = images.shape
    rows = (draw // (2 * SHIFTS))[:, None] + torch.arange(h, device=images.device)
    across = torch.arange(w, device=images.device).expand(n, w)
    columns = (draw // 2 % SHIFTS)[:, None] + torch.where((draw % 2 == 1)[:, None], w - 1 - across, across)
    padded = F.pad(images, (PAD, PAD, PAD, PAD)).view(n, c, -1)
    pixels = (rows[:, :, None] * (w + 2 * PAD) + columns[:, None, :]).view(n, 1, h * w)
    return padded.gather(2, pixels.expand(n, c, h * w)).view(n, c, h, w)


def centre(resize: int, size: int) -> Transform:
    """The test transform: shorter side to `resize`, the square of side `size` from the centre."""
    from torchvision.transforms import v2  # 1 s to import; the data sets in memory do without it

    transform: Transform = v2.Compose([v2.Resize(resize), v2.CenterCrop(size), v2.PILToTensor()])
    return transform


def shifted(resize: int, size: int) -> Transform:
    """crop_flip for photos: what `centre` shows, padded by 4, cropped at random, flipped."""
    from torchvision.transforms import v2

    steps = [v2.Resize(resize), v2.CenterCrop(size), v2.RandomCrop(size, padding=PAD), v2.RandomHorizontalFlip()]
    transform: Transform = v2.Compose([*steps, v2.PILToTensor()])
    return transform


def inception(size: int, *, color: bool) -> Transform:
    """The training transform of GoogLeNet and of the GN paper; draws from torch's CPU generator.

    A random part of 8 to 100 % of the area, aspect 3/4 to 4/3, resized to the square; horizontal
    flip. color adds what fb.resnet.torch adds: brightness, contrast and saturation by up to 0.4 in
    random order, then PCA lighting of sd 0.1. Values are clipped to the 0..1 range after each
    change; fb.resnet.torch lets them leave it.
    """
    from torchvision.transforms import v2

    steps = [v2.RandomResizedCrop(size, scale=(0.08, 1.0)), v2.RandomHorizontalFlip(), v2.PILToTensor()]
    if color:
        jitter = v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4)
        steps += [v2.ToDtype(torch.float32, scale=True), jitter, lighting, v2.ToDtype(torch.uint8, scale=True)]
    transform: Transform = v2.Compose(steps)
    return transform


# Of the covariance of ImageNet's RGB pixels, eigenvectors as columns: AlexNet's lighting,
# fb.resnet.torch's constants.
_EIGENVALUES = torch.tensor([0.2175, 0.0188, 0.0045])
_EIGENVECTORS = torch.tensor([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])


def lighting(image: Tensor, sd: float = 0.1) -> Tensor:
    """Adds one random colour to a (3, H, W) image, drawn as ImageNet's colours vary."""
    colour = _EIGENVECTORS @ (torch.randn(3) * sd * _EIGENVALUES)
    return (image + colour.view(3, 1, 1)).clamp_(0, 1)
