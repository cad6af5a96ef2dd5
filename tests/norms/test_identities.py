"""What one norm is in terms of another (facts: papers' own remarks), to float64 rounding; and running statistics by hand.

Identities that speak of one layer's options only stand with that layer's other tests.
"""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from normbench import norms
from normbench.norms import Norm, RunningNorm

N, C, SIDE = 6, 8, 5
SAME = 1e-12
TINY = 1e-12  # an eps that is as good as none


def conv() -> nn.Conv2d:
    return nn.Conv2d(3, C, 1).double()


def build(name: str, workers: int = 1, **options: object) -> Norm:
    """A layer with gamma and beta off 1 and 0; equal ones in every layer."""
    norm = norms.build(name, conv(), workers=workers, **options).double().train()
    assert norm.weight is not None
    assert norm.bias is not None
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 1.5, C, dtype=torch.float64))
        norm.bias.copy_(torch.linspace(-1, 1, C, dtype=torch.float64))
    return norm


def images(step: int = 0, n: int = N) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(n, C, SIDE, SIDE, generator=generator, dtype=torch.float64) * 2 + 1


def both(norm: Norm, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Output, and the gradients of input, gamma and beta."""
    norm.zero_grad()
    y = y.clone().requires_grad_()
    out = norm(y)
    out.backward(images(99, len(y)))
    assert y.grad is not None
    assert norm.weight is not None
    assert norm.weight.grad is not None
    assert norm.bias is not None
    assert norm.bias.grad is not None
    return out.detach(), y.grad, norm.weight.grad.clone(), norm.bias.grad.clone()


def assert_same(a: Norm, b: Norm, y: Tensor) -> None:
    for one, other in zip(both(a, y), both(b, y), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=SAME * 100)


def test_gn_with_one_group_is_ln() -> None:
    assert_same(build("gn", groups=1), build("ln"), images())


def test_gn_with_a_group_for_each_channel_is_in() -> None:
    assert_same(build("gn", groups=C), build("in"), images())


def test_gn_with_channels_per_group_is_gn_with_groups() -> None:
    assert_same(build("gn", channels_per_group=2), build("gn", groups=C // 2), images())


def test_bn_on_one_image_is_in() -> None:
    assert_same(build("bn"), build("in"), images(n=1))


def test_bn_of_as_many_workers_as_images_is_in() -> None:
    assert_same(build("bn", workers=N), build("in"), images())


def test_syncbn_over_workers_is_bn_over_all_their_images() -> None:
    sync, bn = build("syncbn", workers=3), build("bn")
    for step in range(3):
        assert_same(sync, bn, images(step))
    assert_same(sync.eval(), bn.eval(), images(7))


def test_ghost_batches_are_virtual_workers() -> None:
    """Ghost BN cuts a batch into virtual ones: image i in ghost i mod w is BN on y[i::w]."""
    ghost = both(build("bn", workers=3), images())
    for j in range(3):
        norm = build("bn")
        torch.testing.assert_close(ghost[0][j::3], norm(images()[j::3]), rtol=0, atol=SAME)


def test_frozen_bn_is_bn_in_evaluation() -> None:
    bn, frozen = build("bn"), build("frozen")
    for step in range(3):
        bn(images(step))
    frozen.load_state_dict(bn.state_dict())
    assert_same(frozen, bn.eval(), images(7))


def test_no_norm_behind_a_conv_with_bias_is_the_identity() -> None:
    y = images()
    assert torch.equal(norms.build("none", conv())(y), y)


@pytest.mark.parametrize("name", ["bn", "syncbn", "in", "ln", "gn"])
def test_gamma_one_beta_zero_puts_out_zero_mean_and_unit_variance(name: str) -> None:
    norm = norms.build(name, conv(), eps=TINY).double().train()
    y = norm(images())
    assert abs(y.mean().item()) < SAME
    assert y.square().mean().item() == pytest.approx(1, abs=10 * TINY)


@pytest.mark.parametrize("name", ["bn", "syncbn", "in", "ln", "gn"])
def test_a_positive_rescale_of_the_input_changes_nothing(name: str) -> None:
    norm = build(name, eps=TINY)
    torch.testing.assert_close(norm(images()), norm(7 * images()), rtol=0, atol=10 * TINY)


def test_running_statistics_are_the_papers_moving_averages() -> None:
    """new = 0.9 old + 0.1 batch, of worker 0's mean and unbiased variance; from 0 and 1. Evaluation by hand as well."""
    norm = build("bn", workers=2)
    assert isinstance(norm, RunningNorm)
    mean, var = np.zeros(C), np.ones(C)
    for step in range(3):
        norm(images(step))
        own = images(step).numpy()[0::2]
        for c in range(C):
            values = own[:, c].ravel()
            mean[c] += 0.1 * (values.sum() / values.size - mean[c])
            var[c] += 0.1 * (((values - values.mean()) ** 2).sum() / (values.size - 1) - var[c])
    np.testing.assert_allclose(norm.running_mean.numpy(), mean, atol=SAME)
    np.testing.assert_allclose(norm.running_var.numpy(), var, atol=SAME)

    y = images(9)
    out = norm.eval()(y).detach().numpy()
    gamma, beta = np.linspace(0.5, 1.5, C), np.linspace(-1, 1, C)
    for c in range(C):
        wanted = gamma[c] * (y.numpy()[:, c] - mean[c]) / np.sqrt(var[c] + 1e-5) + beta[c]
        np.testing.assert_allclose(out[:, c], wanted, atol=SAME)


def test_measured_statistics_are_those_of_all_images_at_once() -> None:
    """Precise statistics: mean and total variance, the variance between batches included, whatever the cut into batches."""
    norm = build("bn", workers=3)
    assert isinstance(norm, RunningNorm)
    norm.start_measuring()
    for step in range(4):
        norm(images(step))
    norm.finish_measuring()
    everything = np.concatenate([images(step).numpy() for step in range(4)])
    for c in range(C):
        values = everything[:, c].ravel()
        assert norm.running_mean[c].item() == pytest.approx(values.mean(), abs=SAME)
        assert norm.running_var[c].item() == pytest.approx(((values - values.mean()) ** 2).mean(), abs=SAME)


def test_minibatch_evaluation_is_bn_on_each_minibatch() -> None:
    """eval_stats=batch: in evaluation too, y[j::w] is normalized by its own statistics, and nothing is remembered."""
    norm = build("bn")
    assert isinstance(norm, RunningNorm)
    norm.eval().minibatch = 2
    before = norm.running_mean.clone()
    out = norm(images())
    for j in range(3):
        torch.testing.assert_close(out[j::3], build("bn")(images()[j::3]), rtol=0, atol=SAME)
    assert torch.equal(before, norm.running_mean)
