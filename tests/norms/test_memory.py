"""What a layer keeps: beside its input for the backward pass, and from step to step as state. In numbers, not in maps."""

import math

import pytest
import torch
from torch import Tensor, nn

from normbench import norms

IN, C, N, W, SIDE = 8, 16, 8, 4, 12  # channels in and out, images, workers, side of the map
MAP = N * C * SIDE * SIDE
THETA, PATCH, K = C * IN * 9, IN * 9, 4  # a 3x3 conv's weights, one of its patches, cbn's window

KEPT = {  # fp32 numbers kept for backward beside the input itself
    "none": 0,
    "frozen": 0,
    "bn": 5 * W * C,  # mean, 1/sd, gamma and the running statistics, once for each worker
    "syncbn": 2 * C,  # mean and 1/sd
    "gn": 2 * N * 4,  # mean and 1/sd of each image's 4 groups
    "ln": 2 * N,
    "in": 2 * N * C,
    "brn": 5 * W * C,  # mean, sd, r, d, gamma
    "frn": MAP + N * C,  # its output, for the sign, as a ReLU would keep it; 1/nu
}
STATE = {
    "none": 0,
    "gn": 0,
    "ln": 0,
    "in": 0,
    "frn": 0,
    "lrn": 0,
    "evonorm_s0": 0,
    "bn": 2 * C,
    "syncbn": 2 * C,
    "frozen": 2 * C,
    "sn": 2 * C,
    "brn": 2 * C + 2 * W * C + 1,  # running statistics, each worker's own, the steps
    "cbn_naive": 2 * C + W * (K - 1) * 2 * C + 1,
    "cbn": 2 * C + W * (K - 1) * (THETA + PATCH + 2 * C) + 1,  # per worker (k-1)(|theta| + C_in k^2 + 2C)
}


def built(name: str) -> tuple[norms.Norm, Tensor, Tensor]:
    conv = nn.Conv2d(IN, C, 3, padding=1, bias=False)
    x = torch.randn(N, IN, SIDE, SIDE)
    return norms.build(name, conv, relu=True, workers=W), conv(x).detach().requires_grad_(), x


def kept_bytes(name: str) -> int:
    layer, y, x = built(name)
    there = {t.untyped_storage().data_ptr() for t in (*layer.parameters(), *layer.buffers(), y)}
    found: dict[int, int] = {}
    held = []

    def keep(t: Tensor) -> Tensor:
        held.append(t)  # so that no address is given out twice
        found[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        layer(y, x) if layer.needs_input else layer(y)
    return sum(size for address, size in found.items() if address not in there)


@pytest.mark.parametrize("name", KEPT)
def test_what_is_kept_for_the_backward_pass_is_the_formulas(name: str) -> None:
    assert kept_bytes(name) == 4 * KEPT[name]


@pytest.mark.parametrize("name", norms.names())
def test_no_layer_keeps_more_than_its_input_and_what_its_activation_needs(name: str) -> None:
    """LRN keeps two maps, its scales and their powers; a layer with its activation inside one, as a ReLU does."""
    layer, _, _ = built(name)
    maps = {"lrn": 2, "scn": 1, "powernorm": 1}.get(name, 1 if layer.owns_activation else 0)
    assert kept_bytes(name) <= 4 * (maps * MAP + 12 * N * C)


@pytest.mark.parametrize("name", STATE)
def test_state_is_the_formulas(name: str) -> None:
    layer, _, _ = built(name)
    assert sum(b.numel() for b in layer.buffers()) == STATE[name]


def test_cbn_keeps_a_third_of_what_the_authors_layer_does() -> None:
    """Theirs: k-1 copies of the weights and of both derivatives (facts of the released code), per worker."""
    ours, theirs = (K - 1) * (THETA + PATCH + 2 * C), (K - 1) * (3 * THETA + 2 * C)
    assert math.isclose(ours / theirs, 1 / 3, rel_tol=0.12)
