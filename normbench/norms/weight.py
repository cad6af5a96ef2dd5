"""norm=wn, scn: norms of the weights. The activations are only shifted.

Each reparametrizes its conv by torch's parametrize: the conv's weight is computed from a free one
at each forward, and the free one is what the state_dict and the optimizer know, as
parametrizations.weight.original.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from normbench.kernels.filters import Direction, UnitGain
from normbench.kernels.maps import affine
from normbench.kernels.values import statistics_dtype
from normbench.norms.base import Norm, Site
from normbench.parallel import dist

UNIT_RELU_GAIN = math.sqrt(2 / (1 - 1 / math.pi))  # makes relu(x)'s variance that of x


class FilterNorm(Norm):
    """The base of norms of weights: y = weight_c x + bias_c behind a conv of normalized filters.

    The length of a filter is this layer's weight: behind the conv it says the same as in it, and
    inherits gamma as any norm's weight does. A bias of the conv becomes the layer's.
    """

    batch_free = True
    alters_conv = True

    def __init__(self, site: Site, direction: nn.Module) -> None:
        super().__init__(site)
        conv = site.conv
        if conv.bias is not None:
            self.bias = nn.Parameter(conv.get_parameter("bias").detach().clone())
            conv.register_parameter("bias", None)
        parametrize.register_parametrization(conv, "weight", direction)

    def forward(self, y: Tensor) -> Tensor:
        return affine(y, self.weight, self.bias)


class WeightNorm(FilterNorm):
    """Weight normalization (Salimans & Kingma 2016, section 2).

        y_c = g_c (v_c / ||v_c||) * x + b_c,  g = weight x scale

    ||v_c||: over all weights of a filter. Nothing is taken from the images, save for the first
        batch with data_init.
    scale: fixed, ||v|| as the conv was drawn, which leaves the conv as it was, as torch's
        weight_norm does; so what is learned starts as gamma: as 1, or as 0 in the last norm of a
        residual block.

    Shapes: y (N, C, ...) in and out
        weight, bias (b), scale: (C,)
        v: as the conv's weight, whose parametrizations.weight.original it is
        initialised: (), of data_init, whether the first batch has been

    Paper
        It learns g itself; against that, g has scale^2 times the learning rate here.
        data_init=true (section 3): the first training batch gives scale = 1 / sigma and b = beta -
            gamma mu / sigma, mu and sigma^2 (+ 1e-8) the mean and biased variance of v/||v|| * x
            over all workers' images and positions: the workers share their parameters.
    """

    name = "wn"
    over = "the weights of a filter"
    paper = "Salimans & Kingma 2016"

    scale: Tensor
    initialised: Tensor

    def __init__(self, site: Site, *, data_init: bool = False) -> None:
        lengths = torch.linalg.vector_norm(site.conv.get_parameter("weight").detach().flatten(1), dim=1)
        super().__init__(site, Direction())
        self.register_buffer("scale", lengths)
        # The first output depends on all workers' images, whose gradient takes that for constant.
        self.synchronized, self.exact_gradient = data_init, not data_init
        self._pending = data_init  # what initialised says, known without asking the device
        if data_init:
            self.register_buffer("initialised", torch.zeros((), dtype=torch.bool, device=lengths.device))

    def forward(self, y: Tensor) -> Tensor:
        gamma, bias = self.affine()
        if self._pending and self.training:
            self._initialise(y, gamma, bias)
            self._pending = False
        return affine(y, gamma * self.scale, bias)

    @torch.no_grad()
    def _initialise(self, y: Tensor, gamma: Tensor, bias: Tensor) -> None:
        x = y.transpose(0, 1).flatten(1).to(statistics_dtype(y))
        values = x.shape[1] * dist.world_size()  # every rank has as many images
        mean = dist.all_reduce(x.sum(1)) / values
        var = dist.all_reduce((x - mean.unsqueeze(1)).square().sum(1)) / values
        self.scale.copy_((var + 1e-8).rsqrt())
        bias.sub_(gamma * self.scale * mean)
        self.initialised.fill_(True)

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        if "initialised" in self._buffers:
            self._pending = not self.initialised.item()


class ScaledWeightStandardization(FilterNorm):
    """Standardized filters of unit gain, without a norm (Brock et al. 2021, section 4.1, eq. 4).

        z_c = g_c w_c * x + b_c,  w = (W - mean W) / (sd W sqrt(I))

    mean, sd: over the I weights of a filter, sd biased: x of variance 1 gives w * x of variance 1.
    Where a ReLU follows, the layer takes its place with y = relu_gain max(z, 0), which has variance
        1 again; elsewhere y = z.
    Training and evaluation: the same.

    Shapes: y (N, C, ...) in and out
        weight (g), bias (b): (C,)
        W: as the conv's weight, whose parametrizations.weight.original it is

    Paper and code
        relu_gain: the paper's sqrt(2 / (1 - 1/pi)) = 1.7129; the authors' code has
            1.7139588594436646, measured by sampling.
        eps: as in the authors' code; a constant filter is 0.
        A g that starts at 0 in the last norm of a residual block does what SkipInit does in the
            authors' networks. The rest of their recipe (scales of residual branches, gradient
            clipping) belongs to a network and not to a layer.
    """

    name = "scn"
    over = "the weights of a filter"
    paper = "Brock et al. 2021"
    owns_activation = True

    def __init__(self, site: Site, *, relu_gain: float = UNIT_RELU_GAIN, eps: float = 1e-4) -> None:
        super().__init__(site, UnitGain(eps))
        self.relu_gain = relu_gain

    def forward(self, y: Tensor) -> Tensor:
        if not self.relu:
            return super().forward(y)
        weight, bias = self.affine()
        return F.relu(affine(y, self.relu_gain * weight, self.relu_gain * bias))
