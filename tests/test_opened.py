"""The way back: a run's network, its preprocessing and its predictions, out of its folder."""

import hashlib
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from ranks import on_ranks
from test_own_images import SMALL, pictures

import normbench
from normbench import data, recorded, records
from normbench.compose import run_of
from normbench.config import ConfigError
from normbench.data.prepare import Preprocess
from normbench.models.cifar_resnet import CifarResNet
from normbench.opened import OpenedRun

CPU = torch.device("cpu")
EMA, PRECISE = "recipe.ema=0.9", "eval_stats=precise"
FROZEN = ["recipe.freeze_from=0.5", "recipe.schedule=step", "recipe.milestones=[1]"]


def error(run: OpenedRun) -> float:
    found = run.predictions()
    return 100 * int((found["predicted"] != found["label"]).sum()) / len(found)


@pytest.mark.parametrize(
    "more",
    [
        ["norm=gn"],
        ["norm=bn_ws"],  # has its conv's weight elsewhere
        ["norm=cbn"],  # remembers other batches of each worker
        ["eval_stats=mean"],
        ["eval_stats=batch"],
        [PRECISE],
        [EMA],
        [EMA, PRECISE],  # whose statistics no checkpoint has
        [PRECISE, *FROZEN],
        ["precision=bf16"],
    ],
    ids=" ".join,
)
def test_the_predictions_are_wrong_as_often_as_the_run_recorded(more: list[str], tiny: list[str]) -> None:
    result = normbench.run([*tiny, "recipe.epochs=2", *more])
    assert error(normbench.open_run(result.path)) == result.final


@pytest.mark.parametrize("more", [["norm=cbn"], ["eval_stats=batch"], ["eval_stats=mean"]], ids=" ".join)
def test_so_are_those_of_a_run_of_several_processes(more: list[str], tmp_path: Path) -> None:
    run = normbench.open_run(on_ranks(2, more, tmp_path))
    assert run.environment["world_size"] == 2
    assert error(run) == run.result["top1_error_pct"]["final"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> OpenedRun:
    """A run of two epochs with plain BN and a moving average of the weights beside."""
    small = ["data.train_size=256", "data.test_size=200", "recipe.epochs=2", "sgd_batch=32", "batch=8"]
    small += ["model.options.width=4", "device=cpu"]
    result = normbench.run([*small, f"out={tmp_path_factory.mktemp('trained') / 'runs'}"])
    return normbench.open_run(result.path)


@pytest.fixture
def copied(trained: OpenedRun, tmp_path: Path) -> Path:
    """A folder of that run which may be damaged."""
    return Path(shutil.copytree(trained.folder, tmp_path / trained.folder.name))


# ---------------------------------------------------------------------------- against another way to the same


def test_predictions_are_what_torchs_own_network_says_of_each_image(trained: OpenedRun) -> None:
    stock = CifarResNet(8, num_classes=10, image_channels=1, width=4)
    state = torch.load(trained.folder / "checkpoint.pt", weights_only=True)["model"]
    stock.load_state_dict(state, strict=False)  # torch counts batches besides
    images = data.build(trained.settings.data, seed=0, device=CPU, dtype=torch.float32)
    assert isinstance(images, data.InMemory)
    with torch.no_grad():
        shares = F.softmax(stock.eval()(images.normalise(images.test_x)).double(), 1)
    found = trained.predictions()
    assert list(found) == ["position", "label", "predicted", "probability", "label_probability"]
    assert list(found["position"]) == list(range(200))
    assert list(found["label"]) == images.test_y.tolist()
    assert list(found["predicted"]) == shares.argmax(1).tolist()
    np.testing.assert_allclose(found["probability"], shares.max(1).values, atol=1e-6)
    np.testing.assert_allclose(found["label_probability"], shares[range(200), images.test_y], atol=1e-6)


def test_the_network_is_in_eval_mode_with_the_averaged_weights_where_those_were_evaluated(tiny: list[str]) -> None:
    run = normbench.open_run(normbench.run([*tiny, EMA]).path)
    model, saved = run.model(), torch.load(run.folder / "checkpoint.pt", weights_only=True)
    assert not any(module.training for module in model.modules())
    state = model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in saved["ema"].items())
    assert not torch.equal(state["conv1.weight"], saved["model"]["conv1.weight"])


def test_opening_leaves_the_folder_and_the_random_numbers_as_they_were(trained: OpenedRun) -> None:
    def stamps() -> dict[str, tuple[int, str]]:
        files = sorted(path for path in trained.folder.iterdir() if path.is_file())
        return {p.name: (p.stat().st_mtime_ns, hashlib.sha256(p.read_bytes()).hexdigest()) for p in files}

    before, drawn = stamps(), torch.get_rng_state()
    run = normbench.open_run(trained.folder)
    run.model(), run.rows(), run.predictions()
    assert stamps() == before
    assert torch.equal(torch.get_rng_state(), drawn)


