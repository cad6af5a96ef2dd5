"""Batch-channel normalization: BN then GN, and its micro-batch form by hand."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference import affine, normalized
from torch import Tensor, nn

from normbench import norms
from normbench.config import ConfigError
from normbench.norms import Site
from normbench.norms.batch_channel import BatchChannelNorm
from normbench.testing import check_norm

N, C, SIDE, GROUPS = 6, 8, 5, 2


def images(step: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(N, C, SIDE, SIDE, generator=generator, dtype=torch.float64) * 2 + torch.arange(C).view(C, 1, 1)


def build(workers: int = 1, **options: object) -> BatchChannelNorm:
    norm = BatchChannelNorm(Site(nn.Conv2d(3, C, 1).double(), workers=workers), groups=GROUPS, **options)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in norm.parameters():
            p += 0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return norm


def channel_norm(u: np.ndarray, norm: BatchChannelNorm) -> np.ndarray:
    each = u.shape[1] // norm.groups
    out = np.stack([[normalized(image[g : g + each], norm.eps) for g in range(0, len(image), each)] for image in u])
    return affine(out.reshape(u.shape), norm)


def batch_affine(out: np.ndarray, norm: BatchChannelNorm) -> np.ndarray:
    shape = (1, -1, 1, 1)
    return norm.batch_weight.detach().numpy().reshape(shape) * out + norm.batch_bias.detach().numpy().reshape(shape)


def large(y: np.ndarray, norm: BatchChannelNorm, x: np.ndarray) -> np.ndarray:
    """bcn: batch normalization with its own affine, then the channel normalization."""
    u = np.stack([normalized(y[:, c], norm.eps) for c in range(y.shape[1])], axis=1)
    return channel_norm(batch_affine(u, norm), norm)


def micro(y: np.ndarray, norm: BatchChannelNorm, x: np.ndarray) -> np.ndarray:
    """The estimates take in the batch, the mean first, and are what the batch is normalized by."""
    mean, var = (v[0].numpy() for v in (norm.estimated_mean, norm.estimated_var))
    u = np.empty_like(y)
    for c in range(y.shape[1]):
        m = (1 - norm.rate) * mean[c] + norm.rate * y[:, c].mean()
        v = (1 - norm.rate) * var[c] + norm.rate * ((y[:, c] - m) ** 2).mean()
        u[:, c] = (y[:, c] - m) / np.sqrt(v + norm.eps)
    return channel_norm(batch_affine(u, norm), norm)


@pytest.mark.parametrize(("reference", "options"), [(large, {}), (micro, {"micro": True, "rate": 0.3})])
def test_the_papers_formula(reference: object, options: dict[str, object]) -> None:
    report = check_norm(partial(norms.build, "bcn", groups=2, **options), reference=reference, only=["formula"])
    assert report.ok, f"\n{report}"


def test_it_is_torchs_group_norm_of_torchs_batch_norm_with_all_gradients() -> None:
    norm = build()
    batch = [norm.batch_weight, norm.batch_bias, norm.weight, norm.bias]
    found = []
    y = images().requires_grad_()
    for out in (
        norm(y),
        F.group_norm(F.batch_norm(y, None, None, *batch[:2], True, 0.0, norm.eps), GROUPS, *batch[2:], norm.eps),
    ):
        found.append([out, *torch.autograd.grad((out * images(9)).sum(), [y, *batch])])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_micro_stops_the_gradient_at_the_estimates() -> None:
    """The gradient is that of BN in evaluation, under the channel normalization."""
    norm = build(micro=True)
    y = images().requires_grad_()
    (grad,) = torch.autograd.grad((norm(y) * images(9)).sum(), [y])
    u = F.batch_norm(y, norm.running_mean, norm.running_var, norm.batch_weight, norm.batch_bias, False, 0.0, norm.eps)
    (wanted,) = torch.autograd.grad((F.group_norm(u, GROUPS, norm.weight, norm.bias, norm.eps) * images(9)).sum(), [y])
    torch.testing.assert_close(grad, wanted, rtol=0, atol=1e-11)


def test_micro_evaluates_by_worker_0s_estimates() -> None:
    norm, lone = build(workers=2, micro=True), build(micro=True)
    for step in range(3):
        norm(images(step))
        lone(images(step)[::2])
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(norm, name), getattr(lone, name), rtol=0, atol=1e-12)
    torch.testing.assert_close(norm.eval()(images()), lone.eval()(images()), rtol=0, atol=1e-12)


def test_micro_normalizes_a_single_image_on_a_1x1_map() -> None:
    out = build(micro=True)(images()[:1, :, :1, :1])
    assert out.isfinite().all()
    with pytest.raises(ConfigError, match="norm=bcn needs two values per channel"):
        build()(images()[:1, :, :1, :1])


def test_per_group_affine_is_the_per_channel_one_repeated() -> None:
    norm, twin = build(per_group_affine=True), build()
    assert norm.weight is None
    assert twin.weight is not None
    assert twin.bias is not None
    with torch.no_grad():
        twin.batch_weight.copy_(norm.batch_weight)
        twin.batch_bias.copy_(norm.batch_bias)
        twin.weight.copy_(norm.group_weight.repeat_interleave(C // GROUPS))
        twin.bias.copy_(norm.group_bias.repeat_interleave(C // GROUPS))
    torch.testing.assert_close(norm(images()), twin(images()), rtol=0, atol=1e-12)
