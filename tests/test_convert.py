"""normbench.convert: any norm into a network that somebody already has."""

import copy
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

import normbench
from normbench import norms
from normbench.config import ConfigError
from normbench.models import norm_layers
from normbench.norms import RunningNorm
from normbench.norms.group import GroupNorm


class Own(nn.Module):
    """A network as people write them: control flow that torch.fx cannot trace, a method of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8, eps=1e-3, momentum=0.3)
        self.conv2, self.bn2 = nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16, affine=False)
        self.head = nn.Linear(16, 5)

    def features(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x)).relu()
        if y.mean() > 1e9:
            y = y / 2
        return self.bn2(self.conv2(y)).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class Traceable(Own):
    def features(self, x: Tensor) -> Tensor:
        y = nn.functional.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(y)).mean((2, 3))


def trained(model: nn.Module) -> nn.Module:
    """The model with running statistics, gamma and beta that are nobody's defaults."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            nn.init.uniform_(parameter, 0.5, 1.5)
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(8, 3, 32, 32) * 2 + 1)
    return model.eval()


def test_the_same_norm_is_the_same_function() -> None:
    torch.manual_seed(1)
    x = torch.randn(4, 3, 32, 32)
    for model in (trained(Own()), trained(torchvision.models.resnet18(num_classes=7))):
        before = copy.deepcopy(model.state_dict())
        found = normbench.convert(model, norm="bn")
        assert type(found) is type(model)
        assert not found.training
        torch.testing.assert_close(found(x), model(x), rtol=1e-6, atol=1e-6)
        ours = found.state_dict()
        for name, value in before.items():
            assert torch.equal(value, model.state_dict()[name])  # the model given stays as it is
            if not name.endswith("num_batches_tracked"):
                assert torch.equal(ours[name], value), name
        # one training step moves weights and running statistics alike
        grown = [m.train() for m in (found, copy.deepcopy(model))]
        for one in grown:
            one(x).square().sum().backward()
        theirs = dict(grown[1].named_parameters())
        for name, parameter in grown[0].named_parameters():
            if name in theirs:
                torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-4, atol=1e-4)
            else:  # gamma and beta of a BatchNorm without them
                assert not parameter.requires_grad
        for name, value in grown[1].named_buffers():
            if "running" in name:
                torch.testing.assert_close(dict(grown[0].named_buffers())[name], value, rtol=1e-5, atol=1e-6)


def test_group_normalization_is_torchs() -> None:
    model = trained(torchvision.models.resnet18(num_classes=7))
    found = normbench.convert(model, norm="gn", groups=8)
    wanted = copy.deepcopy(model)
    for path, old in list(wanted.named_modules()):
        if isinstance(old, nn.BatchNorm2d):
            new = nn.GroupNorm(8, old.num_features)
            new.load_state_dict({"weight": old.weight, "bias": old.bias})
            wanted.set_submodule(path, new)
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(found(x), wanted(x), rtol=1e-4, atol=1e-4)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in found.modules())


@pytest.mark.parametrize("name", norms.names())
def test_every_norm_stands_in_a_network_and_learns(name: str) -> None:
    model = trained(Traceable()).train()
    found = normbench.convert(model, norm=name, workers=2, sgd_batch=8, steps_per_epoch=10, epochs=4)
    layers = [m for m in found.modules() if isinstance(m, norms.Norm)]
    assert [layer.name for layer in layers] == [name, name]
    kept = {k: v for k, v in found.named_parameters() if k.startswith("head")}
    for key, value in kept.items():
        assert torch.equal(value, dict(model.named_parameters())[key])
    found(torch.randn(8, 3, 32, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in kept.values())
    found.eval()(torch.randn(1, 3, 32, 32))


@pytest.mark.parametrize("name", ["bn", "brn", "mabn", "syncbn"])
def test_running_statistics_go_on(name: str) -> None:
    model = trained(Traceable())
    found = normbench.convert(model, norm=name)
    for new, old in ((found.get_submodule(p), model.get_submodule(p)) for p in ("bn1", "bn2")):
        assert isinstance(new, RunningNorm)
        assert isinstance(old, nn.BatchNorm2d)
        assert old.running_mean is not None
        assert old.running_var is not None
        assert new.eps == old.eps
        square = old.running_var + old.running_mean.square()
        assert torch.equal(new.running_mean, torch.zeros(len(square)) if new.about_zero else old.running_mean)
        assert torch.equal(new.running_var, square if new.about_zero else old.running_var)
    assert found.get_submodule("bn1").momentum == (
        0.3
        if name in ("bn", "syncbn")
        else type(new)(
            site(),
        ).momentum
    )
    assert normbench.convert(model, norm=name, eps=0.01).get_submodule("bn1").eps == 0.01


def site() -> norms.Site:
    return norms.Site(nn.Conv2d(3, 8, 1))


def test_timms_networks() -> None:
    timm = pytest.importorskip("timm")
    model = trained(timm.create_model("resnet10t", num_classes=4))
    x = torch.randn(2, 3, 32, 32)
    found = normbench.convert(model, norm="bn")  # its BatchNormAct2d hold their activations
    torch.testing.assert_close(found(x), model(x), rtol=1e-5, atol=1e-5)
    assert len(norm_layers(normbench.convert(model, norm="frn"))) > 10


def test_pre_activation_and_shared_layers() -> None:
    shared = nn.BatchNorm1d(6)
    model = nn.Sequential(shared, nn.ReLU(), nn.Linear(6, 6), shared, nn.Linear(6, 2))
    found = normbench.convert(model, norm="gn", groups=2)
    assert isinstance(found.get_submodule("0"), GroupNorm)
    assert found.get_submodule("0") is found.get_submodule("3")
    assert isinstance(normbench.convert(nn.BatchNorm2d(4), norm="in"), norms.Norm)
    with pytest.raises(ConfigError, match="0 cannot hold a norm: a norm stands behind a conv"):
        normbench.convert(model, norm="frn")


def test_dtype_device_and_mode_stay() -> None:
    model = Own().double().train()
    model.bn2.eval()
    found = normbench.convert(model, norm="brn")
    assert {t.dtype for t in found.state_dict().values() if t.is_floating_point()} == {torch.float64}
    assert (found.training, found.get_submodule("bn1").training, found.get_submodule("bn2").training) == (
        True,
        True,
        False,
    )
    meta = normbench.convert(torchvision.models.resnet18().to("meta"), norm="gn")
    assert {p.device.type for p in meta.parameters()} == {"meta"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"norm": "gnn"}, "no such layer .did you mean gn"),
        ({"group": 8}, "norm=gn has no option group .did you mean groups"),
        ({"groups": 7}, "layer bn1: .*7"),
        ({"norm": "brn", "epochs": 3}, "of these only epochs is given"),
        ({"norm": "cbn"}, "torch.fx cannot trace"),
    ],
)
def test_what_is_wrong_is_one_line(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        normbench.convert(Own(), **given)
    assert "\n" not in str(raised.value)


def test_without_a_batch_norm_there_is_no_place() -> None:
    with pytest.raises(ConfigError, match="Linear has no BatchNorm"):
        normbench.convert(nn.Linear(2, 2))
    with pytest.raises(ConfigError, match="layer 0 has no channels yet"):
        normbench.convert(nn.Sequential(nn.LazyBatchNorm2d()))
