"""The contract finds what public code gets wrong: each broken layer fails the check that is meant for it."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normbench import norms
from normbench.config import ConfigError
from normbench.kernels.values import per_channel
from normbench.norms import Norm, RunningNorm, Site
from normbench.norms.group import GroupNorm
from normbench.testing import CHECKS, check_norm


class PythonCounter(RunningNorm):
    """A warm-up counted in Python: lost on resume."""

    steps = 0

    def forward(self, y: Tensor) -> Tensor:
        self.steps += self.training
        return super().forward(y) * (1 if self.steps < 6 else 2)


class SharedHistory(RunningNorm):
    """Moving statistics in training, one for all workers, where real workers would have one each."""

    def forward(self, y: Tensor) -> Tensor:
        out = super().forward(y)
        return out - per_channel(self.running_mean.clone(), out) if self.training else out


class AllImages(RunningNorm):
    """One statistic over all workers' images, said to be each worker's own."""

    def forward(self, y: Tensor) -> Tensor:
        self.workers = 1
        return super().forward(y)


class UpdatesInEvaluation(RunningNorm):
    def forward(self, y: Tensor) -> Tensor:
        self.running_mean.add_(1e-9)
        return super().forward(y)


class HalfSquares(Norm):
    """Squares in the input's precision: fp16 overflows at 256."""

    batch_free = True

    def forward(self, y: Tensor) -> Tensor:
        x = y.flatten(2) if y.dim() > 2 else y[..., None]
        out = (x / (x.square().mean(2, keepdim=True) + 1e-6).sqrt()).view(y.shape)
        assert self.weight is not None
        return out * per_channel(self.weight.to(y.dtype), y) + per_channel(self.bias.to(y.dtype), y)


class NoEps(Norm):
    batch_free = True

    def forward(self, y: Tensor) -> Tensor:
        axes = list(range(1, y.dim()))
        out = y / y.double().var(axes, correction=0, keepdim=True).sqrt().to(y.dtype)
        return out * per_channel(self.weight, y) + per_channel(self.bias, y)


class UnbiasedInstance(Norm):
    """The unbiased variance of a single value is NaN, as in Switchable Norm's public code."""

    batch_free = True

    def forward(self, y: Tensor) -> Tensor:
        x = y.flatten(2) if y.dim() > 2 else y[..., None]
        var, mean = torch.var_mean(x, 2, keepdim=True)
        out = ((x - mean) * (var + 1e-5).rsqrt()).view(y.shape)
        return out * per_channel(self.weight, y) + per_channel(self.bias, y)


class Promotes(GroupNorm):
    """fp32 parameters make the output fp32, whatever came in."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)

    def forward(self, y: Tensor) -> Tensor:
        return super().forward(y) * per_channel(self.weight, y)


class ToNCHW(GroupNorm):
    def forward(self, y: Tensor) -> Tensor:
        return super().forward(y).contiguous()


class OtherImages(GroupNorm):
    def forward(self, y: Tensor) -> Tensor:
        return super().forward(y) + 1e-6 * y.mean()


class WrongGradient(GroupNorm):
    def forward(self, y: Tensor) -> Tensor:
        out = super().forward(y)
        return out + (y - y.detach()) * 1e-3


class FlatGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return torch.as_strided(grads[0], grads[0].shape, torch.empty(grads[0].shape).stride()) * 2


class ReadsStrides(Norm):
    """A backward that takes the incoming gradient for contiguous."""

    batch_free = True

    def forward(self, y: Tensor) -> Tensor:
        return FlatGradient.apply(y) * per_channel(self.weight, y).to(y.dtype) + per_channel(self.bias, y).to(y.dtype)


class ReadsTheDevice(GroupNorm):
    """A value taken to Python in every forward: a GPU waits, a graph breaks."""

    def forward(self, y: Tensor) -> Tensor:
        return super().forward(y) * (1.0 if y.sum().item() == 1.5 else 2.0)


class HoldsItsConv(GroupNorm):
    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.conv = site.conv


class LooseTensor(GroupNorm):
    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.scale = torch.ones(1)


class UnusedParameter(GroupNorm):
    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.spare = nn.Parameter(torch.zeros(1))


class OnlyMaps(Norm):
    batch_free = True

    def forward(self, y: Tensor) -> Tensor:
        return F.group_norm(y, 1, self.weight, self.bias) + 0 * y.mean((2, 3), keepdim=True)


class RefusesInTwoLines(RunningNorm):
    def require_values(self, y: Tensor, groups: int) -> None:
        if y.shape[0] == groups:
            raise ConfigError("no\nno")


class TakesTheRelu(GroupNorm):
    def forward(self, y: Tensor) -> Tensor:
        out = super().forward(y)
        return F.relu(out) if self.relu else out


class MeasuredTraining(SharedHistory):
    """Its training uses what measuring replaces."""


class UndeclaredHistory(RunningNorm):
    """Has a past for each worker, of which a checkpoint would keep rank 0's only."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.register_buffer("past", torch.zeros(site.workers, self.channels))


