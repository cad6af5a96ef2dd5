"""The networks: sizes as published, options and their errors, initialisation."""

from pathlib import Path

import pytest
import torch
from torch import nn

from normbench import models
from normbench.config import ConfigError, Model
from normbench.models.cifar_resnet import CifarResNet, PadShortcut
from normbench.models.init import last_norms
from normbench.models.stock import build_stock
from normbench.models.swap import trace

CONF = Path(__file__).parents[1] / "conf" / "model"


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def zero_gammas(model: nn.Module) -> list[str]:
    return [name for name, norm in model.named_modules() if name and is_zero(getattr(norm, "weight", None))]


def is_zero(weight: object) -> bool:
    return isinstance(weight, nn.Parameter) and weight.dim() == 1 and not weight.any()


# ---------------------------------------------------------------------------- CIFAR ResNets


@pytest.mark.parametrize("depth, millions", [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_cifar_resnets_have_the_parameters_of_the_papers_table_6(depth, millions):
    with torch.device("meta"):
        found = parameters(CifarResNet(depth)) / 1e6
    assert round(found, 1 if depth == 110 else 2) == millions


def test_the_depth_counts_convs_and_the_classifier():
    model = CifarResNet(32)
    assert sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in model.modules()) == 32


@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize("size, channels", [(12, 1), (32, 3), (7, 3)])
def test_cifar_resnets_take_any_image(size, channels, shortcut):
    model = models.build("cifar_resnet8", image_channels=channels, num_classes=7, width=4, shortcut=shortcut)
    assert model(torch.randn(2, channels, size, size)).shape == (2, 7)


def test_shortcut_a_subsamples_and_pads_zeros_and_has_no_parameters():
    x = torch.randn(2, 3, 5, 6)
    y = PadShortcut(new_channels=3, stride=2)(x)
    assert torch.equal(y, torch.cat([x[:, :, ::2, ::2], torch.zeros(2, 3, 3, 3)], dim=1))


def test_shortcut_b_adds_a_conv_and_a_norm_where_the_shape_changes():
    option_a, option_b = CifarResNet(20), CifarResNet(20, shortcut="B")
    assert set(dict(option_b.named_parameters())) - set(dict(option_a.named_parameters())) == {
        f"layer{stage}.0.downsample.{part}" for stage in (2, 3) for part in ("0.weight", "1.weight", "1.bias")
    }
    assert parameters(option_b) - parameters(option_a) == 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64


# ---------------------------------------------------------------------------- names and options


@pytest.mark.parametrize(
    "name, options, says",
    [
        ("resnet5", {}, "did you mean resnet50?"),
        ("fcn_resnet50", {}, "no such network"),  # torchvision has it, but it does not classify
        ("cifar_resnet21", {}, "6n+2; the nearest is cifar_resnet20"),
        ("cifar_resnet8", {"widht": 8}, "model.options.widht: cifar_resnet8 takes no such option"),
        ("cifar_resnet8", {"width": 0}, "model.options.width=0"),
        ("cifar_resnet8", {"shortcut": "C"}, "one of A, B"),
        ("cifar_resnet8", {"depth": 20}, "model.options.depth"),
        ("resnet18", {"droput": 0.5}, "model.options.droput: resnet18 takes no such option"),
        ("resnet18", {"replace_stride_with_dilation": [True]}, "model.options replace_stride_with_dilation=[True]"),
        ("resnet18", {"weights": "DEFAULT"}, "model.options.weights"),
        ("resnet18", {"image_channels": 1}, "takes images of 3 channels, the data has 1"),
        ("resnet18", {"init": "xavier"}, "one of he_fan_out, default"),
        ("squeezenet1_0", {}, "model=squeezenet1_0: has no BatchNorm"),
    ],
)
def test_what_cannot_be_built_is_one_line_that_names_it(name, options, says):
    with pytest.raises(ConfigError) as caught, torch.device("meta"):
        models.build(name, **options)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_timm_networks_come_by_name_and_take_any_channels():
    pytest.importorskip("timm")
    with torch.device("meta"):
        model = models.build("timm/resnet26", image_channels=1, num_classes=7)
        assert len(models.norm_layers(model)) == 29
        with pytest.raises(ConfigError, match=r"did you mean resnet26d?\?"):
            models.build("timm/resnet26x")
        with pytest.raises(ConfigError, match=r"model\.options\.widht"):
            models.build("timm/resnet26", widht=8)


def test_timm_absent_is_one_line_that_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(ConfigError, match="pip install timm"):
        models.build("timm/resnet26")


def test_vgg16_means_the_one_with_norms():
    with torch.device("meta"):
        assert len(models.norm_layers(models.build("vgg16"))) == 13


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_yaml_names_a_network_that_builds(path):
    from omegaconf import OmegaConf

    assert path.read_text().startswith("# normbench ")
    yaml = OmegaConf.load(path)
    if OmegaConf.is_missing(yaml, "name"):
        assert path.stem in ("timm", "torchvision")
    else:
        model = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Model), yaml))
        assert isinstance(model, Model) and model.name == path.stem
        with torch.device("meta"):
            build_stock(model.name, 10, 3, model.options)


