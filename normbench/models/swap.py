"""Puts a norm in the place of every BatchNorm of a stock network, by way of its torch.fx graph.

The graph shows what a module tree hides: which conv feeds a BatchNorm, and whether a ReLU stands
behind it. What cannot be placed is an error that names the node; no BatchNorm is ever silently left
in.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from normbench.config import ConfigError
from normbench.hints import first_line
from normbench.norms import Norm

Make = Callable[[nn.Module, bool, str], Norm]
# as a function or as a tensor's method
RELUS = (F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_")
BATCH_NORMS = (F.batch_norm, torch.batch_norm)


@dataclass(frozen=True)
class Place:
    """Where a norm stands: the BatchNorm's module path and node, its conv's and its ReLU's."""

    layer: str
    node: fx.Node
    conv: fx.Node
    relu: fx.Node | None


def swap(model: nn.Module, make: Make) -> fx.GraphModule:
    """The model with make(conv, relu, layer) for every BatchNorm; the parameters keep their names.

    model: a stock network, or its trace. It is used up: its other modules live on in the result.
    make: gets the conv or linear layer that feeds the BatchNorm, whether the BatchNorm's output
    goes to a ReLU and nowhere else, and the BatchNorm's module path. Other activations (ReLU6,
    SiLU, Hardswish) are none of the norm's business: relu is False and they stay put.

    A norm that owns its activation takes the ReLU's place too; one that needs the conv's input is
    called as norm(y, x); one that alters its conv must be the only one to hear from it. gamma and
    beta start from the BatchNorm's values, so that zero-initialised residual branches stay so.
    """
    network = model if isinstance(model, fx.GraphModule) else trace(model)
    for place in places(network):
        old = _module(network, place.node)
        conv = _module(network, place.conv)
        norm = make(conv, place.relu is not None, place.layer)
        if norm.alters_conv:
            _check_unshared(network, place)
        _inherit(norm, old)
        network.set_submodule(place.layer, norm)
        if norm.needs_input:
            place.node.args = (place.conv, place.conv.all_input_nodes[0])
        if norm.owns_activation and place.relu is not None:
            place.relu.replace_all_uses_with(place.node)
            # this one call: torchvision's blocks use one ReLU module three times
            network.graph.erase_node(place.relu)
    network.delete_all_unused_submodules()
    network.graph.lint()
    network.recompile()
    return network


def norm_layers(model: nn.Module) -> dict[str, Norm]:
    """The norms of a built model by module path, in the order in which an image meets them.

    Sees through a DDP wrapper.
    """
    network = next(m for m in model.modules() if isinstance(m, fx.GraphModule))
    found = ((str(node.target), module_of(network, node)) for node in network.graph.nodes)
    return {layer: module for layer, module in found if isinstance(module, Norm)}


def convs_before(model: nn.Module) -> dict[str, nn.Module]:
    """The conv or linear layer in front of each of them, by the norm's module path."""
    network = next(m for m in model.modules() if isinstance(m, fx.GraphModule))
    return {
        str(node.target): _module(network, node.all_input_nodes[0])
        for node in network.graph.nodes
        if isinstance(module_of(network, node), Norm)
    }


def places(network: fx.GraphModule) -> list[Place]:
    """Every BatchNorm of a traced network, in order; raises ConfigError where no norm can stand."""
    found = []
    for node in network.graph.nodes:
        if calls(node, BATCH_NORMS):
            raise ConfigError(f"{node.name} calls batch_norm as a function, so there is no layer to put a norm in")
        if isinstance(module_of(network, node), _BatchNorm):
            found.append(_place(network, node))
    for layer, times in Counter(place.layer for place in found).items():
        if times > 1:
            raise ConfigError(f"{layer} is called {times} times in one forward; a norm can stand in one place only")
    return found


def _place(network: fx.GraphModule, node: fx.Node) -> Place:
    conv = node.all_input_nodes[0]
    if not is_conv(module_of(network, conv)):
        raise ConfigError(
            f"{node.target} cannot hold a norm: a norm stands behind a conv or linear layer, and what feeds this one is "
            f"{_describe(network, conv)} (a pre-activation network?)"
        )
    users = list(node.users)
    relu = users[0] if len(users) == 1 and _is_relu(network, users[0]) else None
    return Place(str(node.target), node, conv, relu)


def _check_unshared(network: fx.GraphModule, place: Place) -> None:
    nodes = [node for node in network.graph.nodes if node.target == place.conv.target]
    users = [user.name for node in nodes for user in node.users]
    if len(users) > 1:
        raise ConfigError(
            f"{place.layer} cannot hold a norm that alters its conv, since {place.conv.target} feeds {', '.join(users)}"
        )


