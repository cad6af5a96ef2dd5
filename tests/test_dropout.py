"""Dropout by an image's position: torch's in distribution, and the same on any number of processes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ranks import LIMIT, apart, on_ranks, same_rows
from torch import nn
from torchvision.ops import StochasticDepth

from normbench import models
from normbench.models.dropout import PositionedDropout, position_dropout


@pytest.mark.parametrize(
    ("dropout", "one_draw_of"),
    [(nn.Dropout(0.3), (1, 1, 1, 1)), (nn.Dropout2d(0.3), (1, 1, 5, 5)), (StochasticDepth(0.3, "row"), (1, 6, 5, 5))],
    ids=["values", "channels", "images"],
)
def test_it_drops_what_torch_drops_with_the_same_probability(dropout: nn.Module, one_draw_of: tuple[int, ...]) -> None:
    ours = position_dropout(nn.Sequential(dropout))
    assert isinstance(ours[0], PositionedDropout)
    torch.manual_seed(0)
    x = torch.ones(4000, 6, 5, 5)
    y = ours.train()(x)
    kept = (y != 0).double()
    assert torch.allclose(y, kept.float() / 0.7)
    draws = [n // k for n, k in zip(x.shape, one_draw_of, strict=True)]
    blocks = kept.view(4000, draws[1], one_draw_of[1], draws[2], one_draw_of[2], draws[3], one_draw_of[3])
    # a draw holds for its whole block
    assert torch.equal(blocks.amin((2, 4, 6)), blocks.amax((2, 4, 6)))
    number = int(np.prod(draws))
    assert kept.mean().item() == pytest.approx(0.7, abs=4 * (0.21 / number) ** 0.5)
    assert torch.equal(ours.eval()(x), x)


def test_networks_have_no_other_dropout_left() -> None:
    for name in ("vgg16", "mobilenet_v2", "efficientnet_b0"):
        kinds = {type(m).__name__ for m in models.build(name, "gn").modules()}
        assert "PositionedDropout" in kinds
        assert not kinds & {"Dropout", "StochasticDepth"}


@pytest.mark.slow
def test_a_network_with_dropout_trains_alike_on_1_2_and_4_processes_and_in_parts(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    case = [
        "model=timm",
        "model.name=timm/resnet10t",
        "model.options.drop_path_rate=0.5",
        "model.options.channels=[8,16,24,32]",
        "model.options.stem_width=8",
        "norm=gn",
        "~model.options.width",
    ]
    one = on_ranks(1, case, tmp_path / "1")
    for ranks in (2, 4):
        many = on_ranks(ranks, case, tmp_path / str(ranks))
        assert max(apart(one, many)) <= LIMIT
        assert same_rows(one, many)
    parts = on_ranks(1, [*case, "train.micro_workers=1"], tmp_path / "parts")
    assert max(apart(one, parts)) <= LIMIT
    dry = on_ranks(1, [*case, "model.options.drop_path_rate=0.0"], tmp_path / "dry")
    assert apart(one, dry)[0] > 1e-6
