"""The swap: the network stays what it was, but for the norms; what cannot be placed is named."""

import copy
import pickle
import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from normbench.config import ConfigError
from normbench.models.stock import build_stock
from normbench.models.swap import calls, module_of, norm_layers, places, swap, trace
from normbench.norms import Norm, Site


class Twin(Norm):
    """BatchNorm written once more: the same numbers, under the same names."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.register_buffer("running_mean", torch.zeros(self.channels))
        self.register_buffer("running_var", torch.ones(self.channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))
        self.eps = 1e-5
        self.momentum = 0.1

    def forward(self, y: Tensor) -> Tensor:
        if self.training:
            self.num_batches_tracked += 1
        statistics = (self.running_mean, self.running_var)
        return F.batch_norm(y, *statistics, self.weight, self.bias, self.training, self.momentum, self.eps)


class TwinWithRelu(Twin):
    owns_activation = True

    def forward(self, y: Tensor) -> Tensor:
        y = super().forward(y)
        return F.relu(y) if self.relu else y


class TwinWithInput(Twin):
    """Checks that x is what its conv has just turned into y."""

    needs_input = True

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.conv = [site.conv]  # in a list, so as not to be a second owner of the conv's parameters

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        assert torch.equal(self.conv[0](x), y)
        return super().forward(y)


class TwinWithBoth(TwinWithInput, TwinWithRelu):
    pass


class Alters(Twin):
    alters_conv = True


def twin(conv: nn.Module, relu: bool, layer: str, kind: type[Twin] = Twin) -> Norm:
    return kind(Site(conv, relu))


def with_statistics_of(stock: nn.Module, norm: Norm, layer: str) -> Norm:
    old = stock.get_submodule(layer)
    norm.eps, norm.momentum = old.eps, old.momentum  # networks differ in them
    return norm


def relu_calls(network: fx.GraphModule) -> int:
    functions = (F.relu, torch.relu, "relu", "relu_")
    return sum(isinstance(module_of(network, n), nn.ReLU) or calls(n, functions) for n in network.graph.nodes)


# ---------------------------------------------------------------------------- the same network


@pytest.mark.parametrize("kind", [Twin, TwinWithRelu, TwinWithInput, TwinWithBoth])
@pytest.mark.parametrize(
    "name, shape",
    [
        ("cifar_resnet8", (3, 3, 12, 12)),
        ("resnet18", (2, 3, 33, 33)),
        ("mobilenet_v2", (2, 3, 40, 40)),
        ("shufflenet_v2_x0_5", (2, 3, 40, 40)),
        ("googlenet", (2, 3, 33, 33)),  # its ReLUs are functions
        ("r2plus1d_18", (2, 3, 2, 17, 17)),
        ("timm/regnety_002", (2, 3, 40, 40)),  # its norms act by themselves
    ],
)
def test_with_a_norm_that_computes_batchnorm_the_network_computes_what_it_did(name, shape, kind):
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    torch.manual_seed(0)
    model = build_stock(name, 5, 3, {"aux_logits": False} if name == "googlenet" else {})
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    stock = copy.deepcopy(model)
    network = swap(model, lambda *args: with_statistics_of(stock, twin(*args, kind=kind), args[2]))
    assert network.state_dict().keys() == stock.state_dict().keys()

    x = torch.randn(shape)
    assert network.training
    ours, theirs = network(x), stock(x)
    assert torch.equal(ours, theirs)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    grads = dict(network.named_parameters())
    assert all(torch.equal(grads[key].grad, p.grad) for key, p in stock.named_parameters() if p.grad is not None)
    after = network.state_dict()
    assert all(torch.equal(after[key], value) for key, value in stock.state_dict().items())
    assert torch.equal(network.eval()(x), stock.eval()(x))


def test_it_copies_pickles_and_reloads():
    network = swap(build_stock("cifar_resnet8", 5, 3, {"width": 4}), twin)
    x = torch.randn(3, 3, 12, 12)
    network(x)
    expected = network.eval()(x)
    other = swap(build_stock("cifar_resnet8", 5, 3, {"width": 4}), twin).eval()
    other.load_state_dict(network.state_dict())
    for same in (copy.deepcopy(network), pickle.loads(pickle.dumps(network)), other):
        assert torch.equal(same(x), expected)
        assert list(norm_layers(same)) == list(norm_layers(network))
    copied = copy.deepcopy(network).train()
    copied(x)
    assert not network.training and torch.equal(network(x), expected)


# ---------------------------------------------------------------------------- what is found


@pytest.mark.parametrize(
    "name, norms, relus",
    [
        ("resnet18", 20, 9),
        ("resnet34", 36, 17),
        ("resnet50", 53, 33),
        ("vgg16", 13, 13),
        ("resnext50_32x4d", 53, 33),
        ("mobilenet_v2", 52, 0),  # ReLU6 is not ReLU
        ("mnasnet0_5", 52, 35),
        ("r2plus1d_18", 37, 26),
        ("s3d", 77, 77),
        ("inception_v3", 94, 94),
        ("efficientnet_b0", 49, 0),  # stochastic depth is a leaf, so both modes have one graph
        ("timm/resnet26", 29, 17),  # identities stand between its norms and ReLUs
        ("timm/resnet26d", 31, 19),
    ],
)
def test_every_norm_is_replaced_and_exactly_the_relus_behind_are_taken(name, norms, relus):
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    with torch.device("meta"):
        network = trace(build_stock(name, 5, 3, {"aux_logits": False} if name == "inception_v3" else {}))
        assert len(places(network)) == norms
        before = relu_calls(network)
        asked = []
        network = swap(network, lambda *args: asked.append(args[1:]) or twin(*args, kind=TwinWithRelu))
    assert sum(relu for relu, _ in asked) == relus
    assert [layer for _, layer in asked] == list(norm_layers(network))
    assert before - relu_calls(network) == relus
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


class Small(nn.Module):
    """conv, norm, then whatever a test wants to see behind it."""

    def __init__(self, behind) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.bn = nn.BatchNorm2d(4)
        self.relu = nn.ReLU()
        self.behind = behind

    def forward(self, x: Tensor) -> Tensor:
        return self.behind(self, self.bn(self.conv(x)))


@pytest.mark.parametrize(
    "behind, relu",
    [
        (lambda m, y: m.relu(y), True),
        (lambda m, y: F.relu(y), True),
        (lambda m, y: F.relu(y, inplace=True), True),
        (lambda m, y: torch.relu(y), True),
        (lambda m, y: y.relu(), True),
        (lambda m, y: y.relu_(), True),
        (lambda m, y: F.relu6(y), False),
        (lambda m, y: F.silu(y), False),
        (lambda m, y: m.relu(y) + y, False),  # the norm's output is wanted without ReLU too
        (lambda m, y: m.relu(y + 1), False),
        (lambda m, y: y, False),
    ],
)
def test_a_relu_is_one_that_gets_all_of_the_norms_output(behind, relu):
    found = places(trace(Small(behind)))
    assert [(place.layer, place.relu is not None) for place in found] == [("bn", relu)]


def test_a_module_that_is_merely_called_relu_is_none():
    model = Small(lambda m, y: m.relu(y))
    model.relu = nn.SiLU()
    assert places(trace(model))[0].relu is None


def test_one_relu_module_called_thrice_loses_only_the_calls_behind_norms():
    network = swap(build_stock("resnet50", 5, 3, {}), lambda *args: twin(*args, kind=TwinWithRelu))
    assert [node.target for node in network.graph.nodes if str(node.target).startswith("layer1.0.relu")] == [
        "layer1.0.relu"
    ]  # the one behind the addition


def test_gamma_and_beta_are_inherited():
    model = Small(lambda m, y: y)
    nn.init.normal_(model.bn.weight)
    nn.init.normal_(model.bn.bias)
    gamma, beta = model.bn.weight.clone(), model.bn.bias.clone()
    norm = norm_layers(swap(model, twin))["bn"]
    assert torch.equal(norm.weight, gamma) and torch.equal(norm.bias, beta)


def test_a_linear_layer_can_hold_a_norm():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU())
    network = swap(model, twin)
    assert list(norm_layers(network)) == ["1"] and network(torch.randn(5, 3)).shape == (5, 4)


# ---------------------------------------------------------------------------- what cannot be placed


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else self.inner(x)


@pytest.mark.parametrize(
    "model, says",
    [
        (lambda: build_stock("densenet121", 5, 3, {}), r"denselayer1.norm1 cannot hold a norm.*is cat"),
        (lambda: build_stock("googlenet", 5, 3, {}), r"differ at adaptive_avg_pool2d in aux1,.*aux_logits=false"),
        (lambda: build_stock("vit_b_16", 5, 3, {}), "has no BatchNorm"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)), r"2 cannot hold.*1 \(ReLU\)"),
        (lambda: nn.Sequential(nn.BatchNorm2d(3)), r"0 cannot hold a norm.*what feeds this one is input"),
        (lambda: Small(lambda m, y: m.bn(m.conv(y[:, :3]))), "bn is called 2 times"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), Branching()), r"cannot trace 2 \(Branching\)"),
        (lambda: Small(lambda m, y: y if y.sum() else -y), "cannot trace Small"),
        (lambda: Small(lambda m, y: F.dropout(y, training=m.training)), "differ at dropout"),
        (lambda: Small(lambda m, y: F.batch_norm(y, None, None, training=True)), "calls batch_norm as a function"),
    ],
)
def test_what_cannot_be_placed_is_one_line_that_names_it(model, says):
    with pytest.raises(ConfigError) as caught, torch.device("meta"):
        swap(model(), twin)
    assert re.search(says, str(caught.value)) and "\n" not in str(caught.value)


def test_a_norm_that_alters_its_conv_must_be_the_only_one_fed_by_it():
    def alters(*args):
        return twin(*args, kind=Alters)

    class Shared(Small):
        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return self.bn(y) + y

    swap(Shared(None), twin)
    swap(Small(lambda m, y: y), alters)
    with pytest.raises(ConfigError, match="bn cannot hold a norm that alters its conv, since conv feeds bn, add"):
        swap(Shared(None), alters)