def _inherit(norm: Norm, old: nn.Module) -> None:
    with torch.no_grad():
        for name in ("weight", "bias"):
            value, before = getattr(norm, name, None), getattr(old, name)
            if value is not None and before is not None:
                value.copy_(before)


# ---------------------------------------------------------------------------- tracing


class _Tracer(fx.Tracer):
    """Looks inside blocks, never inside layers.

    Layers are torch.nn's, convs and BatchNorms of any library, and whatever has no modules of its
    own: there is nothing to find in it, and what its forward asks of self.training (as DropPath's
    does) a graph would freeze.
    """

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        childless = next(m.children(), None) is None
        return childless or isinstance(m, (_ConvNd, _BatchNorm)) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return super().call_module(m, forward, args, kwargs)
        except ConfigError:
            raise  # the innermost module has been named
        except Exception as error:
            raise _untraceable(f"{self.path_of_module(m)} ({type(m).__name__})", error) from error


def trace(model: nn.Module) -> fx.GraphModule:
    """The model as a graph of layers, in training mode.

    It shares its modules with the model, which is used up.

    Raises ConfigError for a module that torch.fx cannot follow, where training and evaluation take
    different ways, and for a model without BatchNorm, whose graph nobody would need.
    """
    if not any(isinstance(module, _BatchNorm) for module in model.modules()):
        raise ConfigError("has no BatchNorm, so there is no place for a norm")
    evaluation = _graph(model.eval())
    training = _graph(model.train())
    for node, other in zip_longest(training.nodes, evaluation.nodes):
        if _text(node) != _text(other):
            raise ConfigError(
                f"training and evaluation differ at {_where(node or other)}, and a graph can hold only one of the two; an "
                "option may switch that off (auxiliary heads: aux_logits=false; dropout as a function: its rate)"
            )
    network = fx.GraphModule(model, training, class_name=type(model).__name__)
    _split_fused_activations(network)
    _drop_identities(network)
    network.recompile()
    return network


def _graph(model: nn.Module) -> fx.Graph:
    try:
        return _Tracer().trace(model)
    except ConfigError:
        raise
    except Exception as error:
        raise _untraceable(type(model).__name__, error) from error


def _untraceable(what: str, error: Exception) -> ConfigError:
    return ConfigError(f"torch.fx cannot trace {what}: {first_line(error)}")


def _text(node: fx.Node | None) -> Any:
    return node and (node.op, node.target, str(node.args), str(node.kwargs))


def _where(node: fx.Node) -> str:
    """The node's name and the innermost module it is called in."""
    inside = list(node.meta.get("nn_module_stack", ()))
    return f"{node.name} in {inside[-1]}" if inside else node.name


def _split_fused_activations(network: fx.GraphModule) -> None:
    """Makes the dropout and activation inside timm's BatchNormAct2d nodes behind it."""
    for node in list(network.graph.nodes):
        module, last = module_of(network, node), node
        if not isinstance(module, _BatchNorm):
            continue
        for part in ("drop", "act"):
            if isinstance(getattr(module, part, None), nn.Module):
                path = f"{node.target}_{part}"
                network.add_submodule(path, getattr(module, part))
                setattr(module, part, nn.Identity())
                with network.graph.inserting_after(last):
                    behind = network.graph.call_module(path)
                last.replace_all_uses_with(behind)
                behind.args, last = (last,), behind


def _drop_identities(network: fx.GraphModule) -> None:
    """timm keeps places free with nn.Identity, which would hide the ReLU behind a norm."""
    for node in list(network.graph.nodes):
        if isinstance(module_of(network, node), nn.Identity):
            node.replace_all_uses_with(node.all_input_nodes[0])
            network.graph.erase_node(node)


# ---------------------------------------------------------------------------- what a node is


def module_of(network: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that the node calls, if it calls one."""
    return network.get_submodule(str(node.target)) if node.op == "call_module" else None


def _module(network: fx.GraphModule, node: fx.Node) -> nn.Module:
    module = module_of(network, node)
    assert module is not None
    return module


def calls(node: fx.Node, functions: tuple[Any, ...]) -> bool:
    """Whether the node calls one of these functions or, given as strings, tensor methods."""
    return node.op in ("call_function", "call_method") and node.target in functions


def is_conv(module: nn.Module | None) -> bool:
    """Whether a norm can stand behind it."""
    return isinstance(module, (_ConvNd, nn.Linear))


def _is_relu(network: fx.GraphModule, node: fx.Node) -> bool:
    return isinstance(module_of(network, node), nn.ReLU) or calls(node, RELUS)


def _describe(network: fx.GraphModule, node: fx.Node) -> str:
    module = module_of(network, node)
    return f"{node.target} ({type(module).__name__})" if module is not None else f"{node.name} ({node.op})"