# ---------------------------------------------------------------------------- initialisation


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d"])
def test_zero_last_gamma_finds_the_norms_that_torchvision_zeroes(name):
    from torchvision.models import get_model

    theirs = get_model(name, weights=None, zero_init_residual=True)
    with torch.device("meta"):
        network = trace(build_stock(name, 10, 3, {}))
    names = {module: path for path, module in network.named_modules()}
    assert sorted(names[norm] for norm in last_norms(network)) == sorted(zero_gammas(theirs))


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_zero_last_gamma_survives_the_swap_and_spares_the_shortcut(shortcut):
    model = models.build("cifar_resnet20", "bn", width=4, shortcut=shortcut)
    assert zero_gammas(model) == [f"layer{stage}.{block}.bn2" for stage in (1, 2, 3) for block in (0, 1, 2)]
    assert not zero_gammas(models.build("cifar_resnet20", "bn", width=4, shortcut=shortcut, zero_last_gamma=False))


def test_a_blocks_input_that_is_itself_a_norms_output_is_not_its_last_norm():
    network = trace(build_stock("mobilenet_v2", 10, 3, {}))
    names = {module: path for path, module in network.named_modules()}
    # stride 1 and equal widths, by table 2 of the MobileNet V2 paper
    residual = (3, 5, 6, 8, 9, 10, 12, 13, 15, 16)
    assert [names[norm] for norm in last_norms(network)] == [f"features.{i}.conv.3" for i in residual]


def test_video_blocks_end_in_a_norm_inside_a_sequential():
    with torch.device("meta"):
        network = trace(build_stock("r2plus1d_18", 10, 3, {}))
    names = {module: path for path, module in network.named_modules()}
    blocks = [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
    assert [names[norm] for norm in last_norms(network)] == [f"{block}.conv2.1" for block in blocks]


def test_he_fan_out_and_the_classifiers_sd():
    torch.manual_seed(0)
    model = models.build("resnet18", num_classes=100)
    conv, fc = model.get_submodule("layer4.0.conv1"), model.get_submodule("fc")
    assert conv.weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    assert fc.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not fc.bias.any()


def test_init_default_keeps_the_networks_own_weights():
    torch.manual_seed(3)
    theirs = CifarResNet(8, width=4).state_dict()
    torch.manual_seed(3)
    ours = models.build("cifar_resnet8", width=4, init="default", fc_std=None, zero_last_gamma=False).state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs if key in ours)
    assert "layer1.0.conv1.weight" in ours and "fc.bias" in ours


def test_one_seed_gives_every_norm_the_same_convs():
    weights = []
    for norm in ("bn", "none", {"name": "gn", "batch_free": True}):
        torch.manual_seed(0)
        weights.append(models.build("cifar_resnet8", norm, width=4).get_submodule("layer3.0.conv2").weight)
    assert torch.equal(weights[0], weights[1]) and torch.equal(weights[0], weights[2])


def test_norm_layers_come_in_the_order_of_the_forward_pass():
    model = models.build("cifar_resnet8", width=4, shortcut="B")
    assert list(models.norm_layers(model)) == [
        "bn1", "layer1.0.bn1", "layer1.0.bn2",
        "layer2.0.bn1", "layer2.0.bn2", "layer2.0.downsample.1",
        "layer3.0.bn1", "layer3.0.bn2", "layer3.0.downsample.1",
    ]  # fmt: skip
    assert models.norm_layers(nn.Sequential(model)).keys() == models.norm_layers(model).keys()
