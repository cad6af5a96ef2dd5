"""Damaged and foreign checkpoints, rows that are missing, NaN: refused or mended, never a result."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import normbench
from normbench import records
from normbench.config import ConfigError
from normbench.train import checkpoint, evaluate, loop

CUT = ["data.train_size=128", "recipe.epochs=3", "sgd_batch=32", "batch=8", "model.options.width=2", "device=cpu"]
CUT += ["data.test_size=200"]
FLIPS = 64


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs, done."""
    return normbench.run([*CUT, f"out={tmp_path_factory.mktemp('ended') / 'runs'}"]).path


@pytest.fixture
def cut(ended: Path, tmp_path: Path) -> tuple[Path, list[str]]:
    """The same run as its last checkpoint left it, to be spoilt, and what to type."""
    folder = tmp_path / "runs" / ended.relative_to(ended.parents[4])
    shutil.copytree(ended, folder)
    return folder, [*CUT, f"out={tmp_path / 'runs'}"]


def same(a: Path, b: Path) -> bool:
    one, two = (torch.load(f / "checkpoint.pt", weights_only=True)["model"] for f in (a, b))
    return all(torch.equal(one[name], two[name]) for name in one)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in records.read_rows(folder)]


def flip(path: Path, dice: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


# ------------------------------------------------------------------ line 2: one flipped bit


def test_no_flipped_bit_is_trained_on(ended: Path, tmp_path: Path, tried: Callable[..., None]) -> None:
    dice, path = random.Random(0), tmp_path / "checkpoint.pt"
    for _ in range(FLIPS):
        shutil.copy(ended / "checkpoint.pt", path)
        flip(path, dice)
        with pytest.raises(ConfigError, match=r"checkpoint\.pt is (damaged|no checkpoint)"):
            checkpoint.read(path)
    tried("flipped bits", FLIPS)


def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(
    ended: Path, cut: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, overrides = cut
    (folder / "result.json").unlink()
    flip(folder / "checkpoint.pt", random.Random(1))
    normbench.run(overrides)
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "going on" in line]
    assert "checkpoint.pt is damaged" in said
    assert said.endswith("going on from checkpoint.previous.pt, after epoch 2")
    assert rows(folder) == rows(ended)
    assert same(folder, ended)


def test_where_both_are_damaged_every_rerun_names_file_and_way_out(cut: tuple[Path, list[str]]) -> None:
    folder, overrides = cut
    (folder / "result.json").unlink()
    for name in records.CHECKPOINTS:
        flip(folder / name, random.Random(2))
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"checkpoint\.pt is damaged.*overwrite=true trains the run anew"):
            normbench.run(overrides)
    assert records.state(folder) == "failed"
    assert normbench.run([*overrides, "overwrite=true"]).status == "done"


# ------------------------------------------------------------------ lines 3 and 10: another file


