"""Initialisation, as the recipe asks for it.

It works on the stock network; the norms then inherit gamma and beta.
"""

import operator
from collections.abc import Iterator

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd

from normbench.config import INITS, ConfigError
from normbench.models.swap import calls, is_conv, module_of

ADDITIONS = (operator.add, operator.iadd, torch.add, "add", "add_")
DROP_PATHS = ("StochasticDepth", "DropPath")  # torchvision's and timm's


@torch.no_grad()
def initialize(network: fx.GraphModule, *, init: str, fc_std: float | None, zero_last_gamma: bool) -> None:
    """Draws the weights of a traced network anew, from torch's global generator.

    init: he_fan_out draws every conv from N(0, 2 / fan_out) (He et al. 2015; the GN paper's choice)
    and sets gamma to 1 and all biases and betas to 0; default leaves them as the network's authors
    have them. fc_std: sd of the weights of the classifier, the last conv or linear layer, its bias
    being 0; None: as it is. zero_last_gamma: gamma = 0 in the last norm of each residual block, so
    that each starts as the identity (Goyal et al. 2017, section 5.1); a norm on a shortcut keeps
    its gamma.
    """
    if init not in INITS:
        raise ConfigError(f"recipe.init={init}: no such initialisation; one of {', '.join(INITS)}")
    if init == "he_fan_out":
        for module in network.modules():
            if isinstance(module, _ConvNd):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                _zero(module.bias)
            elif isinstance(module, _BatchNorm) and module.affine:
                nn.init.ones_(module.weight)
                _zero(module.bias)
    if fc_std is not None:
        classifier = [layer for node in network.graph.nodes if is_conv(layer := module_of(network, node))][-1]
        assert isinstance(classifier, (_ConvNd, nn.Linear))
        nn.init.normal_(classifier.weight, std=fc_std)
        _zero(classifier.bias)
    if zero_last_gamma:
        for norm in last_norms(network):
            _zero(norm.weight)


def _zero(parameter: Tensor | None) -> None:
    if parameter is not None:
        nn.init.zeros_(parameter)


def last_norms(network: fx.GraphModule) -> Iterator[_BatchNorm]:
    """The last norm of each residual block: what the deeper branch of a residual addition ends in.

    Depth is counted in convs. An addition is residual if its other branch is a shortcut: one line
    of layers that starts from a node that the deeper branch comes from too. Hence in a downsampling
    block bn3 is found and not downsample.1; in MobileNet V2, where a block's input is itself a
    norm's output, only the block's own; in HRNet, whose fusions also add, none of the fusions'. A
    branch that ends in a gate, as a squeeze-and-excitation ResNet's, has no last norm.
    """
    depth: dict[fx.Node, int] = {}
    for node in network.graph.nodes:
        deepest = max((depth[source] for source in node.all_input_nodes), default=0)
        depth[node] = deepest + is_conv(module_of(network, node))
        if calls(node, ADDITIONS) and len(node.all_input_nodes) == 2:
            shorter, deeper = sorted(node.all_input_nodes, key=depth.__getitem__)
            module = module_of(network, _before_dropout(network, deeper))
            if isinstance(module, _BatchNorm) and depth[shorter] < depth[deeper] and _is_shortcut(shorter, deeper):
                yield module


def _before_dropout(network: fx.GraphModule, node: fx.Node) -> fx.Node:
    while (module := module_of(network, node)) is not None and (
        isinstance(module, _DropoutNd) or type(module).__name__ in DROP_PATHS
    ):
        node = node.all_input_nodes[0]
    return node


def _is_shortcut(node: fx.Node, branch: fx.Node) -> bool:
    """Whether a line without a fork leads back from node to something branch comes from, too."""
    sources, waiting = set(), [branch]
    while waiting:
        for source in waiting.pop().all_input_nodes:
            if source not in sources:
                sources.add(source)
                waiting.append(source)
    while node not in sources:
        if len(node.all_input_nodes) != 1:
            return False
        node = node.all_input_nodes[0]
    return True
