"""probe.layer: what a line says of a layer, and that nobody who does not read it notices."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from forking import Server
from torch import Tensor, nn

import normbench
from normbench import models, records
from normbench.compose import run_of
from normbench.config import ConfigError
from normbench.runs import science
from normbench.train.probe import Probe

WORKERS = 4


class Explicit(nn.Module):
    """Batch normalization of each worker's images, one at a time, that shows its input and the
    normalized value.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        self.x, self.y = x, torch.empty_like(x)
        for worker in range(WORKERS):
            own = x[worker::WORKERS]
            var, mean = torch.var_mean(own, (0, 2, 3), keepdim=True, correction=0)
            self.y[worker::WORKERS] = (own - mean) / (var + self.layer.eps).sqrt()
        self.y.retain_grad()
        gamma, beta = (v.view(-1, 1, 1) for v in (self.layer.weight, self.layer.bias))
        return gamma * self.y + beta


def test_a_line_holds_the_statistics_of_worker_0_in_both_passes(tmp_path: Path) -> None:
    """In torchvision's ResNet-18, whose ReLU overwrites what the norm puts out."""
    run = run_of(["probe.layer=layer2.0.bn1", "probe.every=3", "sgd_batch=8", "batch=2"])
    torch.manual_seed(0)
    model = models.build("resnet18", "bn", workers=WORKERS, zero_last_gamma=False, fc_std=None).double().train()
    layer = model.get_submodule("layer2.0.bn1")
    with torch.no_grad():
        layer.weight.uniform_(0.5, 1.5)  # type: ignore[operator, union-attr]
        layer.bias.normal_()  # type: ignore[operator, union-attr]
    x, labels = torch.randn(8, 3, 48, 48).double(), torch.randint(0, 10, (8,))

    probe, scaler = Probe(run, model, tmp_path), torch.amp.GradScaler("cpu", enabled=False)
    for step in range(1, 7):
        probe.before_step(epoch=1, step=step)
        F.cross_entropy(model(x), labels).backward()
        probe.after_backward(scaler)
    lines = records.read_probes(tmp_path)
    assert [(line["step"], line["epoch"], line["images_seen"]) for line in lines] == [(3, 1, 24), (6, 1, 48)]
    assert not layer._forward_hooks
    assert list(lines[0]["filter_norms"]) == list(models.norm_layers(model))

    reference = Explicit(layer)
    model.set_submodule("layer2.0.bn1", reference)
    F.cross_entropy(model(x), labels).backward()
    seen, y, grad = (v.detach()[::WORKERS].numpy() for v in (reference.x, reference.y, reference.y.grad))
    line = lines[0]
    assert line["percentiles"] == pytest.approx({str(p): np.percentile(seen, p) for p in (1, 20, 80, 99)}, rel=1e-12)
    assert line["mean"] == pytest.approx(seen[:, 0].mean(), rel=1e-12)
    assert line["var"] == pytest.approx(seen[:, 0].var(), rel=1e-12)
    assert line["grad_mean"] == pytest.approx(grad[:, 0].mean(), rel=1e-9)
    assert line["grad_product"] == pytest.approx((y * grad)[:, 0].mean(), rel=1e-9)
    theta = model.get_parameter("layer2.0.conv1.weight").detach().numpy()
    lengths = [np.linalg.norm(one) for one in theta]
    assert line["filter_norms"]["layer2.0.bn1"] == pytest.approx(np.sqrt(np.mean(np.square(lengths))), rel=1e-12)
    assert "past_batches" not in line


@pytest.mark.parametrize("norm", ["bn", "cbn"])
def test_a_probed_run_trains_bit_for_bit_as_one_that_is_not(norm: str, tiny: list[str]) -> None:
    watched = ["probe.layer=last", "probe.every=5"]
    probed, plain = (normbench.run([*tiny, f"norm={norm}", *more]) for more in (watched, []))
    states = [torch.load(r.path / "checkpoint.pt", weights_only=True) for r in (probed, plain)]
    assert all(torch.equal(v, states[1]["model"][k]) for k, v in states[0]["model"].items())
    assert [line["step"] for line in records.read_probes(probed.path)] == [5, 10, 15, 20]
    assert not (plain.path / "probes.jsonl").exists()


@pytest.mark.parametrize("norm", ["none", "frn", "evonorm_s0", "scn"])
def test_where_the_normalized_value_cannot_be_seen_its_gradient_is_null(norm: str, tiny: list[str]) -> None:
    run = normbench.run([*tiny, f"norm={norm}", "recipe.epochs=1", "probe.layer=bn1", "probe.every=4"])
    (line,) = records.read_probes(run.path)[:1]
    assert (line["grad_mean"], line["grad_product"]) == (None, None)
    assert line["percentiles"]["1"] < line["percentiles"]["99"]


def test_a_layer_that_is_not_there_is_refused_with_the_nearest(tiny: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"did you mean layer2\.0\.bn2\?\); its 7 run from bn1 to layer3\.0\.bn2"):
        normbench.run([*tiny, "probe.layer=layer2.bn2"])
    with pytest.raises(ConfigError, match="has no layer to watch"):
        run_of(["probe.every=5"])


def test_the_probe_is_a_field_of_the_run_where_it_is_on_and_worker_0_needs_a_batch() -> None:
    assert "probe" not in science(run_of([]))
    assert science(run_of(["probe.layer=last"]))["probe"] == {"layer": "last", "every": 10}
    assert run_of(["norm=gn"]).batch_free
    assert not run_of(["norm=gn", "probe.layer=last"]).batch_free


@pytest.mark.parametrize("norm", ["brn", "cbn"])
def test_two_processes_write_the_records_of_one(norm: str, server: Server, tmp_path: Path) -> None:
    """With all that looks into training or changes its batches, on a layer in which each worker has
    a history.
    """
    overrides = [f"norm={norm}", "data.train_size=256", "recipe.epochs=2", "sgd_batch=32", "batch=8", "precision=fp64"]
    overrides += ["model.options.width=4", "device=cpu", "recipe.zero_last_gamma=false", "recipe.fc_std=null"]
    overrides += ["probe.layer=layer2.0.bn2", "probe.every=4", "data.labels_per_batch=4", "recipe.freeze_from=0.5"]
    overrides += ["eval_stats=batch", "eval_also=[mean,precise]", "data.test_size=1003"]
    runs = []
    for count, name in ((1, "one"), (2, "two")):
        launches = server.ranks(*overrides, f"out={tmp_path / name}", cwd=tmp_path, count=count)
        assert [launch.wait() for launch in launches] == [0] * count, launches[0].said()
        runs.append(next((tmp_path / name).rglob("result.json")).parent)
    one, two = (torch.load(path / "checkpoint.pt", weights_only=True)["model"] for path in runs)
    assert max(float((one[k] - two[k]).abs().max()) for k in one if one[k].shape == two[k].shape) <= 1e-12
    rows = [[{**row, "seconds": 0} for row in records.read_rows(path)] for path in runs]
    assert rows[0] == [pytest.approx(row, rel=1e-12) for row in rows[1]]
    for a, b in zip(*map(records.read_probes, runs), strict=True):
        for nested in ("percentiles", "filter_norms"):
            assert a.pop(nested) == pytest.approx(b.pop(nested), abs=1e-12)
        assert a == pytest.approx(b, abs=1e-12)
