"""Claims about what is typed beside an experiment: it leads to runs of the same kind as those at hand."""

import shlex
from pathlib import Path

import pytest
from filling import finished
from pictures import photos

from normbench import figures
from normbench.study.figures.by_name import FIGURES
from normbench.study.read import collected, overrides

CASES = [
    ("gn_fig1", ["data=digits", "data.train_size=512", "model.options.width=4", "recipe.epochs=3"]),
    ("wj_fig", ["data=digits", "precision=bf16", "eval_stats=precise", "sgd_batch=128", "recipe.fc_std=0.01"]),
    ("cbn_window", ["data=cifar10", "model=resnet18", "recipe=cifar", "data.augment=none"]),
    ("brn_fig", ["data=folder", "data.name=pets", "data.image_size=32", "model=cifar_resnet8"]),
    ("gn_fig1", ["data=folder", "data.name=pets", "protocol=per_worker", "workers=2"]),
]


@pytest.mark.parametrize(("name", "setting"), CASES, ids=[f"{name} {' '.join(words)}" for name, words in CASES])
def test_a_figure_of_runs_is_whole_once_its_command_has_run(
    name: str, setting: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = photos(tmp_path / "it's mine")
    here = [f"data.root={images}"] if "data=folder" in setting else []
    finished(tmp_path / "runs", [*setting, *here, "norm=bn", "batch=4", "seed=0"])
    arguments = [name, "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--format", "svg"]
    figures.main(arguments)
    (line,) = (text for text in capsys.readouterr().out.splitlines() if text.startswith("fill it: "))
    words = shlex.split(line.removeprefix("fill it: "))
    assert words[:3] == ["normbench", "-m", f"experiment={name}"]
    finished(tmp_path / "runs", words[2:])
    figures.main(arguments)
    printed = capsys.readouterr().out
    assert "fill it" not in printed
    assert "left out" not in printed  # one kind of runs


def test_what_the_experiment_chooses_is_not_typed_beside_it(tmp_path: Path) -> None:
    finished(tmp_path, ["norm=bn", "batch=4", "recipe.lr=0.4", "recipe.epochs=7"])
    runs = collected.runs(tmp_path)[0]
    usual = ["data=digits", "model=cifar_resnet8"]
    assert overrides.beside("lr_fig", runs) == [*usual, "recipe.epochs=7"]
    assert overrides.beside("gn_fig1", runs) == [*usual, "recipe.epochs=7", "recipe.lr=0.4"]


def test_nothing_is_typed_for_no_runs() -> None:
    assert overrides.beside("gn_fig1", collected.no_runs()) == []
    assert FIGURES["gn_fig1"](collected.no_runs()).of == []


def test_runs_of_the_reference_name_no_folder(tmp_path: Path) -> None:
    runs = collected.runs(tmp_path, reference=True)[0]
    assert len(runs) > 100
    assert overrides.where(runs) == []
