"""Every norm of conf/norm keeps the contract of normbench.testing; a new yaml is picked up by itself."""

import inspect
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from reference import REFERENCES
from torch import nn

from normbench import norms, paths, plugins
from normbench.norms import Norm, RunningNorm
from normbench.testing import CHECKS, check_norm

CONF = paths.conf() / "norm"
NAMES = plugins.builtin()

# The same layer once more, with the options that make another layer of it, or reach a state that few steps do not
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "bcn": {"micro": {"micro": True}},
    "brn": {"open": {"bn_epochs": 0.0, "rmax_epochs": 0.0, "dmax_epochs": 0.0, "warm_average": True}},
    "cbn": {
        "authors": {"negative": "drop", "eps_inside": False, "unbiased_burnin": True},
        "through": {"window": 3, "burnin_epochs": 0.0, "through_window": True},
    },
    "group_batch": {"pairs": {"examples": 2, "channels_per_group": 1, "example_weight": 0.3}},
    "lrn": {"alexnet": {"alexnet": True}},
    "mabn": {"full": {"window": 2}},
    "powernorm": {"authors": {"warmup_gradient": "moving", "backward_scale": "batch", "warmup_average": True}},
    "sn": {"two": {"using_bn": False}},
    "wn": {"data": {"data_init": True}},
}


def labels() -> dict[str, tuple[str, dict[str, Any]]]:
    found: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in NAMES}
    for name, variants in VARIANTS.items():
        found |= {f"{name}-{label}": (name, options) for label, options in variants.items()}
    return found


LAYERS = labels()


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("label", LAYERS)
def test_contract(label: str, check: str) -> None:
    """One check of one layer; give a new layer its formula in reference.py or in a test file of its own."""
    name, options = LAYERS[label]
    factory = partial(norms.build, name, **options)
    report = check_norm(factory, name=label, reference=REFERENCES.get(name), only=[check])
    assert report.ok, f"\n{report}"
    if report.skipped:
        assert _may_be_skipped(factory(nn.Conv2d(3, 8, 1)), check), f"\n{report}"
        pytest.skip(report.skipped[0].note)


def _may_be_skipped(norm: Norm, check: str) -> bool:
    """Nothing is skipped but what the layer, or a file of this folder, says does not apply."""
    if check == "formula":
        return any(_tests_the_formula(path, norm) for path in Path(__file__).parent.glob("test_*.py"))
    if check == "gradient":
        return not norm.exact_gradient
    if check == "batch independence":
        return not norm.batch_free
    if check == "mean over workers":
        return norm.sequential or not isinstance(norm, RunningNorm)
    return check == "measuring" and (not isinstance(norm, RunningNorm) or norm.needs_measuring)


def _tests_the_formula(path: Path, norm: Norm) -> bool:
    """Layers with a history, or a formula of more than a few lines, have it in a test file of their own."""
    text = path.read_text()
    named = f'"{norm.name}"' in text or type(norm).__name__ in text
    return path != Path(__file__) and named and "import numpy" in text


@pytest.mark.slow
@pytest.mark.parametrize("label", LAYERS)
def test_inductor_gives_the_same_numbers(label: str) -> None:
    name, options = LAYERS[label]
    report = check_norm(partial(norms.build, name, **options), name=label, only=["inductor"])
    assert report.ok, f"\n{report}"


def test_there_is_a_yaml_for_every_layer_and_a_layer_for_every_yaml() -> None:
    assert set(norms.names()) == set(NAMES) | set(plugins.offered())


def options_of(layer: type[Norm]) -> dict[str, Any]:
    """The keyword-only parameters with their defaults; **options are those of the next class."""
    found: dict[str, Any] = {}
    for cls in inspect.getmro(layer):
        if "__init__" in vars(cls):
            this, site, *rest = inspect.signature(cls.__init__).parameters.values()
            assert (this.name, site.name) == ("self", "site")
            found |= {p.name: p.default for p in rest if p.kind is p.KEYWORD_ONLY and p.name not in found}
            assert all(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in rest)
            if not any(p.kind is p.VAR_KEYWORD for p in rest):
                return found
    raise AssertionError(layer)


@pytest.mark.parametrize("name", NAMES)
def test_the_yaml_says_what_the_class_says(name: str) -> None:
    """Same options, same defaults, same batch_free: a layer built bare is the layer of norm=<name>."""
    layer, schema = norms.layer(name), dict(plugins.schema(name))
    assert schema.pop("name") == name
    assert schema.pop("batch_free") is layer.batch_free
    defaults = options_of(layer)
    assert schema.keys() == defaults.keys()
    for key, value in schema.items():
        if not (isinstance(value, str) and "${" in value):
            assert value == defaults[key], f"{key} is {value} in the yaml and {defaults[key]} in the class"


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_and_yaml_is_documented(name: str) -> None:
    """The yaml opens with its command; the class names what it normalizes over and has a docstring of its own."""
    layer = norms.layer(name)
    assert f"norm={name}" in (CONF / f"{name}.yaml").read_text().splitlines()[0]
    assert layer.over
    assert layer.paper or name == "none"
    assert vars(layer).get("__doc__")
    meanings = plugins.meanings(name)
    for key in plugins.options(name):
        assert meanings[key], f"{name}.yaml does not say what {key} means"
