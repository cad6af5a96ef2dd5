"""Moving average batch normalization against Algorithm 1 in NumPy, step by step, forward and backward."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from normbench.config import ConfigError
from normbench.norms import Site
from normbench.norms.moving_average import MovingAverageBatchNorm

N, C, SIDE = 2, 4, 3


def conv() -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(3, C, 3, bias=False).double()


def build(workers: int = 1, **options: object) -> MovingAverageBatchNorm:
    norm = MovingAverageBatchNorm(Site(conv(), workers=workers), **options)  # type: ignore[arg-type]
    assert norm.weight is not None
    assert norm.bias is not None
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 1.5, C))
        norm.bias.copy_(torch.linspace(-1, 1, C))
    norm.plan(sgd_batch=N * workers, steps_per_epoch=10, epochs=1)
    return norm


def images(step: int, n: int = N) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(n, C, SIDE, SIDE, generator=generator, dtype=torch.float64) * (1 + 0.3 * step) + 1


def step_of(norm: nn.Module, y: Tensor, g: Tensor) -> list[np.ndarray]:
    """Output, and the gradients of the input, gamma and beta."""
    y = y.clone().requires_grad_()
    out = norm(y)
    grads = torch.autograd.grad(out, [y, norm.weight, norm.bias], g)
    return [v.detach().numpy() for v in (out, *grads)]


@dataclass
class Paper:
    """One worker's Algorithm 1, with the authors' warm-up; every average is taken over plain lists."""

    window: int
    warmup: int
    correction: int
    eps: float = 1e-5
    keep: float = 0.98
    limit: float = 5.0
    moving_of: str = "batch"
    start: str = "first"
    chi_hat2: np.ndarray = field(default_factory=lambda: np.ones(C))
    chis: list[np.ndarray] = field(default_factory=list)
    psis: list[np.ndarray] = field(default_factory=list)

    def step(self, x: np.ndarray, g: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> list[np.ndarray]:
        wide = (1, C, 1, 1)
        gamma, beta = gamma.reshape(wide), beta.reshape(wide)
        self.chis.append((x**2).mean((0, 2, 3)))
        moving = len(self.chis) > self.warmup and len(self.chis) >= self.window
        chi2 = sum(self.chis[-self.window :]) / self.window if moving else self.chis[-1]
        chi = np.sqrt(chi2 + self.eps).reshape(wide)
        r = np.ones(wide)
        if len(self.chis) > self.correction:
            r = np.clip(chi / np.sqrt(self.chi_hat2 + self.eps).reshape(wide), 1 / self.limit, self.limit)
        new = self.chis[-1] if self.moving_of == "batch" else chi2
        first = len(self.chis) == 1 and self.start == "first"
        self.chi_hat2 = new if first else self.keep * self.chi_hat2 + (1 - self.keep) * new
        y = x / chi
        dy = r * gamma * g
        self.psis.append((dy * y).mean((0, 2, 3)))
        psi = sum(self.psis[-self.window :]) / self.window if moving else self.psis[-1]
        dx = (dy - y * psi.reshape(wide)) / chi
        return [gamma * r * y + beta, dx, (g * r * y).sum((0, 2, 3)), g.sum((0, 2, 3))]


@pytest.mark.parametrize(("moving_of", "start"), [("batch", "first"), ("window", "one")])
@pytest.mark.parametrize("workers", [1, 2])
def test_algorithm_1_for_each_worker_forward_and_backward(moving_of: str, start: str, workers: int) -> None:
    own = {"moving_of": moving_of, "start": start, "limit": 1.5}
    norm = build(workers, window=3, warmup_epochs=0.4, correction_epochs=0.6, **own)
    papers = [Paper(3, 4, 6, **own) for _ in range(workers)]  # type: ignore[arg-type]
    affine = norm.weight.detach().numpy(), norm.bias.detach().numpy()
    for step in range(12):
        x, g = images(step, N * workers), images(100 + step, N * workers)
        found = step_of(norm, x, g)
        parts = [p.step(x.numpy()[j::workers], g.numpy()[j::workers], *affine) for j, p in enumerate(papers)]
        for j, part in enumerate(parts):
            np.testing.assert_allclose(found[0][j::workers], part[0], atol=1e-12)
            np.testing.assert_allclose(found[1][j::workers], part[1], atol=1e-12)
        np.testing.assert_allclose(found[2], sum(part[2] for part in parts), atol=1e-11)
        np.testing.assert_allclose(found[3], sum(part[3] for part in parts), atol=1e-11)
    np.testing.assert_allclose(norm.running_var.numpy(), papers[0].chi_hat2, atol=1e-12)
    y = norm.eval()(images(50)).detach().numpy()
    chi_hat = np.sqrt(papers[0].chi_hat2 + 1e-5)
    wanted = images(50).numpy() * (affine[0] / chi_hat).reshape(1, C, 1, 1) + affine[1].reshape(1, C, 1, 1)
    np.testing.assert_allclose(y, wanted, atol=1e-12)


def test_a_window_of_one_without_correction_is_bn_without_a_mean() -> None:
    """mabn there has the exact gradient, autograd's of the plain formula."""
    norm = build(window=1, correction_epochs=99.0)
    for step in range(5):
        x, g = images(step), images(100 + step)
        found = step_of(norm, x, g)
        y = x.clone().requires_grad_()
        chi = (y.square().mean((0, 2, 3), keepdim=True) + norm.eps).sqrt()
        out = norm.weight.view(1, C, 1, 1) * y / chi + norm.bias.view(1, C, 1, 1)
        plain = [out, *torch.autograd.grad(out, [y, norm.weight, norm.bias], g)]
        for a, b in zip(found, plain, strict=True):
            np.testing.assert_allclose(a, b.detach().numpy(), atol=1e-12)


