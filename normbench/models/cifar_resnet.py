"""The residual networks for small images: He et al. 2016 (arXiv:1512.03385), section 4.2."""

import torch.nn.functional as F
from torch import Tensor, nn

from normbench.config import ConfigError

SHORTCUTS = ("A", "B")


class CifarResNet(nn.Module):
    """A 3x3 conv, three stages of n two-conv blocks, global pooling, a linear layer: 6n+2 layers.

    (N, image_channels, H, W) -> (N, num_classes). The stages are width, 2 width and 4 width
    channels wide (the paper's width is 16); the second and the third begin with stride 2. Any H, W
    serve; the paper's are 32. The BatchNorms hold the places of the norms.

    shortcut: what stands where the shape changes. "A", the paper's for CIFAR, has no parameters:
    every second pixel, and zeros as the new channels. "B" is a strided 1x1 conv and a norm. Where
    the zeros stand among the channels the paper does not say; they stand last here, as in
    fb.resnet.torch.
    """

    def __init__(
        self, depth: int, num_classes: int = 10, image_channels: int = 3, width: int = 16, shortcut: str = "A"
    ) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            n = max(1, round((depth - 2) / 6))
            raise ConfigError(f"cifar_resnet{depth}: the depth is 6n+2; the nearest is cifar_resnet{6 * n + 2}")
        if not isinstance(width, int) or width < 1:
            raise ConfigError(f"model.options.width={width}: a number of channels, at least 1")
        if shortcut not in SHORTCUTS:
            raise ConfigError(f"model.options.shortcut={shortcut}: no such shortcut; one of {', '.join(SHORTCUTS)}")
        blocks = (depth - 2) // 6
        self.conv1 = conv3x3(image_channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = stage(width, width, blocks, stride=1, shortcut=shortcut)
        self.layer2 = stage(width, 2 * width, blocks, stride=2, shortcut=shortcut)
        self.layer3 = stage(2 * width, 4 * width, blocks, stride=2, shortcut=shortcut)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x).flatten(1))


class BasicBlock(nn.Module):
    """relu(x + bn(conv(relu(bn(conv(x)))))), its parts named as torchvision names them."""

    def __init__(self, channels_in: int, channels: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels_in, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module
        if stride == 1 and channels_in == channels:
            self.downsample = nn.Identity()
        elif shortcut == "A":
            self.downsample = PadShortcut(channels - channels_in, stride)
        else:
            conv = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + self.downsample(x))


class PadShortcut(nn.Module):
    """Option A: every stride-th pixel, then new_channels channels of zeros."""

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels = new_channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.new_channels))


def stage(channels_in: int, channels: int, blocks: int, stride: int, shortcut: str) -> nn.Sequential:
    """The first block changes the shape, the others keep it."""
    first = BasicBlock(channels_in, channels, stride, shortcut)
    return nn.Sequential(first, *[BasicBlock(channels, channels, 1, shortcut) for _ in range(blocks - 1)])


def conv3x3(channels_in: int, channels: int, stride: int = 1) -> nn.Conv2d:
    """No bias: the norm behind has one."""
    return nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