BROKEN = {
    "resume": PythonCounter,
    "histories": UndeclaredHistory,
    "virtual workers": AllImages,
    "mean over workers": SharedHistory,
    "evaluation": UpdatesInEvaluation,
    "fp16": HalfSquares,
    "constant channel": NoEps,
    "bf16": Promotes,
    "memory format": ToNCHW,
    "batch independence": OtherImages,
    "gradient": WrongGradient,
    "gradient layouts": ReadsStrides,
    "compile": ReadsTheDevice,
    "parameters": UnusedParameter,
    "dimensions": OnlyMaps,
    "batch 1": RefusesInTwoLines,
    "relu": TakesTheRelu,
    "measuring": MeasuredTraining,
    "autocast": Promotes,
    "one value": RefusesInTwoLines,
    "1x1 map": UnbiasedInstance,
}


@pytest.mark.parametrize("check", BROKEN)
def test_a_broken_layer_fails_the_check_that_is_meant_for_it(check: str) -> None:
    report = check_norm(BROKEN[check], only=[check])
    assert not report.ok, f"\n{report}"
    assert report.failures[0].check == check
    assert report.failures[0].note


@pytest.mark.parametrize(("layer", "says"), [(HoldsItsConv, "submodule"), (LooseTensor, "scale: a tensor")])
def test_state_in_the_wrong_place_is_named(layer: type[Norm], says: str) -> None:
    assert says in check_norm(layer, only=["parameters"]).failures[0].note


def test_a_python_list_shared_by_copies_is_found() -> None:
    class History(RunningNorm):
        def __init__(self, site: Site) -> None:
            super().__init__(site)
            self.past: list[float] = []

        def __deepcopy__(self, memo: dict[int, Any]) -> "History":
            copied = History(Site(nn.Conv2d(3, self.channels, 3, bias=False).double()))
            copied.load_state_dict(self.state_dict())
            return copied.train(self.training).to(self.running_mean.dtype)

        def forward(self, y: Tensor) -> Tensor:
            self.past.append(1.0)
            return super().forward(y) * len(self.past)

    assert "differs" in check_norm(History, only=["deepcopy"]).failures[0].note


def test_a_formula_that_differs_is_found() -> None:
    report = check_norm("gn", reference=lambda y, norm, x: y, only=["formula"])
    assert report.failures[0].measured > report.failures[0].limit


def test_every_check_is_shown_to_fail_where_it_should() -> None:
    assert set(CHECKS) == {*BROKEN, "deepcopy", "formula"}


def test_a_report_is_a_table_with_numbers_and_reasons() -> None:
    report = check_norm(norms.layer("gn"), only=["formula", "dimensions"])
    assert report.name == "gn"
    assert report.ok
    assert [o.check for o in report.skipped] == ["formula"]
    text = str(report)
    assert "gn: all checks passed" in text
    assert "no reference formula was given" in text
    assert "2-d to 5-d input" in text


def test_an_unknown_name_lists_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"gnn: no such layer \(did you mean gn\?\)"):
        check_norm("gnn")
