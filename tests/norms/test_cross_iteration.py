"""Cross-iteration normalization (cbn) against the paper's formula and the authors' layer."""

import copy

import numpy as np
import pytest
import torch
from convs import CONVS, double, image, layer, mean_of, move
from torch import nn

from normbench import norms
from normbench.config import ConfigError
from normbench.kernels import patches

# ------------------------------------------------------------ the gradients of the statistics


@pytest.mark.parametrize("conv", CONVS, ids=str)
@pytest.mark.parametrize("workers", [1, 2])
def test_p_and_u_are_the_gradients_of_the_mean_and_of_half_the_mean_square(conv, workers):
    conv = double(conv)
    x = image(conv)
    p = patches.mean_patch(conv, x, conv(x), workers)
    u = patches.mean_product(conv, x, conv(x), workers)
    for worker in range(workers):
        y = conv(x[worker::workers])
        mean = torch.autograd.grad(mean_of(y).sum(), conv.weight, retain_graph=True)[0].flatten(1)
        square = torch.autograd.grad(mean_of(y.square()).sum(), conv.weight)[0].flatten(1)
        groups = patches.groups_of(conv)
        assert torch.allclose(p[worker].repeat_interleave(len(mean) // groups, 0), mean, rtol=0, atol=1e-12)
        assert torch.allclose(2 * u[worker], square, rtol=0, atol=1e-12)


@pytest.mark.parametrize("conv", CONVS, ids=str)
def test_the_mean_is_carried_exactly_and_the_mean_square_is_short_by_the_square_of_the_change(conv):
    conv = double(conv)
    norm = layer(conv, window=2).train()
    x = image(conv)
    old = conv(x)
    norm(old, x)
    move(conv, 0.3)
    means, squares = norm._compensated()
    now = conv(x)
    short = mean_of((now - old).square())
    assert torch.allclose(means[0, 0], mean_of(now), rtol=0, atol=1e-12)
    assert torch.allclose(squares[0, 0], mean_of(now.square()) - short, rtol=0, atol=1e-12)


def test_a_weight_under_a_parametrization_is_the_one_that_counts():
    conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3, bias=False)).double()
    norm = layer(conv, window=2)
    x = image(conv)
    norm(conv(x), x)
    with torch.no_grad():
        conv.parametrizations.weight.original0.mul_(1.7)
    assert torch.allclose(norm._compensated()[0][0, 0], mean_of(conv(x)), rtol=0, atol=1e-12)


# ------------------------------------------------------------ the whole layer


class AuthorsLayer(nn.Module):
    """The authors' layer by what it does, not how: lists of the past, torch's autograd."""

    def __init__(self, channels: int, buffers: int, burnin: int, rho: float = 1.0) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.buffers, self.burnin, self.rho = buffers, burnin, rho
        self.past: list[tuple[torch.Tensor, ...]] = []
        self.steps = self.dropped = 0
        self.running_mean, self.running_var = torch.zeros(channels), torch.ones(channels)

    def forward(self, y: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        flat = y.transpose(0, 1).flatten(1)
        mean, var = flat.mean(1), flat.var(1)
        self.running_mean = 0.9 * self.running_mean + 0.1 * mean.detach()
        self.running_var = 0.9 * self.running_var + 0.1 * var.detach()
        self.steps += 1
        if self.steps > self.burnin:
            square = flat.square().mean(1)
            slopes = [torch.autograd.grad(s.sum(), w, retain_graph=True)[0] for s in (mean, square)]
            means, squares = [mean], [square]
            for old_mean, old_square, slope_mean, slope_square, old_w in self.past:
                change = self.rho * (w.detach() - old_w)
                means.append(old_mean + (slope_mean * change).flatten(1).sum(1))
                squares.append(old_square + (slope_square * change).flatten(1).sum(1))
            here = (mean.detach(), square.detach(), *slopes, w.detach().clone())
            self.past = [here, *self.past][: self.buffers]
            means, squares = torch.stack(means), torch.stack(squares)
            valid = (squares >= means.square()) | (torch.arange(len(means)) == 0).unsqueeze(1)
            self.dropped += int((~valid).sum())
            count = valid.sum(0)
            mean = (means * valid).sum(0) / count
            var = (squares * valid).sum(0) / count - mean.square()
        shape = (1, -1, *[1] * (y.dim() - 2))
        z = (y - mean.view(shape)) / (var.sqrt() + 1e-5).view(shape)
        return z * self.weight.view(shape) + self.bias.view(shape)


@pytest.mark.parametrize("rho", [1.0, 0.6, 0.0])
def test_fourteen_steps_of_a_network_equal_the_authors_layer(rho):
    """With the authors' choices: drop, eps outside the root, unbiased variance in the burn-in."""
    torch.set_default_dtype(torch.float64)
    try:
        torch.manual_seed(1)
        ours = nn.ModuleList(
            [nn.Conv2d(2, 4, 3), nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False), nn.Conv2d(6, 3, 2)]
        )
        theirs = copy.deepcopy(ours)
        theirs_too = {"negative": "drop", "eps_inside": False, "unbiased_burnin": True}
        options = {"window": 4, "rho": rho, "burnin_epochs": 1, **theirs_too}
        our_norms = nn.ModuleList(norms.build("cbn", conv, **options) for conv in ours)
        their_norms = nn.ModuleList(AuthorsLayer(conv.out_channels, 3, burnin=3, rho=rho) for conv in theirs)
        for norm in our_norms:
            norm.plan(sgd_batch=3, steps_per_epoch=3, epochs=10)
        sgd = [
            torch.optim.SGD([*a.parameters(), *b.parameters()], lr=0.4, momentum=0.9)
            for a, b in ((ours, our_norms), (theirs, their_norms))
        ]
        for _ in range(14):
            x, target = torch.randn(3, 2, 9, 8) + 0.5, torch.randn(3, 3)
            a = b = x
            for conv, norm in zip(ours, our_norms, strict=True):
                a = norm(conv(a), a).relu()
            for conv, norm in zip(theirs, their_norms, strict=True):
                b = norm(conv(b), conv.weight).relu()
            assert torch.allclose(a, b, rtol=0, atol=1e-12)
            for optimizer, out in zip(sgd, (a, b), strict=True):
                optimizer.zero_grad()
                (out.mean((2, 3)) - target).square().mean().backward()
                optimizer.step()
        learned = [[*a.parameters(), *b.parameters()] for a, b in ((ours, our_norms), (theirs, their_norms))]
        for p, q in zip(*learned, strict=True):
            assert torch.allclose(p, q, rtol=0, atol=1e-12)
        for norm, their in zip(our_norms, their_norms, strict=True):
            assert torch.allclose(norm.running_var, their.running_var, rtol=0, atol=1e-12)
            assert torch.allclose(norm.running_mean, their.running_mean, rtol=0, atol=1e-12)
        assert rho < 1 or sum(norm.dropped for norm in their_norms) > 0, "the case of a negative variance was not met"
    finally:
        torch.set_default_dtype(torch.float32)