@pytest.mark.parametrize("kind", ["run", "network", "empty", "truncated", "list", "directory"])
def test_another_file_in_its_place_is_refused_by_name(kind: str, cut: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, overrides = cut
    (folder / "result.json").unlink()
    path = folder / "checkpoint.pt"
    whole = path.read_bytes()
    for name in records.CHECKPOINTS:
        (folder / name).unlink()
    if kind in ("run", "network"):
        more = ["seed=1"] if kind == "run" else ["model.options.width=4"]
        shutil.copy(normbench.run([*CUT, *more, f"out={tmp_path / 'other'}"]).path / "checkpoint.pt", path)
    elif kind == "list":
        torch.save([1, 2], path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.write_bytes(whole[: len(whole) // 2] if kind == "truncated" else b"")
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"checkpoint\.pt.*overwrite=true") as refused:
            normbench.run(overrides)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["directory", "/dev/zero", "empty", "text"])
def test_weights_to_start_from_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    path = Path(kind) if kind.startswith("/") else tmp_path / "weights.pt"
    if kind == "directory":
        path.mkdir()
    elif not kind.startswith("/"):
        path.write_text("" if kind == "empty" else "hello")
    with pytest.raises(ConfigError, match=str(path)):
        normbench.run([*CUT, f"out={tmp_path / 'runs'}", "norm=frozen", f"norm.checkpoint={path}"])


# ------------------------------------------------------------------ line 4: rows


SPOILT: dict[str, Callable[[list[str]], list[str]]] = {
    "deleted": lambda lines: [],
    "one is missing": lambda lines: [lines[0], lines[2]],
    "the last is missing": lambda lines: lines[:2],
    "twice": lambda lines: [*lines, lines[1]],
    "another of epoch 2": lambda lines: [*lines, lines[1].replace('"lr": ', '"lr": 1')],
    "epoch 0": lambda lines: ['{"epoch": 0, "top1_error_pct": 1.0}', *lines],
    "epoch -5": lambda lines: ['{"epoch": -5, "top1_error_pct": 1.0}', *lines],
    "epoch 4": lambda lines: [*lines, '{"epoch": 4, "top1_error_pct": 1.0}'],
}
MENDED = ("the last is missing", "twice", "epoch 0", "epoch -5", "epoch 4")


@pytest.mark.parametrize("how", SPOILT)
def test_a_result_needs_each_row_once(how: str, ended: Path, cut: tuple[Path, list[str]]) -> None:
    folder, overrides = cut
    lines = (folder / "epochs.jsonl").read_text().splitlines()
    (folder / "epochs.jsonl").write_text("".join(line + "\n" for line in SPOILT[how](lines)))
    assert records.state(folder) == "cut"
    if how in MENDED:
        assert normbench.run(overrides).status == "done"
        assert rows(folder) == rows(ended)
        assert same(folder, ended)
        assert records.state(folder) == "done"
    else:
        with pytest.raises(ConfigError, match=r"epochs\.jsonl has (no row|two rows) of epoch .*overwrite=true"):
            normbench.run(overrides)
        for name in records.CHECKPOINTS:
            (folder / name).unlink()
        with pytest.raises(ConfigError, match=r"no checkpoint to go on from; overwrite=true"):
            normbench.run(overrides)
        assert (folder / "result.json").exists()  # a refusal destroys nothing


# ------------------------------------------------------------------ line 8: not a number


def test_a_run_that_diverges_leaves_the_checkpoint_of_the_epoch_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = torch.optim.SGD.step
    steps = iter(range(1, 100))

    def spoil(self: torch.optim.SGD, *more: Any) -> Any:
        done = step(self, *more)
        if next(steps) == 7:  # step 3 of 4 in epoch 2
            self.param_groups[0]["params"][0].data.fill_(float("nan"))
        return done

    monkeypatch.setattr(torch.optim.SGD, "step", spoil)
    result = normbench.run([*CUT, "checkpoint_steps=1", f"out={tmp_path / 'runs'}"])
    kept = torch.load(result.path / "checkpoint.pt", weights_only=True)
    assert (result.status, result.epochs) == ("diverged", 1)
    assert (kept["epoch"], kept["step"]) == (1, 0)
    assert all(bool(v.isfinite().all()) for v in kept["model"].values())


def test_running_statistics_that_are_no_numbers_are_divergence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = records.append_row
    models: list[torch.nn.Module] = []
    also = evaluate.evaluate_also

    def seen(run: Any, model: torch.nn.Module, *more: Any) -> Any:
        models.append(model)
        return also(run, model, *more)

    def spoil(folder: Path, values: dict[str, Any]) -> None:
        row(folder, values)
        evaluate.batch_layers(models[0])[0].running_var.fill_(float("nan"))

    monkeypatch.setattr(loop, "evaluate_also", seen)
    monkeypatch.setattr(records, "append_row", spoil)
    result = normbench.run([*CUT, f"out={tmp_path / 'runs'}"])
    assert (result.status, result.epochs) == ("diverged", 1)


# ------------------------------------------------------------------ line 16: config.yaml


@pytest.mark.parametrize("text", ["", "hello", "lr", "batch"])
def test_a_config_changed_by_hand_is_refused(text: str, cut: tuple[Path, list[str]]) -> None:
    folder, overrides = cut
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("\nbatch: 8", "\nbatch: 4") if text == "batch" else text)
    before = sorted(p.name for p in folder.iterdir())
    with pytest.raises(ConfigError, match=r"config\.yaml.*overwrite=true"):
        normbench.run(overrides)
    assert sorted(p.name for p in folder.iterdir()) == before


def test_a_folder_removed_in_mid_run_ends_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def removed(folder: Path, row: dict[str, Any]) -> None:
        shutil.rmtree(folder)
        (folder / json.dumps(row)[:9]).touch()

    monkeypatch.setattr(records, "append_row", removed)
    with pytest.raises(ConfigError, match="was removed while the run trained"):
        normbench.run([*CUT, f"out={tmp_path / 'runs'}"])
