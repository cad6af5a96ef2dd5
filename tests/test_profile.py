"""normbench profile: rows of what a norm costs."""

import csv
from pathlib import Path

import pytest
import torch
from torch import nn

from normbench import data as datasets
from normbench import profile
from normbench.compose import run_of
from normbench.config import ConfigError
from normbench.train.cost import TimedNetwork, measure

SMALL = ["model.options.width=4", "sgd_batch=8", "device=cpu", "--seconds=0.02"]


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


def test_a_row_for_each_norm_and_batch_and_a_newer_one_takes_its_place(tmp_path: Path) -> None:
    out = tmp_path / "sub" / "profile.csv"
    profile.main(["norm=bn,gn", "batch=2,4", "seed=0,1", *SMALL, f"--out={out}"])
    rows = rows_of(out)
    assert [(r["norm"], r["batch"], r["workers"]) for r in rows] == [
        ("bn", "2", "4"), ("gn", "2", "4"), ("bn", "4", "2"), ("gn", "4", "2"),
    ]  # fmt: skip
    assert all(float(r["train_img_per_s"]) > 0 and float(r["infer_img_per_s"]) > 0 for r in rows)
    profile.main(["norm=gn", "norm.groups=2", "batch=4", *SMALL, f"--out={out}"])
    profile.main(["norm=bn", "batch=2", *SMALL, f"--out={out}"])
    assert [r["label"] for r in rows_of(out)] == ["bn", "gn", "bn", "gn", "gn-groups2"]


def test_no_data_is_needed(tmp_path: Path) -> None:
    out = tmp_path / "profile.csv"
    overrides = ["data=imagenet", "data.image_size=16", "model=cifar_resnet8", "workers=1", "batch=2", "norm=frn"]
    profile.main([*overrides, "device=cpu", "--seconds=0.02", f"--out={out}"])
    (row,) = rows_of(out)
    assert (row["data"], row["image_size"], row["sgd_batch"], row["state_bytes"]) == ("imagenet", "16", "2", "0")


def test_saved_bytes_are_each_storage_once_without_what_is_there_anyway() -> None:
    network = TimedNetwork(run_of(["sgd_batch=8", "batch=8"]), torch.device("cpu"))
    conv = nn.Conv2d(1, 4, 3, padding=1, bias=False)
    network.model = nn.Sequential(conv, nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(4 * 144, 10))
    activations, log_probabilities, weight_sum = 8 * 4 * 144, 8 * 10, 1
    assert network.saved_bytes() == 4 * (activations + log_probabilities + weight_sum)


def test_state_is_the_buffers_of_all_workers() -> None:
    networks = measure([run_of([f"norm={n}", "batch=2", "sgd_batch=8"]) for n in ("bn", "brn", "gn")], seconds=0.01)
    channels = sum(m.channels for m in networks[0].model.modules() if hasattr(m, "running_mean"))
    layers = sum(hasattr(m, "running_mean") for m in networks[0].model.modules())
    assert [s.state_bytes() for s in networks] == [8 * channels, 8 * channels + 4 * 8 * channels + 8 * layers, 0]


def test_measuring_trains_nothing() -> None:
    run = run_of(["batch=2", "sgd_batch=8"])
    fresh = TimedNetwork(run, torch.device("cpu")).model
    (measured,) = measure([run], seconds=0.01)
    for a, b in zip(fresh.parameters(), measured.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_shape_of_an_image_is_that_of_the_data_set() -> None:
    run = run_of(["data.train_size=64"])
    images = datasets.build(run.data, seed=0, device=torch.device("cpu"), dtype=torch.float32)
    assert datasets.image_shape(run.data) == images.image_shape


def test_what_the_user_can_mend_is_one_line(tmp_path: Path) -> None:
    foreign = tmp_path / "other.csv"
    foreign.write_text("a,b\n1,2\n")
    for arguments, said in [
        (["norm=gnn"], "did you mean gn"),
        (["--rounds=3"], "unrecognized arguments"),
        ([f"--out={foreign}"], "has other columns than a profile's"),
    ]:
        with pytest.raises(ConfigError, match=said):
            profile.main(arguments)
    assert foreign.read_text() == "a,b\n1,2\n"
