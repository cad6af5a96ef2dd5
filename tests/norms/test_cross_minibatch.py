"""Cross-mini-batch normalization against a loop over the mini-batches."""

import numpy as np
import torch
from convs import CONVS, double, image, layer, mean_of


def test_cmbn_equals_a_loop_over_the_mini_batches():
    conv = double(CONVS[0])
    norm = layer(conv, "cmbn", workers=4, momentum=0.1)
    y = (conv(image(conv, 8)) + 5).detach().requires_grad_()
    means, squares, outs = [], [], []
    running_mean, running_var = torch.zeros(4).double(), torch.ones(4).double()
    for worker in range(4):
        mine = y[worker::4]
        means.append(mean_of(mine))
        squares.append(mean_of(mine.square()))
        past_means, past_squares = [m.detach() for m in means[:-1]], [s.detach() for s in squares[:-1]]
        mean = torch.stack([*past_means, means[-1]]).mean(0)
        var = torch.stack([*past_squares, squares[-1]]).mean(0) - mean.square()
        seen = (worker + 1) * mine.numel() // 4
        running_mean = 0.9 * running_mean + 0.1 * mean.detach()
        running_var = 0.9 * running_var + 0.1 * var.detach() * seen / (seen - 1)
        z = (mine - mean.view(1, -1, 1, 1)) / (var + 1e-5).sqrt().view(1, -1, 1, 1)
        outs.append(z * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1))
    expected = torch.stack(outs, 1).flatten(0, 1)
    out = norm(y)
    assert torch.allclose(out, expected, rtol=0, atol=1e-12)
    assert torch.allclose(norm.running_mean, running_mean, rtol=0, atol=1e-12)
    assert torch.allclose(norm.running_var, running_var, rtol=0, atol=1e-12)
    grad = torch.randn_like(out)
    for ours, theirs in zip(
        *(torch.autograd.grad(o, (y, norm.weight, norm.bias), grad) for o in (out, expected)), strict=True
    ):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-11)


def test_cmbn_is_the_formula_over_the_mini_batches_so_far():
    conv = double(CONVS[0])
    norm = layer(conv, "cmbn", workers=3)
    y = conv(image(conv, 6)).detach()
    out, values = norm(y).detach().numpy(), y.numpy()
    gamma, beta = norm.weight.detach().numpy(), norm.bias.detach().numpy()
    for worker in range(3):
        so_far = [values[j::3] for j in range(worker + 1)]
        for c in range(values.shape[1]):
            mu = sum(batch[:, c].sum() / batch[:, c].size for batch in so_far) / len(so_far)
            square = sum((batch[:, c] ** 2).sum() / batch[:, c].size for batch in so_far) / len(so_far)
            wanted = gamma[c] * (values[worker::3, c] - mu) / np.sqrt(square - mu**2 + 1e-5) + beta[c]
            np.testing.assert_allclose(out[worker::3, c], wanted, atol=1e-12)


def test_cmbn_of_one_worker_is_batch_normalization():
    conv = CONVS[0]
    ours, bn = layer(conv, "cmbn", momentum=0.1), layer(conv, "bn")
    y = conv(image(conv).float())
    assert torch.allclose(ours(y), bn(y), atol=1e-6)
    assert torch.allclose(ours.running_var, bn.running_var, atol=1e-6)
