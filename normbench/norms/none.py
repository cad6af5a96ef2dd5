"""norm=none: nothing in a norm's place but a bias."""

from torch import Tensor

from normbench.norms.base import Norm, Site


class NoNorm(Norm):
    """No normalization: y = x, plus a learned bias per channel where the conv has none of its own.

    Shapes: y (N, C, ...) in and out
        bias: (C,)
    """

    name = "none"
    over = "nothing"
    batch_free = True

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.weight = None
        if site.conv.bias is not None:
            self.bias = None

    def forward(self, y: Tensor) -> Tensor:
        return y if self.bias is None else y + self.bias.to(y.dtype).view(-1, *[1] * (y.dim() - 2))
