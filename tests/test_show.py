"""`normbench show`: one run on one screen."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from rich.table import Table
from sklearn.metrics import confusion_matrix

import normbench
from normbench import command, confusion, records, show
from normbench.config import ConfigError

RNG = np.random.default_rng(0)


def shown(table: Table) -> list[list[str]]:
    console = Console(width=200, color_system=None)
    with console.capture() as found:
        console.print(table)
    return [line.split() for line in found.get().splitlines()]


def answers(classes: int, images: int) -> pd.DataFrame:
    label, other = RNG.integers(0, classes, (2, images))
    return pd.DataFrame({"label": label, "predicted": np.where(RNG.random(images) < 0.7, label, other)})


# ---------------------------------------------------------------------------- errors by class


def test_the_matrix_is_scikit_learns_with_the_error_of_each_label() -> None:
    found = answers(4, 500)
    title, names, *rows = shown(confusion.matrix(found, ["cat", "dog", "owl", "pig"]))
    assert (title, names) == (["label", "\\", "predicted"], ["cat", "dog", "owl", "pig", "error", "%"])
    counts = confusion_matrix(found["label"], found["predicted"])
    assert [[int(cell) for cell in row[1:-1]] for row in rows] == counts.tolist()
    wanted = 100 * (1 - counts.diagonal() / counts.sum(1))
    assert [row[-1] for row in rows] == [f"{error:.2f}" for error in wanted]


def test_an_answer_of_nan_has_a_column_of_its_own_and_a_class_without_images_no_error() -> None:
    found = pd.DataFrame({"label": [0, 0, 1], "predicted": [0, -1, -1]})
    assert shown(confusion.matrix(found, ["a", "b", "c"]))[1:] == [
        ["a", "b", "c", "nan", "error", "%"],
        ["a", "1", "·", "·", "1", "50.00"],
        ["b", "·", "0", "·", "1", "100.00"],
        ["c", "·", "·", "0", "·", "-"],
    ]


def test_of_many_classes_the_worst_and_the_worst_pairs_are_shown() -> None:
    found, names = answers(50, 20_000), [f"class{i}" for i in range(50)]
    classes, pairs = confusion.tables(found, names)
    counts = confusion_matrix(found["label"], found["predicted"])
    errors, images = 1 - counts.diagonal() / counts.sum(1), counts.sum(1)
    rows = shown(classes)[2:]
    order = np.argsort(-errors, kind="stable")[: confusion.WORST]
    assert [row[0] for row in rows] == [names[i] for i in order]
    assert [row[-2:] for row in rows] == [[str(images[i]), f"{100 * errors[i]:.2f}"] for i in order]
    shares = (counts - np.diag(counts.diagonal())) / images[:, None]
    worst = [f"{100 * share:.2f}" for share in sorted(shares.ravel(), reverse=True)[: confusion.WORST]]
    for row, share in zip(shown(pairs)[2:], worst, strict=True):
        label, taken = names.index(row[0]), names.index(row[1])
        assert row[2:] == [str(counts[label, taken]), f"{100 * shares[label, taken]:.2f}"]
        assert row[3] == share


# ---------------------------------------------------------------------------- the curve


def test_of_many_epochs_the_curve_shows_twelve_from_the_first_to_the_last() -> None:
    rows = pd.DataFrame({"epoch": range(1, 101), "lr": 0.1, "train_error_pct": 9.0})
    rows["top1_error_pct"] = np.linspace(80, 20, 100)
    lines = shown(show.curve(rows))[1:]
    assert len(lines) == show.EPOCHS
    assert (lines[0][:4], lines[-1][:4]) == (["1", "0.1", "9.00", "80.00"], ["100", "0.1", "9.00", "20.00"])
    assert [len(line[4]) for line in (lines[0], lines[-1])] == [show.WIDTH, show.WIDTH // 4]


# ---------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = ["data.train_size=256", "data.test_size=200", "recipe.epochs=2", "sgd_batch=32", "model.options.width=4"]
    return normbench.run([*small, "norm=gn", f"out={tmp_path_factory.mktemp('shown') / 'runs'}"]).path


def screen(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    show.main(list(arguments))
    return capsys.readouterr().out


def test_a_finished_run_is_on_one_screen(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = screen(capsys, records.read_config(trained)["identity"][:5], "--runs", str(trained.parents[4]))
    result = records.read_json(trained / "result.json")["top1_error_pct"]
    for said in (
        "digits, cifar_resnet8-width4, gn, seed 0",
        f"done, 2 of 2 epochs: {result['median_last5']:.2f} % top-1 error, median of the last 2 epochs; "
        f"{result['final']:.2f} % final",
        "any of an SGD batch of 32: the norm is batch-free",
        f"command     {normbench.open_run(trained).command}",
        "label \\ predicted",
    ):
        assert said in text
    assert len(text.splitlines()) < 40


def test_a_cut_run_says_what_goes_on_with_it_and_a_hostile_record_does_nothing(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / trained.name))
    (folder / "result.json").unlink()
    made = records.read_json(folder / "env.json")
    records.write_json(
        folder / "env.json", {**made, "command": ["python", "$(touch x)", "\x1b[2J"], "device": "[red]x"}
    )
    text = screen(capsys, str(folder))
    assert "cut, 2 of 2 epochs" in text
    assert "go on with  python '$(touch x)' '\\x1b[2J'" in text
    assert "[red]x" in text
    assert "no errors by class: " in text
    (folder / "env.json").unlink()
    assert "its command was in env.json, which is gone" in screen(capsys, str(folder), "--quick")


def test_its_records_alone_need_no_torch(trained: Path) -> None:
    code = f"import sys; from normbench import show; show.main([{str(trained)!r}, '--quick']); print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert ran.stdout.splitlines()[-1] == "False", ran.stderr


def test_a_run_that_is_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="no such folder, and no run below nowhere"):
        show.main(["3f2a", "--runs", "nowhere"])
    monkeypatch.setattr(sys, "argv", ["show", "3f2a", "--runs", "nowhere"])
    assert command.run(show.main) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