def test_the_conv_in_front_has_centred_filters_and_trains_its_own() -> None:
    layer = conv()
    before = layer.weight.detach().clone()
    MovingAverageBatchNorm(Site(layer))
    torch.testing.assert_close(layer.weight, before - before.mean((1, 2, 3), keepdim=True), rtol=0, atol=1e-15)
    torch.testing.assert_close(layer.weight.sum((1, 2, 3)), torch.zeros(C).double(), rtol=0, atol=1e-14)
    assert [name for name, _ in layer.named_parameters()] == ["parametrizations.weight.original"]
    torch.testing.assert_close(layer.parametrizations.weight.original, before, rtol=0, atol=0)


@pytest.mark.parametrize(("batch", "window"), [(32, 1), (8, 4), (3, 10), (64, 1)])
def test_the_window_makes_a_batch_of_32_images(batch: int, window: int) -> None:
    norm, same = build(workers=2, warmup_epochs=0), build(workers=2, warmup_epochs=0, window=window)
    for step in range(window + 2):
        x = images(step, 2 * batch)
        torch.testing.assert_close(norm(x), same(x), rtol=0, atol=1e-12)


def test_evaluation_on_minibatches_takes_each_ones_own_statistics() -> None:
    norm = build(window=3)
    for step in range(5):
        step_of(norm, images(step), images(step))
    before = {k: v.clone() for k, v in norm.state_dict().items()}
    norm.eval().minibatch = N
    y = images(9)
    chi = (y.square().mean((0, 2, 3), keepdim=True) + norm.eps).sqrt()
    wanted = norm.weight.view(1, C, 1, 1) * y / chi + norm.bias.view(1, C, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(norm(y), wanted, rtol=0, atol=1e-12)
    assert all(torch.equal(v, before[k]) for k, v in norm.state_dict().items())


def test_measured_statistics_are_the_mean_square_of_all_images() -> None:
    norm = build()
    norm.start_measuring()
    with torch.no_grad():
        for step in range(3):
            norm(images(step))
    norm.finish_measuring()
    both = torch.cat([images(step) for step in range(3)])
    torch.testing.assert_close(norm.running_var, both.square().mean((0, 2, 3)), rtol=0, atol=1e-12)
    assert not norm.running_mean.any()


def test_a_backward_pass_that_comes_late_still_finds_its_place() -> None:
    """Two forwards, then their two backwards: no step is lost from either window."""
    norm = build(window=2, warmup_epochs=0.0)
    first, second = (norm(images(step).requires_grad_()) for step in range(2))
    first.sum().backward()
    second.sum().backward()
    assert int(norm.steps) == int(norm.backward_steps) == 2


def test_what_it_refuses() -> None:
    with pytest.raises(ConfigError, match="filters of this conv have a single weight"):
        MovingAverageBatchNorm(Site(nn.Conv2d(4, 4, 1, groups=4)))
    with pytest.raises(ConfigError, match="at least 1"):
        build(window=0)
    with pytest.raises(ConfigError, match="moving_of=epoch: one of batch, window"):
        build(moving_of="epoch")
