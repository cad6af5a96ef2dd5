"""Dropout whose mask depends on an image's place in the SGD batch alone, not on who plays it."""

import torch
from torch import Tensor, nn

from normbench.parallel import dist


class PositionedDropout(nn.Module):
    """Dropout: y = x mask / (1 - p) in training, y = x in evaluation (Srivastava et al. 2014).

    Every process draws the mask of the whole SGD batch and takes its own images' part of it, image
    i of rank r of R being at position r + iR. The generators of all ranks go in step, so one
    process or many, and the workers played in one forward or in several (parts), drop the same
    values. kept_dims: how many axes of x have a value of the mask each; the others share it: all of
    them for nn.Dropout, 2 for nn.Dropout2d, 1 for stochastic depth.
    """

    def __init__(self, p: float, kept_dims: int | None, scaled: bool = True) -> None:
        super().__init__()
        self.p, self.kept_dims, self.scaled = p, kept_dims, scaled
        # first worker, how many, of how many: of train.micro_workers
        self.part: tuple[int, int, int] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        dims = x.dim() if self.kept_dims is None else self.kept_dims
        first, size, workers = self.part or (0, 1, 1)
        local = len(x) // size * workers
        shape = [local * dist.world_size(), *x.shape[1:dims]] + [1] * (x.dim() - dims)
        mask = torch.rand(shape, device=x.device) >= self.p
        mask = mask[dist.rank() :: dist.world_size()]
        mask = mask.unflatten(0, (-1, workers)).narrow(1, first, size).flatten(0, 1)
        return x * mask.to(x.dtype) / (1 - self.p if self.scaled else 1.0)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def position_dropout(model: nn.Module) -> nn.Module:
    """Puts a PositionedDropout in the place of torch's, torchvision's and timm's dropouts."""
    for path, module in list(model.named_modules()):
        if (found := _positioned(module)) is not None:
            model.set_submodule(path, found.train(module.training))
    return model


def _positioned(module: nn.Module) -> PositionedDropout | None:
    if isinstance(module, nn.Dropout):
        return PositionedDropout(module.p, None)
    if isinstance(module, (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)):
        return PositionedDropout(module.p, 2)
    # By name: torchvision takes a second to import, and timm need not be installed.
    kind = type(module).__name__
    # mode batch: one draw, equal on all ranks
    if kind == "StochasticDepth" and getattr(module, "mode", "") == "row":
        return PositionedDropout(float(getattr(module, "p", 0.0)), 1)
    if kind == "DropPath":
        return PositionedDropout(
            float(getattr(module, "drop_prob", 0.0) or 0.0), 1, getattr(module, "scale_by_keep", True)
        )
    return None
