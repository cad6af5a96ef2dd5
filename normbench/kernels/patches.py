"""How a conv's output statistics follow from its weights: mean input patch, mean output x patch.

An output value of channel c is y_c = <theta_c, p> + b_c, with p the patch of the input under the
kernel. So the mean of y_c has the gradient P = E[p] with respect to theta_c, and the mean of y_c^2
has 2 U_c with U_c = E[y_c p]. Both are what the conv's native weight gradient computes, U for y in
place of the output's gradient, P for ones and the sum of the inputs: one call each, for any stride,
padding, dilation and groups. Several workers are groups of one conv. Everything here has the patch
flattened, theta (C, D) with D = C_in / groups x kernel, and statistics are in fp32 (fp64 for fp64
input).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from normbench.config import ConfigError
from normbench.kernels.values import statistics_dtype
from normbench.parallel.workers import split


def check_patches(conv: nn.Module, name: str) -> None:
    """Raises ConfigError for a layer whose output is not filters times patches."""
    if not isinstance(conv, nn.Linear) and (not isinstance(conv, _ConvNd) or conv.transposed):
        raise ConfigError(
            f"norm={name} stands behind a Conv1d, Conv2d, Conv3d or Linear, not behind {type(conv).__name__}"
        )


def filters(conv: nn.Module) -> Tensor:
    """theta (C, D): the weight as the forward pass uses it, a parametrization's included."""
    weight: Tensor = conv.weight  # type: ignore[assignment]
    return weight.flatten(1)


def groups_of(conv: nn.Module) -> int:
    return conv.groups if isinstance(conv, _ConvNd) else 1


def mean_patch(conv: nn.Module, x: Tensor, y: Tensor, workers: int) -> Tensor:
    """P of every worker, (workers, groups, D); a group's channels see the same patches."""
    groups = workers * groups_of(conv)
    x, positions = _padded(conv, x), _with_positions(y).shape[2:]
    total = split(x, workers).sum(0, keepdim=True, dtype=statistics_dtype(x))
    ones = total.new_full((1, groups, *positions), workers / (len(x) * positions.numel()))
    return _weight_gradient(conv, ones, total, groups).reshape(workers, groups_of(conv), -1)


def mean_product(conv: nn.Module, x: Tensor, y: Tensor, workers: int) -> Tensor:
    """U of every worker, (workers, C, D). x, y: input and output."""
    dtype = statistics_dtype(x)
    x, y = _padded(conv, x).to(dtype), _with_positions(y).to(dtype)
    values = y.numel() // (workers * y.shape[1])
    small = (
        y.numel() < workers * filters(conv).numel()
    )  # the division is a pass; over y or over U, whichever is shorter
    u = _weight_gradient(conv, split(y / values if small else y, workers), split(x, workers), workers * groups_of(conv))
    return (u if small else u.div_(values)).reshape(workers, y.shape[1], -1)


def _weight_gradient(conv: nn.Module, grad: Tensor, x: Tensor, groups: int) -> Tensor:
    """The sum over positions of grad times patch, (channels of grad, C_in / groups, *kernel)."""
    kernel = conv.kernel_size if isinstance(conv, _ConvNd) else (1,)
    stride, dilation = (conv.stride, conv.dilation) if isinstance(conv, _ConvNd) else ((1,), (1,))
    padding = (0,) * len(kernel) if _pads_itself(conv) or not isinstance(conv, _ConvNd) else conv.padding
    shape = x.new_empty(grad.shape[1], x.shape[1] // groups, *kernel)  # of the weight
    mask = [False, True, False]
    found: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        grad, x, shape, None, stride, padding, dilation, False, [0] * len(kernel), groups, mask
    )
    return found[1]


def _pads_itself(conv: nn.Module) -> bool:
    """Whether it pads in a way that the native kernels do not know: reflect, circular, "same"."""
    return isinstance(conv, _ConvNd) and (conv.padding_mode != "zeros" or isinstance(conv.padding, str))


def _padded(conv: nn.Module, x: Tensor) -> Tensor:
    """The input with whatever padding the native kernel cannot add, and with positions."""
    if not _pads_itself(conv):
        return _with_positions(x)
    assert isinstance(conv, _ConvNd)
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    return F.pad(x, conv._reversed_padding_repeated_twice, mode=mode)


def _with_positions(x: Tensor) -> Tensor:
    """(N, C) of a linear layer as a conv's map of one position."""
    return x.unsqueeze(-1) if x.dim() == 2 else x


# ------------------------------------------------------------------ inner products with the weights


def along_patch(theta: Tensor, patch: Tensor) -> Tensor:
    """<theta_c, P> of every worker and slot of a window, (workers, slots, C).

    theta: (C, D). patch: P, (workers, slots, groups, D).
    """
    workers, slots, groups, size = patch.shape
    found = torch.bmm(theta.reshape(groups, -1, size), patch.reshape(-1, groups, size).permute(1, 2, 0))
    return found.flatten(0, 1).t().reshape(workers, slots, -1)


def along_product(theta: Tensor, product: Tensor) -> Tensor:
    """<theta_c, U_c> of every worker and slot of a window, (workers, slots, C).

    theta: (C, D). product: U, (workers, slots, C, D). A row of theta times a matrix: the product
    the other way round is 3 to 7 times as slow on CPU.
    """
    workers, slots, channels, size = product.shape
    found = torch.bmm(theta.unsqueeze(1), product.reshape(-1, channels, size).permute(1, 2, 0))
    return found.squeeze(1).t().reshape(workers, slots, channels)
