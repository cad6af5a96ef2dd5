"""norm=frn: filter response normalization, with the activation that belongs to it."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from normbench.config import ConfigError
from normbench.kernels.maps import column, dot, over_images, rows
from normbench.norms.base import Norm, Site
from normbench.parallel.workers import merge

LEARN_EPS = ("auto", True, False)
EPS_INIT = 1e-4  # where a learned epsilon starts


class FilterResponseNorm(Norm):
    """Filter response norm and its thresholded linear unit (Singh & Krishnan 2019, section 3).

        z = max(y, tau_c),  y = gamma_c x / sqrt(nu^2 + |eps|) + beta_c

    nu^2: the mean of x^2 over the positions of one channel of one image. No mean is subtracted.
    Training and evaluation: the same; no other image has a say.

    Shapes: y (N, C, ...) in and out
        weight, bias: (C,)
        tau: (C,), starting at 0, where the unit is ReLU; where the layer takes a ReLU's place
        eps_l: ()

    Paper and code
        Where no ReLU follows, as behind the last conv of a residual block, it is FRN without the
            unit: the paper's networks (ResNet v2) have no such place, and Wu's ResNet v1 with FRN
            does just that. The ReLU behind a residual addition is no norm's and stays a ReLU, where
            Wu has the unit.
        learn_eps: eps + |eps_l|, one number per layer that starts at 1e-4: without it FRN of a
            single position is sign(x). With auto every layer carries an eps_l, with gradient 0 on
            larger maps, since it sees its map size only when it runs. That eps_l adds to eps, and
            where it starts, is from memory of the paper.
    """

    name = "frn"
    over = "one image, one channel, all positions"
    paper = "Singh & Krishnan 2019"
    batch_free = True
    owns_activation = True

    tau: nn.Parameter | None
    eps_l: nn.Parameter | None

    def __init__(self, site: Site, *, eps: float = 1e-6, learn_eps: str | bool = "auto") -> None:
        super().__init__(site)
        if learn_eps not in LEARN_EPS:
            raise ConfigError(f"norm.learn_eps={learn_eps}: one of auto, true, false")
        self.eps = eps
        self.learn_eps = learn_eps
        self.register_parameter("tau", nn.Parameter(site.full(0.0)) if site.relu else None)
        eps_l = site.full(EPS_INIT)[0].clone()
        self.register_parameter("eps_l", None if learn_eps is False else nn.Parameter(eps_l))

    def forward(self, y: Tensor) -> Tensor:
        eps: float | Tensor = self.eps
        if self.eps_l is not None:  # times 0 where not in use: a gradient of 0
            eps = eps + float(self.learn_eps is True or y[0, 0].numel() == 1) * self.eps_l.abs()
        out: Tensor = _FilterResponse.apply(y, self.weight, self.bias, self.tau, eps)
        return out

    def extra_repr(self) -> str:
        return f"{self.channels}, tlu={self.tau is not None}, learn_eps={self.learn_eps}"


class _FilterResponse(torch.autograd.Function):
    """The formula with its backward by hand. Keeps y and what stands above the threshold.

    With s = gamma / sqrt(nu^2 + eps), g the gradient where y > tau, L positions:
    dx = s g - x s <g, x> / (L (nu^2 + eps)).
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, gamma: Tensor, beta: Tensor, tau: Tensor | None, eps: float | Tensor) -> Tensor:
        x, images = rows(y), y.shape[0]
        squares = torch.linalg.vector_norm(x, dim=1, keepdim=True).square() / x.shape[1]
        inverse = (squares + eps).rsqrt()
        out = x * (column(gamma, images) * inverse)
        if tau is None:
            above = None
            out += column(beta, images)
        else:
            above = out.add_(column(beta - tau, images)).relu_()
            out = above + column(tau, images)
            above = above.to(y.dtype)
        ctx.save_for_backward(y, above, inverse, gamma)
        return merge(out.to(y.dtype), y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        y, above, inverse, gamma = ctx.saved_tensors
        x, dz = rows(y), rows(grads[0])
        images, channels = y.shape[:2]
        g = dz if above is None else torch.ops.aten.threshold_backward(dz, above.to(dz.dtype), 0)
        total, dbeta = over_images(dz.sum(1), channels), over_images(g.sum(1), channels)
        along = dot(g, x) * inverse  # <g, x / sqrt(nu^2 + eps)>
        scale = column(gamma, images) * inverse
        towards = scale * along * inverse
        dx = (g * scale if above is None else g.mul_(scale)).addcmul_(x, towards / -x.shape[1])
        dgamma = over_images(along, channels)
        dtau = None if above is None else total - dbeta
        deps = (column(gamma, images) * along * inverse.square()).sum() / -2 if ctx.needs_input_grad[4] else None
        return merge(dx.to(y.dtype), y), dgamma, dbeta, dtau, deps