def test_the_records_are_those_on_disk(trained: OpenedRun) -> None:
    assert trained.config == records.read_config(trained.folder)
    assert trained.rows().to_dict("records") == records.read_rows(trained.folder)
    assert trained.result == records.read_json(trained.folder / "result.json")
    assert trained.command == " ".join(trained.environment["command"])


def test_a_run_is_read_back_as_it_was_settled() -> None:
    typed = ["norm=gn", "norm.groups=4", "data=cifar10", "data.root=x", "probe.layer=last", "eval_also=[batch]",
             "recipe.optimizer=adamw", "recipe.optimizer_options.eps=1e-6", "workers=4", "protocol=per_worker"]  # fmt: skip
    for run in (run_of(typed, files=False), run_of(["norm=cbn", "norm.window=2", "data.fresh=true"])):
        without_facts = replace(run, data=replace(run.data, facts={}))  # no record repeats them
        assert recorded.settled(run.description()) == without_facts


def test_runs_of_an_older_version_are_read_back() -> None:
    for config in (Path(__file__).parent / "older").rglob("config.yaml"):
        assert recorded.run_in(config.parent).identity in config.parent.name


# ---------------------------------------------------------------------------- which run


def test_a_run_is_found_by_the_beginning_of_its_identity(trained: OpenedRun, tmp_path: Path) -> None:
    runs, identity = trained.folder.parents[4], trained.config["identity"]
    assert normbench.open_run(identity[:4], runs).folder == trained.folder
    shutil.copytree(trained.folder, tmp_path / "a" / trained.folder.name)
    shutil.copytree(trained.folder, tmp_path / "b" / trained.folder.name)
    for typed, said in (
        (identity[:4], "2 runs below .* begin so, .*/a/.* and .*/b/.* among them"),
        ("nowhere", "'nowhere': no such folder, and no run below .* whose identity begins so"),
        (tmp_path, "is not the folder of one run: 2 runs are below it"),
    ):
        with pytest.raises(ConfigError, match=said):
            normbench.open_run(typed, tmp_path)


# ---------------------------------------------------------------------------- what cannot come back


def test_a_network_that_is_gone_or_damaged_is_refused_in_a_line(copied: Path, tiny: list[str]) -> None:
    def refused(said: str) -> None:
        for ask in (OpenedRun.model, OpenedRun.predictions):
            with pytest.raises(ConfigError, match=said) as found:
                ask(normbench.open_run(copied))
            assert "\n" not in str(found.value)

    path = copied / "checkpoint.pt"
    whole = path.read_bytes()
    path.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    refused("is damaged: its checksum is another")
    shutil.copy(copied / "checkpoint.previous.pt", path)
    refused("is done, and its checkpoint is of epoch 1 of 2; overwrite=true trains the run anew")
    shutil.copy(normbench.run([*tiny, "norm=gn"]).path / "checkpoint.pt", path)
    refused("is of another run, ")
    path.unlink()
    refused(r"has no checkpoint.pt: its weights were removed, or none were written yet; overwrite=true")


def test_a_changed_config_is_refused_when_it_is_opened(copied: Path) -> None:
    path = copied / "config.yaml"
    text = path.read_text()
    for old, new, said in (
        ("\nseed: 0", "\nseed: 1", "its settings are those of"),
        ("\nseed: 0", '\nseed: "x"', "does not say what this version needs"),
        ('"epochs": 2', '"epochen": 2', "does not say what this version needs"),
        ("\nnorm: {", "\nnorm: [{", "was not written by normbench"),
    ):
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(ConfigError, match=said):
            normbench.open_run(copied)
    path.unlink()
    with pytest.raises(ConfigError, match=r"has no config\.yaml"):
        normbench.open_run(copied)


def test_a_cut_run_says_at_which_epoch_it_is_and_gives_its_weights_as_they_stand(tmp_path: Path) -> None:
    run = normbench.open_run(
        on_ranks(1, ["checkpoint_steps=2", PRECISE, "precise_images=16", "eval_also=[]"], tmp_path, cut_at=2)
    )
    said = rf"is cut, its checkpoint of epoch 0 of 1; {re.escape(run.command or '')} finishes it, and unfinished=True"
    with pytest.raises(ConfigError, match=said):
        run.model()
    found, saved = run.model(unfinished=True), torch.load(run.folder / "checkpoint.pt", weights_only=True)["model"]
    state = found.state_dict()
    assert torch.equal(state["conv1.weight"], saved["conv1.weight"])
    assert not torch.equal(state["bn1.running_mean"], saved["bn1.running_mean"])  # measured: precise_images
    assert len(run.predictions(unfinished=True)) == 203


