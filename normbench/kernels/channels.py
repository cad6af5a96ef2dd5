"""ATen's batch normalization taken apart: statistics, scale and shift, backward; one pass each.

For layers that normalize as BN does but by other statistics than the batch's own. Statistics are in
fp32 (fp64 for fp64 input) whatever the precision of x, and x keeps its dtype and memory format.
F.batch_norm is the first two in one; taken apart they cost the same, and there is room between
them.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from normbench.kernels.values import per_channel, statistics_dtype
from normbench.parallel.workers import memory_format


def channel_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance over all axes but the channels', (C,) each. No gradient."""
    # The dtype of the results is that of `like`.
    like = torch.zeros(x.shape[1], device=x.device, dtype=statistics_dtype(x))
    mean, var = torch.batch_norm_update_stats(x, like, like.clone(), 0.0)
    return mean, var


def normalize(x: Tensor, mean: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """(x - mean) * scale + shift, each (C,), in x's dtype. No gradient."""
    out: Tensor = torch.native_batch_norm(x, scale, shift, mean, torch.ones_like(mean), False, 0.0, 0.0)[0]
    return out


def normalize_backward(grad: Tensor, x: Tensor, mean: Tensor, invstd: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
    """BN's backward for z = (x - mean) invstd: dx, then sum(grad z) and sum(grad) per channel.

    dx = weight invstd (grad - mean(grad) - z mean(grad z)), whatever mean and invstd are.
    """
    grad = grad.contiguous(memory_format=memory_format(x))
    found: tuple[Tensor, ...] = torch.ops.aten.native_batch_norm_backward(
        grad, x, weight, None, None, mean, invstd, True, 0.0, [True, True, True]
    )
    return found


class Pooled(torch.autograd.Function):
    """Normalizes x by the pooled statistics of its own batch and of a past one, per channel of x.

        mu = s mean + (1 - s) past_mean
        sigma^2 = s var + (1 - s) past_var + s (1 - s) (mean - past_mean)^2

    s, the share, is the weight of the own batch. sigma^2 is nu - mu^2 of averages so weighted, but
    never negative. var is bessel times the biased one.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mean: Tensor, var: Tensor, bessel: Tensor, past_mean: Tensor,
        past_var: Tensor, share: Tensor, weight: Tensor, bias: Tensor, eps: float, eps_inside: bool,
    ) -> Tensor:  # fmt: skip
        centre = torch.lerp(past_mean, mean, share)
        total = share * var + (1 - share) * past_var + share * (1 - share) * (mean - past_mean).square()
        root = (total + eps).sqrt() if eps_inside else total.sqrt()
        std = root if eps_inside else root + eps
        scale = weight.to(std.dtype) / std
        # Of a channel without variance; sqrt has no finite gradient there.
        root = root.clamp_min(eps)
        ctx.save_for_backward(x, weight, centre, std, root, share, mean - past_mean, bessel)
        return normalize(x, centre, scale, bias.to(std.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """With a = gamma / std, S = sum(grad), T = sum(grad (x - mu)) and M values per channel:

        dx = a (grad - share S / M - share bessel T (x - mu) / (M std root)), in BN's form with
        invstd^2 = bessel / (std root) and weight share a / invstd, plus the part (1 - share) of
        grad that no statistic takes back.
        """
        x, weight, centre, std, root, share, apart, bessel = ctx.saved_tensors
        a = weight.to(std.dtype) / std
        invstd = (bessel / (std * root)).sqrt()
        dx, along, total = normalize_backward(grad, x, centre, invstd, a * share / invstd)
        dx.addcmul_(grad, per_channel(a * (1 - share), x))
        along = along / invstd  # T
        dvar = -0.5 * a * along / (std * root)
        dpast_mean = (1 - share) * (-a * total - 2 * share * apart * dvar)
        dweight, dbias = (along / std).to(weight.dtype), total.to(weight.dtype)
        return dx, None, None, None, dpast_mean, (1 - share) * dvar, None, dweight, dbias, None, None
