"""The papers' formulas, word for word in float64 NumPy: loops and sums, no norm function of any library.

Each takes (y, norm, x): the conv's output, the layer before the step (for gamma, beta, eps, running statistics), the conv's
input; and gives what the layer must put out in that training step of one worker.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


def normalized(values: Array, eps: float) -> Array:
    """The values of one set S: (x - mu) / sqrt(mean((x - mu)^2) + eps), GN paper eq. 1 and 2."""
    mu = values.sum() / values.size
    sigma = np.sqrt(((values - mu) ** 2).sum() / values.size + eps)
    return (values - mu) / sigma


def affine(out: Array, norm: Any) -> Array:
    """y = gamma_c x + beta_c, GN paper eq. 6."""
    gamma, beta = norm.weight.detach().numpy(), norm.bias.detach().numpy()
    return np.stack([gamma[c] * out[:, c] + beta[c] for c in range(out.shape[1])], axis=1)


def bn(y: Array, norm: Any, x: Array) -> Array:
    """S = the pixels of one channel, of all images (GN paper eq. 3; Ioffe & Szegedy Algorithm 1)."""
    out = np.empty_like(y)
    for c in range(y.shape[1]):
        out[:, c] = normalized(y[:, c], norm.eps)
    return affine(out, norm)


def ln(y: Array, norm: Any, x: Array) -> Array:
    """S = all channels and pixels of one image (eq. 4)."""
    return affine(np.stack([normalized(image, norm.eps) for image in y]), norm)


def instance(y: Array, norm: Any, x: Array) -> Array:
    """S = the pixels of one image and channel (eq. 5)."""
    return affine(np.stack([[normalized(channel, norm.eps) for channel in image] for image in y]), norm)


def gn(y: Array, norm: Any, x: Array) -> Array:
    """S = the pixels of one image in the channels with floor(k / (C/G)) = floor(i / (C/G)) (eq. 7)."""
    channels = y.shape[1]
    group = np.array([c // (channels // norm.groups) for c in range(channels)])
    out = np.empty_like(y)
    for i in range(len(y)):
        for g in range(norm.groups):
            out[i, group == g] = normalized(y[i, group == g], norm.eps)
    return affine(out, norm)


def frozen(y: Array, norm: Any, x: Array) -> Array:
    """Fixed statistics: (x - running_mean) / sqrt(running_var + eps), channel by channel."""
    mean, var = norm.running_mean.numpy(), norm.running_var.numpy()
    out = np.stack([(y[:, c] - mean[c]) / np.sqrt(var[c] + norm.eps) for c in range(y.shape[1])], axis=1)
    return affine(out, norm)


def none(y: Array, norm: Any, x: Array) -> Array:
    """The identity, and a bias."""
    beta = norm.bias.detach().numpy()
    return np.stack([y[:, c] + beta[c] for c in range(y.shape[1])], axis=1)


REFERENCES: dict[str, Callable[[Array, Any, Array], Array]] = {
    "bn": bn,
    "syncbn": bn,  # one worker is all workers
    "ln": ln,
    "in": instance,
    "gn": gn,
    "frozen": frozen,
    "none": none,
}
