"""Cross-iteration and cross-mini-batch normalization, against the papers' formulas and the authors' layer."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from normbench import norms
from normbench.config import ConfigError
from normbench.norms import patches

torch.manual_seed(0)
CONVS = [
    nn.Conv2d(3, 4, 3, padding=1),
    nn.Conv2d(3, 4, (3, 1), stride=2, padding=(2, 0), bias=False),
    nn.Conv2d(4, 6, 3, groups=2, dilation=2, padding=2),
    nn.Conv2d(4, 4, 3, groups=4, padding="same"),
    nn.Conv2d(3, 5, 3, padding=1, padding_mode="reflect"),
    nn.Conv2d(3, 5, 2, padding=1, padding_mode="circular", stride=2),
    nn.Conv1d(3, 4, 3, stride=2),
    nn.Conv3d(2, 4, (1, 3, 3), padding=(0, 1, 1)),
    nn.Linear(5, 4),
]


def image(conv: nn.Module, batch: int = 4) -> torch.Tensor:
    """A random input that fits the layer."""
    if isinstance(conv, nn.Linear):
        return torch.randn(batch, conv.in_features, dtype=torch.float64)
    return torch.randn(batch, conv.in_channels, *[6, 5, 7][: len(conv.kernel_size)], dtype=torch.float64)


def double(conv: nn.Module) -> nn.Module:
    return copy.deepcopy(conv).double()


def layer(conv: nn.Module, name: str = "cbn", **options) -> norms.Norm:
    """A norm with some gamma and beta."""
    norm = norms.build(name, conv, **options)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 1.5, norm.channels))
        norm.bias.copy_(torch.linspace(-1, 1, norm.channels))
    return norm


def move(conv: nn.Module, by: float) -> None:
    with torch.no_grad():
        conv.weight += by * torch.randn_like(conv.weight)


def mean_of(y: torch.Tensor) -> torch.Tensor:
    return y.transpose(0, 1).flatten(1).mean(1)


# ---------------------------------------------------------------------------- the gradients of the statistics


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


# ---------------------------------------------------------------------------- the whole layer


class AuthorsLayer(nn.Module):
    """The authors' layer by what it does, not how: lists of old statistics, gradients and weights; torch's autograd."""

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


def test_a_window_of_one_batch_is_batch_normalization():
    conv = CONVS[0]
    ours, bn = layer(conv, window=1), layer(conv, "bn")
    for _ in range(3):
        x = image(conv).float()
        assert torch.allclose(ours(conv(x), x), bn(conv(x)), atol=1e-6)
    assert torch.allclose(ours.running_var, bn.running_var)
    assert ours.past_product.numel() == 0


def test_the_burn_in_is_batch_normalization_and_the_window_then_grows_to_k():
    conv = double(CONVS[0])
    ours, bn = layer(conv, window=3, burnin_epochs=0.5), layer(conv, "bn")
    ours.plan(sgd_batch=4, steps_per_epoch=4, epochs=10)
    for step in range(6):
        x = image(conv)
        share = ours._past(torch.zeros(4, dtype=torch.float64))[2]
        assert torch.allclose(share, torch.full_like(share, 1 / [1, 1, 1, 2, 3, 3][step]))
        assert torch.allclose(ours(conv(x), x), bn(conv(x)), atol=1e-12) == (step < 3)
    assert torch.allclose(ours.running_var, bn.running_var, atol=1e-12)


def test_the_burn_in_is_a_quarter_of_the_run_unless_given():
    norm = norms.build("cbn", CONVS[0])
    assert norm.burnin == 0
    norm.plan(sgd_batch=256, steps_per_epoch=5000, epochs=100)
    assert norm.burnin == 25 * 5000


def test_without_compensation_it_is_the_naive_layer():
    conv = double(CONVS[0])
    ours, naive = layer(conv, rho=0.0), layer(conv, "cbn_naive")
    for _ in range(6):
        x = image(conv)
        assert torch.allclose(ours(conv(x), x), naive(conv(x)), rtol=0, atol=1e-12)
        move(conv, 0.1)


@pytest.mark.parametrize("name", ["cbn", "cbn_naive"])
def test_unchanged_weights_and_one_batch_repeated_are_batch_normalization(name):
    conv = double(CONVS[2])
    ours, bn = layer(conv, name), layer(conv, "bn")
    x = image(conv)
    for _ in range(5):
        assert torch.allclose(ours(conv(x), x), bn(conv(x)), rtol=0, atol=1e-12)


# ---------------------------------------------------------------------------- the gradient


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
        del fresh._conv[0].weight
        fresh._conv[0].weight = theta
        return fresh(torch.conv2d(x, theta), x)

    theta = conv.weight.detach().requires_grad_()
    assert torch.autograd.gradcheck(call, (theta,), fast_mode=True)
    # mu~ and nu~ are not homogeneous in theta, but nearly so where the weights hardly changed
    (grad,) = torch.autograd.grad(call(theta).pow(3).sum(), theta)
    cosine = torch.cosine_similarity(grad.flatten(1), theta.flatten(1)).abs().max()
    norm.through_window = False
    (detached,) = torch.autograd.grad(call(theta).pow(3).sum(), theta)
    assert cosine < torch.cosine_similarity(detached.flatten(1), theta.flatten(1)).abs().max()


# ---------------------------------------------------------------------------- workers, state, dtypes


@pytest.mark.parametrize("name", ["cbn", "cbn_naive"])
@pytest.mark.parametrize("conv", [CONVS[0], CONVS[2], CONVS[8]], ids=str)
def test_virtual_workers_equal_real_ones_each_with_its_window(name, conv):
    conv = double(conv)
    together, apart = layer(conv, name, workers=3), [layer(conv, name) for _ in range(3)]
    for _ in range(6):
        x = image(conv, 6)
        y = conv(x).detach().requires_grad_()
        out = together(y, x)
        grad = torch.randn_like(out)
        (dy,) = torch.autograd.grad(out, y, grad)
        for worker, norm in enumerate(apart):
            mine = conv(x[worker::3]).detach().requires_grad_()
            expected = norm(mine, x[worker::3])
            assert torch.allclose(out[worker::3], expected, rtol=0, atol=1e-12)
            assert torch.allclose(dy[worker::3], torch.autograd.grad(expected, mine, grad[worker::3])[0], atol=1e-12)
        move(conv, 0.1)
    assert torch.allclose(together.running_var, apart[0].running_var, rtol=0, atol=1e-14)


@pytest.mark.parametrize("copier", ["deepcopy", "state_dict"])
def test_a_copy_in_the_middle_goes_on_bitwise(copier):
    torch.manual_seed(3)
    conv = nn.Conv2d(3, 4, 3)
    model = nn.ModuleList([conv, layer(conv, workers=2, window=3)])
    batches = [torch.randn(4, 3, 6, 6) for _ in range(7)]

    def run(model, batches):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for x in batches:
            optimizer.zero_grad()
            model[1](model[0](x), x).square().mean().backward()
            optimizer.step()
        return model

    run(model, batches[:4])
    if copier == "deepcopy":
        other = copy.deepcopy(model)
    else:
        conv = nn.Conv2d(3, 4, 3)
        other = nn.ModuleList([conv, norms.build("cbn", conv, workers=2, window=3)])
        other.load_state_dict(model.state_dict())
    for (name, a), b in zip(
        run(model, batches[4:]).state_dict().items(), run(other, batches[4:]).state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("conv", CONVS, ids=str)
def test_the_window_remembers_what_the_formula_says_and_no_weights(conv):
    norm = norms.build("cbn", conv, workers=2, window=4)
    remembered = sum(getattr(norm, name).numel() for name in norm.histories)
    kernel = getattr(conv, "kernel_size", ())
    inputs = conv.in_channels if kernel else conv.in_features
    each = conv.weight.numel() + inputs * int(np.prod(kernel)) + 2 * norm.channels
    assert remembered == 2 * 3 * each
    assert not any(name.endswith("weight") and name != "weight" for name in norm.state_dict())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["cbn", "cbn_naive", "cmbn"])
def test_half_precision_keeps_its_dtype_and_format_and_stays_near_double(name, dtype):
    conv = nn.Conv2d(3, 4, 3)
    exact, half = layer(double(conv), name, workers=2), layer(conv, name, workers=2)
    for _ in range(3):
        x = image(conv, 8)
        y = conv.double()(x).detach()
        conv.float()
        low_y, low_x = (t.to(dtype).contiguous(memory_format=torch.channels_last) for t in (y, x))
        low = half(low_y, low_x) if half.needs_input else half(low_y)
        high = exact(y, x) if exact.needs_input else exact(y)
        assert low.dtype == dtype
        assert low.is_contiguous(memory_format=torch.channels_last)
        assert (low.double() - high).abs().max() < 0.05


def test_under_autocast_the_window_is_kept_in_single_precision():
    conv = nn.Conv2d(3, 4, 3)
    norm, plain = layer(conv), layer(conv)
    for _ in range(3):
        x = torch.randn(4, 3, 6, 6)
        with torch.autocast("cpu", torch.bfloat16):
            y = conv(x)
            out = norm(y, x)
        assert out.dtype == torch.bfloat16
        assert torch.allclose(out.float(), plain(y.float(), x), atol=0.05)
        assert torch.equal(norm.past_mean, plain.past_mean)


@pytest.mark.parametrize("name", ["cbn", "cbn_naive", "cmbn"])
@pytest.mark.parametrize("options", [{}, {"eps_inside": False}], ids=str)
def test_a_constant_channel_is_finite_and_so_is_its_gradient(name, options):
    if name == "cmbn" and options:
        return
    conv = nn.Conv2d(3, 4, 1)
    norm = layer(conv, name, workers=2, **options)
    for value in (3.0, 3.0, -70.0):
        x = torch.full((4, 3, 1, 1), value)
        y = conv(x).detach().requires_grad_()
        out = norm(y, x) if norm.needs_input else norm(y)
        out.square().sum().backward()
        assert out.isfinite().all() and y.grad.isfinite().all()


def test_a_weight_under_a_parametrization_is_the_one_that_counts():
    conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3, bias=False)).double()
    norm = layer(conv, window=2)
    x = image(conv)
    norm(conv(x), x)
    with torch.no_grad():
        conv.parametrizations.weight.original0.mul_(1.7)
    assert torch.allclose(norm._compensated()[0][0, 0], mean_of(conv(x)), rtol=0, atol=1e-12)


def test_measuring_leaves_the_window_alone():
    conv = nn.Conv2d(3, 4, 3)
    norm = layer(conv)
    x = torch.randn(4, 3, 6, 6)
    norm(conv(x), x)
    before = {name: value.clone() for name, value in norm.state_dict().items() if not name.startswith("running")}
    norm.start_measuring()
    norm(conv(x), x)
    norm.finish_measuring()
    assert all(torch.equal(norm.state_dict()[name], value) for name, value in before.items())
    assert torch.allclose(norm.running_mean, mean_of(conv(x)), atol=1e-6)


@pytest.mark.parametrize("name", ["cbn", "cbn_naive", "cmbn"])
def test_compiles_in_one_graph_to_the_same_numbers(name):
    torch._dynamo.reset()
    conv = nn.Conv2d(3, 4, 3)
    eager = layer(conv, name, workers=2, **({} if name == "cmbn" else {"window": 3}))
    compiled = copy.deepcopy(eager)
    call = torch.compile(lambda *inputs: compiled(*inputs), fullgraph=True, backend="aot_eager_decomp_partition")
    for _ in range(4):
        x = torch.randn(4, 3, 6, 6)
        ys = [conv(x).detach().requires_grad_() for _ in range(2)]
        outs = [f(y, x) if eager.needs_input else f(y) for f, y in zip((eager, call), ys, strict=True)]
        assert torch.allclose(*outs, atol=1e-5)
        for out in outs:
            out.square().sum().backward()
        assert torch.allclose(ys[0].grad, ys[1].grad, atol=1e-5)
    for a, b in zip(eager.buffers(), compiled.buffers(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_evaluation_uses_running_statistics_with_eps_where_the_option_has_it():
    conv = nn.Conv2d(3, 4, 3)
    x = torch.randn(4, 3, 6, 6)
    for eps_inside in (True, False):
        norm = layer(conv, eps=0.1, eps_inside=eps_inside)
        norm(conv(x), x)
        norm.eval()
        std = (norm.running_var + 0.1).sqrt() if eps_inside else norm.running_var.sqrt() + 0.1
        scale, mean, shift = (v.view(1, -1, 1, 1) for v in (norm.weight / std, norm.running_mean, norm.bias))
        assert torch.allclose(norm(conv(x), x), (conv(x) - mean) * scale + shift, atol=1e-5)


@pytest.mark.parametrize("name, options, says", [
    ("cbn", {"window": 0}, "window=0"), ("cbn", {"negative": "clip"}, "negative=clip"),
    ("cbn_naive", {"window": -1}, "window=-1"),
])  # fmt: skip
def test_says_what_is_wrong(name, options, says):
    with pytest.raises(ConfigError, match=says):
        norms.build(name, nn.Conv2d(3, 4, 3), **options)


def test_does_not_stand_behind_a_transposed_conv():
    with pytest.raises(ConfigError, match="ConvTranspose2d"):
        norms.build("cbn", nn.ConvTranspose2d(3, 4, 3))


@pytest.mark.parametrize("name", ["cbn", "cbn_naive", "cmbn"])
def test_a_single_value_per_channel_is_an_error(name):
    conv = nn.Linear(3, 4)
    norm, x = norms.build(name, conv, workers=2), torch.randn(2, 3)
    with pytest.raises(ConfigError, match="two values"):
        norm(conv(x), x) if norm.needs_input else norm(conv(x))


# ---------------------------------------------------------------------------- cmbn


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


def test_cmbn_of_one_worker_is_batch_normalization():
    conv = CONVS[0]
    ours, bn = layer(conv, "cmbn", momentum=0.1), layer(conv, "bn")
    y = conv(image(conv).float())
    assert torch.allclose(ours(y), bn(y), atol=1e-6)
    assert torch.allclose(ours.running_var, bn.running_var, atol=1e-6)