def paper_statistics(batches, weights, rho=1.0):
    """The paper's mu and sigma^2 of a linear layer at the last of the weights, in NumPy."""
    now, means, squares = weights[-1], [], []
    for x, theta in zip(batches, weights, strict=True):
        y = x @ theta.T
        change = rho * (now - theta)
        mean = y.mean(0) + change @ x.mean(0)
        square = (y**2).mean(0) + (2 * np.einsum("nc,nd->cd", y, x) / len(x) * change).sum(1)
        means.append(mean)
        squares.append(np.maximum(square, mean**2))
    mean = np.mean(means, 0)
    return mean, np.mean(squares, 0) - mean**2


@pytest.mark.parametrize("change", [0.05, 2.0], ids=["small steps", "steps that make variances negative"])
def test_equals_the_papers_formula(change):
    conv = nn.Linear(5, 4, bias=False).double()
    norm = layer(conv, window=3).train()
    batches, weights = [], []
    for _ in range(6):
        x = image(conv, 7)
        batches, weights = [*batches, x.numpy()][-3:], [*weights, conv.weight.detach().numpy().copy()][-3:]
        out = norm(conv(x), x)
        mean, var = paper_statistics(batches, weights)
        z = (conv(x).detach().numpy() - mean) / np.sqrt(var + 1e-5)
        expected = z * norm.weight.detach().numpy() + norm.bias.detach().numpy()
        assert np.allclose(out.detach().numpy(), expected, rtol=0, atol=1e-12)
        move(conv, change)


def test_without_compensation_it_is_the_naive_layer():
    conv = double(CONVS[0])
    ours, naive = layer(conv, rho=0.0), layer(conv, "cbn_naive")
    for _ in range(6):
        x = image(conv)
        assert torch.allclose(ours(conv(x), x), naive(conv(x)), rtol=0, atol=1e-12)
        move(conv, 0.1)


def test_does_not_stand_behind_a_transposed_conv():
    with pytest.raises(ConfigError, match="ConvTranspose2d"):
        norms.build("cbn", nn.ConvTranspose2d(3, 4, 3))


# ------------------------------------------------------------ the gradient


@pytest.mark.parametrize("options", [
    {}, {"negative": "drop", "eps_inside": False}, {"workers": 2}, {"burnin_epochs": 9, "unbiased_burnin": True},
], ids=str)  # fmt: skip
def test_gradcheck(options):
    conv = nn.Conv2d(2, 3, 2).double()
    norm = layer(conv, **options)
    norm.plan(sgd_batch=4, steps_per_epoch=1 if "burnin_epochs" in options else 0, epochs=10)
    for _ in range(5):
        x = image(conv)[:, :, :3, :3]
        norm(conv(x), x)
        move(conv, 0.3)
    y = conv(x).detach().requires_grad_()

    def call(y, weight, bias):
        fresh = copy.deepcopy(norm)  # each call finds the same history
        del fresh.weight, fresh.bias
        fresh.weight, fresh.bias = weight, bias
        return fresh(y, x)

    assert torch.autograd.gradcheck(call, (y, norm.weight, norm.bias), fast_mode=True)


@pytest.mark.parametrize("negative", ["max", "drop"])
def test_through_the_window_the_gradient_is_that_of_the_whole_and_orthogonal_to_each_filter(negative):
    conv = nn.Conv2d(2, 3, 2, bias=False).double()
    norm = layer(conv, through_window=True, negative=negative)
    for _ in range(5):
        x = image(conv)[:, :, :3, :3]
        norm(conv(x), x)
        move(conv, 0.1)

    def call(theta):
        fresh = copy.deepcopy(norm)
        del fresh._site.conv.weight
        fresh._site.conv.weight = theta
        return fresh(torch.conv2d(x, theta), x)

    theta = conv.weight.detach().requires_grad_()
    assert torch.autograd.gradcheck(call, (theta,), fast_mode=True)
    # mu~ and nu~ are not homogeneous in theta, but nearly so where the weights hardly changed
    (grad,) = torch.autograd.grad(call(theta).pow(3).sum(), theta)
    cosine = torch.cosine_similarity(grad.flatten(1), theta.flatten(1)).abs().max()
    norm.through_window = False
    (detached,) = torch.autograd.grad(call(theta).pow(3).sum(), theta)
    assert cosine < torch.cosine_similarity(detached.flatten(1), theta.flatten(1)).abs().max()
