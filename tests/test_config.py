"""What a run means: derived values, rules, identity."""

import pickle
from dataclasses import FrozenInstanceError, asdict, replace

import pytest

from normbench.compose import planned, run_of
from normbench.config import ConfigError
from normbench.runs import science


@pytest.mark.parametrize(
    ("overrides", "workers", "sgd_batch", "lr"),
    [
        (["protocol=per_worker", "recipe=gn2018", "batch=32"], 8, 256, 0.1),
        # the GN paper's 0.1 x N/32
        (["protocol=per_worker", "recipe=gn2018", "batch=2"], 8, 16, 0.1 * 2 / 32),
        (["protocol=per_worker", "recipe=gn2018", "batch=2", "workers=4"], 4, 8, 0.1 * 8 / 256),
        (["protocol=fixed_sgd", "recipe=gn2018", "batch=2"], 128, 256, 0.1),
        (["protocol=fixed_sgd", "recipe=gn2018", "batch=2", "sgd_batch=64"], 32, 64, 0.025),
    ],
)
def test_one_linear_rule_serves_both_protocols(overrides: list[str], workers: int, sgd_batch: int, lr: float) -> None:
    run = run_of(overrides)
    assert (run.workers, run.sgd_batch) == (workers, sgd_batch)
    assert run.lr == pytest.approx(lr, rel=1e-15)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["batch=0"], "batch must be at least 1, got 0"),
        (["batch=5"], "batch=5 must divide sgd_batch=64"),
        (["data.train_size=50"], "sgd_batch=64 (batch=32 x workers=2) is larger than the training set of 50 images"),
        (["data.train_size=9000"], "data.train_size=9000 is more than the 8000 training images"),
        (["data.test_size=8001"], "data.test_size=8001 is more than the 8000 test images of digits"),
        (["workers=3"], "workers=3 cannot be set under protocol=fixed_sgd"),
        (["protocol=per_worker", "sgd_batch=7"], "sgd_batch=7 cannot be set under protocol=per_worker"),
        (["data=imagenet"], "train/<class>/*.JPEG"),
        (["data=cifar10", "data.root=/nowhere"], "data.download=true"),
        (["eval_stats=worker1"], "did you mean worker0?"),
        (["recipe.milestones=[30,60]"], "fractions of the epochs"),
        (["norm.momentum=high"], "norm.momentum='high' should be a float"),
        (["norm.batch_free=true"], "a property of bn"),
        (["model=torchvision"], "model.name must be given"),
        (["recipe.lr=0"], "recipe.lr must be above 0"),
        (["recipe.label_smoothing=1"], "in [0, 1)"),
    ],
)
def test_a_broken_rule_is_one_line_with_the_value_and_the_way_out(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run_of(overrides)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_data_alone_picks_network_recipe_and_protocol(tmp_path) -> None:
    for name in ("train/a", "train/b", "val/a", "val/b"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.jpg").write_bytes(b"")
    run = run_of(["data=imagenet", f"data.root={tmp_path}"])
    assert (run.model.name, run.recipe.name, run.protocol) == ("resnet50", "gn2018", "per_worker")
    assert (run.recipe.epochs, run.workers, run.recipe.weight_decay) == (100, 8, 1e-4)
    chosen = run_of(["data=imagenet", f"data.root={tmp_path}", "model=resnet18", "protocol=fixed_sgd"])
    assert (chosen.model.name, chosen.protocol, chosen.sgd_batch) == ("resnet18", "fixed_sgd", 256)


def test_order_defaults_and_hardware_do_not_fork_a_run() -> None:
    plain = run_of(["batch=8", "seed=1"]).identity
    for same in (
        ["seed=1", "batch=8"],
        ["batch=8", "seed=1", "norm=bn", "recipe.lr=0.2", "norm.eps=0.00001", "model.options.width=16"],
        ["batch=8", "seed=1", "device=cpu", "tracker=wandb", "threads=1", "channels_last=true", "out=elsewhere"],
        ["batch=8", "seed=1", "workers=8"],
    ):
        assert run_of(same).identity == plain, same
    for other in (["batch=4", "seed=1"], ["batch=8", "seed=2"], ["batch=8", "seed=1", "norm.momentum=0.2"]):
        assert run_of(other).identity != plain, other


def test_a_batch_free_norm_under_fixed_sgd_is_one_run_for_every_batch() -> None:
    two, thirty_two = run_of(["norm=gn", "batch=2"]), run_of(["norm=gn", "batch=32"])
    assert two.identity == thirty_two.identity
    assert "batch" not in science(two)
    assert run_of(["norm=gn", "sgd_batch=32", "batch=2"]).identity != two.identity
    per_worker = [run_of(["norm=gn", "protocol=per_worker", f"batch={n}"]).identity for n in (2, 32)]
    assert per_worker[0] != per_worker[1]  # there batch sets the SGD batch


def test_what_is_off_leaves_no_trace_in_the_identity() -> None:
    assert "label_smoothing" in science(run_of([]))["recipe"]  # 0.0 is a value
    assert "nesterov" not in science(run_of([]))["recipe"]
    assert "train_size" not in science(run_of([]))["data"]


def test_the_path_names_what_differs_from_the_yaml() -> None:
    run = run_of(["norm=gn", "norm.groups=8", "batch=4"])
    assert run.norm.label == "gn-groups8"
    assert str(run.folder) == f"results/runs/digits/cifar_resnet8/gn-groups8/any64/s0-{run.identity}"
    assert "/bn/b4x16/s0-" in str(run_of(["batch=4"]).folder)


@pytest.mark.parametrize(
    "sweep",
    [
        ["experiment=gn_fig1", "seed=0,1"],
        # a value of a norm that the experiment's grid chooses
        ["experiment=cbn_window", "norm.eps=1e-4"],
        ["experiment=wj_fig", "protocol=per_worker,fixed_sgd", "batch=4,2"],
        ["norm=cbn", "norm.window=1,2", "eval_also=[precise],null", "model.options.width=8,16", "++recipe.lr=0.2"],
    ],
)
def test_the_cells_of_a_sweep_are_those_that_hydra_composes_one_by_one(sweep: list[str]) -> None:
    found = planned(sweep)
    assert len(found) >= 8
    for overrides, run in found:
        assert asdict(run) == asdict(run_of(overrides))


def test_a_sweep_over_a_wrong_value_is_refused_as_the_value_alone() -> None:
    with pytest.raises(ConfigError, match=r"^batch=abc: Value 'abc' of type 'str' could not be converted to Integer$"):
        planned(["batch=2,abc"])


def test_a_run_is_a_value_whose_names_follow_from_it() -> None:
    run = run_of(["norm=gn", "batch=4", "protocol=per_worker", "probe.layer=last"])
    with pytest.raises(FrozenInstanceError):
        run.batch = 8  # type: ignore[misc]
    assert run.folder == replace(run, overwrite=True, device="cpu").folder
    other = replace(run, batch=8)
    assert (other.identity, other.folder.name) != (run.identity, run.folder.name)
    travelled = pickle.loads(pickle.dumps(run))
    assert (travelled, travelled.folder) == (run, run.folder)
