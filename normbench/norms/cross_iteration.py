"""norm=cbn_naive, cbn: statistics over a worker's last batches, as they were or carried on.

Both normalize by two populations pooled, the present batch and what the window remembers.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from normbench.config import ConfigError
from normbench.kernels import patches
from normbench.kernels.channels import Pooled, channel_moments
from normbench.kernels.snapshot import snapshot
from normbench.norms.base import Site
from normbench.norms.running import RunningNorm
from normbench.parallel.workers import merge, split

PAPER_BURNIN = 0.25  # of the run's epochs: 25 of the paper's 100 on ImageNet, 3 of 12 on COCO


class NaiveCrossIterationBatchNorm(RunningNorm):
    """Batch norm over a worker's last k batches, as they were (Yao et al. 2021, Naive CBN).

        y = gamma_c (x - mu) / sqrt(sigma^2 + eps) + beta_c,  sigma^2 = nu - mu^2

    mu, nu: the averages, over this batch and the k-1 before, of mean(x) and mean(x^2) over a
        worker's images and all positions of channel c. The past is constant to the gradient.
    Training: until the burn-in ends it is BN; then the window grows from 1 to k batches. k = 1 is
        BN. Every worker has a window of its own. running_mean and running_var are moving averages
        of the present batch's mean and unbiased variance.
    Evaluation: the running statistics. As in the authors' code they lack the variance between
        batches, so at batch 1 and 2 eval_stats=precise is the better choice.

    Shapes: y (N, C, ...) in and out
        weight, bias, running_mean, running_var: (C,)
        past_mean, past_square: (workers, k-1, C)
        steps: (), the training steps so far

    Paper and code
        burnin_epochs: a layer that was never told the run's length has no burn-in.
        eps_inside=false (authors' code): the gradient for a variance of 0 is finite here.

    Raises ConfigError for a window below 1, and for a single value per channel.
    """

    name = "cbn_naive"
    over = "a worker's last k batches, one channel, all positions"
    paper = "Yao et al. 2021"
    histories = {"past_mean": 0, "past_square": 0}

    past_mean: Tensor
    past_square: Tensor
    steps: Tensor

    def __init__(
        self, site: Site, *, eps: float = 1e-5, momentum: float = 0.1, window: int = 4,
        burnin_epochs: float | None = None, eps_inside: bool = True, unbiased_burnin: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(site, eps=eps, momentum=momentum)
        if window < 1:
            raise ConfigError(
                f"norm={self.name} needs window >= 1, which is the present batch alone, got window={window}"
            )
        self.window, self.burnin_epochs = window, burnin_epochs
        self.eps_inside, self.unbiased_burnin = eps_inside, unbiased_burnin
        self.drop_negative = False
        self.burnin = 0  # steps; plan() sets it
        for name in ("past_mean", "past_square"):
            self.register_buffer(name, site.full(0.0, self.workers, window - 1, self.channels))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64, device=self.running_mean.device))

    def plan(self, *, sgd_batch: int, steps_per_epoch: int, epochs: int) -> None:
        wanted = PAPER_BURNIN * epochs if self.burnin_epochs is None else self.burnin_epochs
        self.burnin = round(wanted * steps_per_epoch)

    def evaluate(self, y: Tensor) -> Tensor:
        if self.eps_inside:
            return super().evaluate(y)
        var = (self.running_var.sqrt() + self.eps).square()
        return F.batch_norm(y, self.running_mean, var, self.weight, self.bias, False, 0.0, 0.0)

    def forward(self, y: Tensor, x: Tensor | None = None) -> Tensor:
        """x: the conv's input, which only cbn needs."""
        if not self.training:
            return super().forward(y)
        # The window's products are no activations.
        with torch.autocast(y.device.type, enabled=False):
            return self._over_window(y, x, update=self.observe(y))

    def _over_window(self, y: Tensor, x: Tensor | None, update: bool) -> Tensor:
        self.require_values(y, self.workers)
        by_worker = split(y, self.workers)
        values = by_worker.numel() // by_worker.shape[1]
        with torch.no_grad():
            mean, var = channel_moments(by_worker)
            bessel = torch.ones_like(mean)
            if self.unbiased_burnin:
                bessel = torch.where(self.steps < self.burnin, values / (values - 1) * bessel, bessel)
        past = self._past(mean)
        batch = mean, var * bessel, snapshot(bessel)
        affine = self.tiled_affine(self.workers)
        out = Pooled.apply(by_worker, *batch, *past, *affine, self.eps, self.eps_inside)
        if update:
            with torch.no_grad():
                mean, var = mean.view(self.workers, -1), var.view(self.workers, -1)
                self._remember(mean, var, x, y)
                self._run(mean, var * (values / (values - 1)))
        return merge(out, y)

    def _run(self, mean: Tensor, var: Tensor) -> None:
        """Moves the running statistics toward the present batches', (workers, C)."""
        mean, var = mean.to(self.running_mean.dtype), var.to(self.running_var.dtype)
        moved = self.running_mean.lerp(mean, self.momentum), self.running_var.lerp(var, self.momentum)
        self.follow(*moved, rate=1)

    # ------------------------------------------------------------ the window

    def _past(self, mean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The past batches' mean and variance, the present one's weight, (workers * C,) each."""
        slots = self.window - 1
        if slots == 0:
            return torch.zeros_like(mean), torch.zeros_like(mean), torch.ones_like(mean)
        means, squares = (past.to(mean.dtype) for past in self._compensated())
        variances = squares - means.square()
        # A slot counts if it was written after the burn-in; slot i was last written
        # (steps - 1 - i) mod slots steps ago.
        steps = snapshot(self.steps)
        age = (steps - 1 - torch.arange(slots, device=mean.device)).remainder(slots)
        counts = (age < (steps - self.burnin).clamp(0, slots)).view(1, slots, 1).expand_as(means)
        if self.drop_negative:
            counts = counts & (variances >= 0)
        number = counts.sum(1)
        weights = counts / number.clamp_min(1).unsqueeze(1).to(mean.dtype)
        past_mean = (weights * means).sum(1)
        past_var = (weights * (variances.clamp_min(0) + (means - past_mean.unsqueeze(1)).square())).sum(1)
        weight_of_present = 1 / (1 + number.to(mean.dtype))
        return past_mean.flatten(), past_var.flatten(), weight_of_present.flatten()

    def _compensated(self) -> tuple[Tensor, Tensor]:
        """Means of x and of x^2 of the batches in the window, (workers, k-1, C)."""
        return snapshot(self.past_mean), snapshot(self.past_square)

    def _remember(self, mean: Tensor, var: Tensor, x: Tensor | None, y: Tensor) -> None:
        """Writes the present batches' statistics (workers, C) over the oldest in the window."""
        self._write(self.past_mean, mean)
        self._write(self.past_square, var + mean.square())
        self.steps += 1

    def _write(self, past: Tensor, present: Tensor) -> None:
        if self.window > 1:
            slot = self.steps.remainder(self.window - 1).view(1)
            past.index_copy_(1, slot, present.flatten(1).unsqueeze(1).to(past.dtype))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, window={self.window}"


class CrossIterationBatchNorm(NaiveCrossIterationBatchNorm):
    """Batch norm over the last k batches, carried to the present weights (Yao et al. 2021).

        mu~ = mu + rho <P, theta_now - theta_then>
        nu~ = nu + 2 rho <U, theta_now - theta_then>

    As cbn_naive, with mu and nu of the batch tau steps ago replaced by these first-order Taylor
    expansions in the weights theta of the conv in front. mu~ is exact for a change of theta alone,
    nu~ short by E[<theta_now - theta_then, p>^2]. A bias of the conv, and the layers before it,
    count as constant. The window remembers P, U and what is left of mu and nu at theta = 0, so no
    old weights: (k-1) (|theta| + C_in kernel + 2 C) numbers per worker.
    P = E[p]: the mean input patch.
    U_c = E[x_c p]: the mean of output times patch.

    Shapes
        y: the conv's output, x: its input; beyond those of cbn_naive:
        past_patch: (workers, k-1, groups x D), D = C_in / groups x kernel
        past_product: (workers, k-1, C x D)

    Paper and code
        negative: the paper takes max(nu~, mu~^2), a variance of 0; the authors' code leaves that
            batch and channel out and divides by the number of those left.
        through_window=true is ours: the gradient reaches theta through the compensated terms, which
            gives back BN's indifference to the scale of a filter.

    Raises ConfigError for a layer that is no plain conv, and as cbn_naive.
    """

    name = "cbn"
    over = "a worker's last k batches carried to the present weights, one channel, all positions"
    needs_input = True
    histories = {"past_mean": 0, "past_square": 0, "past_patch": 0, "past_product": 0}
    exact_gradient = False  # the way through the window is closed to theta

    past_patch: Tensor
    past_product: Tensor

    def __init__(
        self, site: Site, *, eps: float = 1e-5, momentum: float = 0.1, window: int = 4,
        burnin_epochs: float | None = None, eps_inside: bool = True, unbiased_burnin: bool = False,
        rho: float = 1.0, negative: str = "max", through_window: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            site, eps=eps, momentum=momentum, window=window, burnin_epochs=burnin_epochs, eps_inside=eps_inside,
            unbiased_burnin=unbiased_burnin,
        )  # fmt: skip
        patches.check_patches(site.conv, self.name)
        if negative not in ("max", "drop"):
            raise ConfigError(f"norm=cbn takes negative=max (paper) or drop (authors' code), got negative={negative}")
        # In a Site, the conv is no part of this layer, but a deepcopy of the network copies both.
        self._site = site
        self.rho, self.through_window = rho, through_window
        self.drop_negative = negative == "drop"
        theta = patches.filters(site.conv)
        # Three axes: .to(memory_format) would permute four.
        self.register_buffer(
            "past_patch", site.full(0.0, self.workers, window - 1, patches.groups_of(site.conv) * theta.shape[1])
        )
        self.register_buffer("past_product", site.full(0.0, self.workers, window - 1, theta.numel()))

    def _theta(self) -> Tensor:
        theta = patches.filters(self._site.conv).to(self.past_product.dtype)
        return theta if self.through_window else theta.detach()

    def carried(self) -> tuple[Tensor, Tensor] | None:
        """In the burn-in too, in which they do not count yet; zeros for a slot not yet written."""
        slots = self.window - 1
        if slots == 0:
            return None
        newest_first = (self.steps - 1 - torch.arange(slots, device=self.steps.device)).remainder(slots)
        means, squares = self._compensated()
        return means[0, newest_first], squares[0, newest_first]

    def _compensated(self) -> tuple[Tensor, Tensor]:
        theta = self._theta()
        patch = self.past_patch.view(self.workers, self.window - 1, -1, theta.shape[1])
        product = self.past_product.view(self.workers, self.window - 1, *theta.shape)
        if self.through_window:
            # Backward needs them as they are now, before this step is written over the oldest.
            patch, product = snapshot(patch.clone()), snapshot(product.clone())
        means, squares = patches.along_patch(theta, patch), patches.along_product(theta, product)
        if not self.through_window:
            means, squares = snapshot(means), snapshot(squares)
        return snapshot(self.past_mean) + self.rho * means, snapshot(self.past_square) + 2 * self.rho * squares

    def _remember(self, mean: Tensor, var: Tensor, x: Tensor | None, y: Tensor) -> None:
        assert x is not None, "norm=cbn is called with the conv's output and its input"
        if self.window == 1:
            return
        conv, theta = self._site.conv, self._theta().detach()
        patch = patches.mean_patch(conv, x, y, self.workers)
        product = patches.mean_product(conv, x, y, self.workers)
        self._write(self.past_patch, patch)
        self._write(self.past_product, product)
        mean_left = mean - self.rho * patches.along_patch(theta, patch.unsqueeze(1)).squeeze(1)
        square_left = var + mean.square() - 2 * self.rho * patches.along_product(theta, product.unsqueeze(1)).squeeze(1)
        self._write(self.past_mean, mean_left)
        self._write(self.past_square, square_left)
        self.steps += 1