def test_a_diverged_run_has_the_weights_of_its_last_finite_epoch(tiny: list[str]) -> None:
    run = normbench.open_run(normbench.run([*tiny, "norm=none", "recipe.lr=1e6"]).path)
    with pytest.raises(ConfigError, match=r"diverged in epoch 1 and has no final weights; unfinished=True"):
        run.predictions()
    assert all(p.isfinite().all() for p in run.model(unfinished=True).parameters())


def test_another_rounding_is_warned_of_and_not_hidden(copied: Path) -> None:
    result = records.read_json(copied / "result.json")
    final = result["top1_error_pct"]["final"]
    result["top1_error_pct"]["final"] = final + 0.0125  # one image
    records.write_json(copied / "result.json", result)
    with pytest.warns(UserWarning, match=rf"{final:.4f} % of these .* recorded {final + 0.0125:.4f} %"):
        normbench.open_run(copied).predictions()


# ---------------------------------------------------------------------------- preprocessing


def test_an_image_of_a_folder_is_prepared_as_the_test_images_and_needs_none_of_them(tmp_path: Path) -> None:
    root = pictures(tmp_path / "here", side=40)
    small = ["recipe.epochs=1", "sgd_batch=8", "batch=4", "model.options.width=4", f"out={tmp_path / 'runs'}"]
    cut = ["data.image_size=24", "data.eval_resize=28", "data.name=shades", f"data.root={root}", "device=cpu"]
    result = normbench.run([*SMALL, *cut, *small])
    images = data.build(run_of([*SMALL, *cut]).data, seed=0, device=CPU, dtype=torch.float32)
    wanted = next(images.evaluation(batch=24))[0][images_of(24).index(0)]
    away = root.rename(tmp_path / "away")
    run, path = normbench.open_run(result.path), away / "val" / "dark" / "0.png"
    for image in (
        path,
        str(path),
        Image.open(path),
        np.asarray(Image.open(path)),
        np.asarray(Image.open(path))[..., None],
    ):
        assert torch.equal(run.preprocess(image)[0], wanted)
    assert run.model()(run.preprocess(path)).shape == (1, 2)
    with pytest.raises(ConfigError, match=r"data\.root"):
        run.predictions()
    moved = normbench.open_run(result.path, root=away)
    assert error(moved) == result.final
    assert moved.classes == ["dark", "light"]


def images_of(count: int) -> list[int]:
    """Which test image stands at each place of the evaluation."""
    return list(data.images.order.permutation(count, "evaluation"))


def test_an_image_of_the_digits_is_prepared_as_the_test_images(trained: OpenedRun) -> None:
    images = data.build(trained.settings.data, seed=0, device=CPU, dtype=torch.float32)
    assert isinstance(images, data.InMemory)
    wanted = images.normalise(images.test_x[:1])
    for image in (images.test_x[0], images.test_x[0, 0].numpy()):
        assert torch.equal(trained.preprocess(image), wanted)
    grey = (images.test_x[0, 0].clamp(0, 1) * 255).round().byte()
    near = images.normalise(grey[None, None] / 255)
    torch.testing.assert_close(trained.preprocess(Image.fromarray(grey.numpy())), near, rtol=0, atol=1e-6)
    torch.testing.assert_close(trained.preprocess(grey.numpy()), near, rtol=0, atol=1e-6)
    colour = Image.new("RGB", (30, 20), (255, 255, 255))  # cut to its centre and made grey
    torch.testing.assert_close(trained.preprocess(colour), images.normalise(torch.ones(1, 1, 12, 12)))


def test_an_image_of_a_data_set_in_memory_is_covered_and_its_centre_kept() -> None:
    prepared = Preprocess(run_of(["data=cifar10"], files=False).data, lambda x: x, 255)  # type: ignore[arg-type]
    prepared._normalise = Plain()  # type: ignore[assignment]
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 32:64] = 200
    assert torch.equal(prepared(wide), torch.full((1, 3, 32, 32), 200, dtype=torch.uint8))
    assert prepared(np.zeros((7, 9), np.uint8)).shape == (1, 3, 32, 32)
    pixels = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)
    assert torch.equal(prepared(pixels)[0], torch.from_numpy(pixels).permute(2, 0, 1))


class Plain:
    """In the place of Normalise: the pixels as they come."""

    mean = torch.zeros(1)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((8, 8), np.float32), "taken as it is, 1 x 12 x 12, and this one is 1 x 8 x 8"),
        (np.zeros((8, 8), np.int64), "uint8 values, or floating-point ones from 0 to 1; got torch.int64"),
        (np.zeros((8, 8, 5), np.uint8), "1 channel or 3"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"an array \(H, W\)"),
        (Image.new("F", (12, 12)), "floating-point numbers, whose white is not known"),
        (Path(__file__), "not an image"),
    ],
    ids=lambda value: "",
)
def test_what_is_no_image_is_refused(image: object, said: str, trained: OpenedRun) -> None:
    with pytest.raises(ConfigError, match=said):
        trained.preprocess(image)  # type: ignore[arg-type]
