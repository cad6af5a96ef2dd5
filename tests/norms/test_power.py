"""Power normalization against Algorithm 2 and the authors' code in NumPy, step by step, forward and backward."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from normbench.config import ConfigError
from normbench.norms import Site
from normbench.norms.power import PowerNorm

N, C, SIDE, EPS = 3, 4, 3, 1e-5
WIDE = (1, C, 1, 1)


def build(workers: int = 1, **options: object) -> PowerNorm:
    norm = PowerNorm(Site(nn.Conv2d(3, C, 3).double(), workers=workers), **{"group_scaling": 0, **options})  # type: ignore[arg-type]
    assert norm.weight is not None
    assert norm.bias is not None
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 1.5, C))
        norm.bias.copy_(torch.linspace(-1, 1, C))
    norm.plan(sgd_batch=N * workers, steps_per_epoch=2, epochs=1)
    return norm


def images(step: int, n: int = N) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(n, C, SIDE, SIDE, generator=generator, dtype=torch.float64) * (1 + 0.1 * step) + 0.5


def step_of(norm: nn.Module, y: Tensor, g: Tensor) -> list[np.ndarray]:
    """Output, and the gradients of the input, gamma and beta."""
    y = y.clone().requires_grad_()
    out = norm(y)
    return [v.detach().numpy() for v in (out, *torch.autograd.grad(out, [y, norm.weight, norm.bias], g))]


def mean(values: np.ndarray) -> np.ndarray:
    return values.mean((0, 2, 3), keepdims=True)


@dataclass
class Paper:
    """One worker's Algorithm 2 after a warm-up by PN-V, whose gradient is that of its output."""

    warmup: int
    alpha: float = 0.9
    steps: int = 0
    psi2: np.ndarray = field(default_factory=lambda: np.ones(WIDE))
    nu: np.ndarray = field(default_factory=lambda: np.zeros(WIDE))

    def step(self, x: np.ndarray, g: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> list[np.ndarray]:
        self.steps += 1
        cold = self.steps <= self.warmup
        psi = np.sqrt((mean(x**2) if cold else self.psi2) + EPS)
        self.psi2 = self.alpha * self.psi2 + (1 - self.alpha) * mean(x**2)
        hat = x / psi
        dhat = gamma.reshape(WIDE) * g
        nu = mean(dhat * hat) if cold else self.nu
        dx = (dhat - nu * hat) / psi
        self.nu = self.nu * (1 - (1 - self.alpha) * mean(hat * hat)) + (1 - self.alpha) * mean(dhat * hat)
        return [gamma.reshape(WIDE) * hat + beta.reshape(WIDE), dx, (g * hat).sum((0, 2, 3)), g.sum((0, 2, 3))]


@dataclass
class Authors:
    """The steps of their MaskPowerNorm for one worker, without its group scaling."""

    warmup: int
    alpha: float = 0.9
    steps: int = 0
    phi: np.ndarray = field(default_factory=lambda: np.ones(WIDE))
    ema_gz: np.ndarray = field(default_factory=lambda: np.zeros(WIDE))

    def step(self, x: np.ndarray, g: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> list[np.ndarray]:
        self.steps += 1
        var = mean(x**2)
        z = x / np.sqrt((var if self.steps <= self.warmup else self.phi) + EPS)
        if self.steps < self.warmup:
            self.phi = self.phi * (self.steps - 1) / self.steps + var / self.steps
        self.phi = self.alpha * self.phi + (1 - self.alpha) * var
        scaled = gamma.reshape(WIDE) * g - (1 - self.alpha) * self.ema_gz * z
        self.ema_gz = self.ema_gz + mean(scaled * z)
        return [
            gamma.reshape(WIDE) * z + beta.reshape(WIDE),
            scaled / np.sqrt(var + EPS),
            (g * z).sum((0, 2, 3)),
            g.sum((0, 2, 3)),
        ]


AS_THE_AUTHORS = {"warmup_gradient": "moving", "backward_scale": "batch", "warmup_average": True}


@pytest.mark.parametrize(("kind", "options"), [(Paper, {}), (Authors, AS_THE_AUTHORS)])
@pytest.mark.parametrize("workers", [1, 2])
def test_each_worker_forward_and_backward(kind: type[Paper], options: dict[str, object], workers: int) -> None:
    norm = build(workers, **options)  # powernorm, 4 steps of warm-up
    papers = [kind(warmup=4) for _ in range(workers)]
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


def test_evaluation_uses_worker_0s_running_mean_square() -> None:
    norm, lone = build(workers=2), build()
    for step in range(6):
        norm(images(step, 2 * N))
        lone(images(step, 2 * N)[::2])
    torch.testing.assert_close(norm.running_var, lone.psi2[0], rtol=0, atol=1e-12)
    x = images(50)
    wanted = norm.weight.view(WIDE) * x / (lone.psi2.view(WIDE) + EPS).sqrt() + norm.bias.view(WIDE)
    torch.testing.assert_close(norm.eval()(x), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_group_scaling_divides_each_position_by_its_root_mean_square_over_channels(groups: int) -> None:
    """With autograd's gradient of the plain formula."""
    scaling, plain = build(group_scaling=groups), build()
    x, g = images(0), images(1)
    y = x.clone().requires_grad_()
    grouped = y.view(N, groups, -1, SIDE, SIDE)
    out = plain((grouped / (grouped.square().mean(2, keepdim=True) + EPS).sqrt()).view(y.shape))
    wanted = [out, *torch.autograd.grad(out, [y, plain.weight, plain.bias], g)]
    for a, b in zip(step_of(scaling, x, g), wanted, strict=True):
        np.testing.assert_allclose(a, b.detach().numpy(), atol=1e-12)


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


def test_what_it_refuses() -> None:
    with pytest.raises(ConfigError, match="group_scaling=3 does not divide a layer's 4 channels"):
        build(group_scaling=3)
    with pytest.raises(ConfigError, match="backward_scale=none: one of moving, batch"):
        build(backward_scale="none")
