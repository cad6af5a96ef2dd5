"""--dry: cells, states and costs, by hand; nothing trained, written or imported for it."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from normbench import cli, dry, facts, measured, records
from normbench import data as datasets
from normbench.compose import run_of, runs_of
from normbench.config import ConfigError

GRID = ["norm=bn,gn", "batch=2,4,8"]


@pytest.fixture(autouse=True)
def _at_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def row(label: str, batch: int, train: float, infer: float, workers: int = 0, **other: Any) -> dict[str, Any]:
    """A row of the profile: the digits' network with 64 images a step, where nothing else is said."""
    workers = workers or 64 // batch
    found = {"norm": label.split("-")[0], "label": label, "data": "digits", "image_size": 12, "model": "cifar_resnet8"}
    found |= {"batch": batch, "workers": workers, "sgd_batch": batch * workers, "precision": "fp32", "device": "A100"}
    found |= {"threads": 1, "train_img_per_s": train, "infer_img_per_s": infer, "saved_bytes": 0, "state_bytes": 0}
    return {**found, "date": "2026-11-01", **other}


def profiled(*rows: dict[str, Any]) -> None:
    measured.write(Path(measured.PATH), {measured.key_of(row): row for row in rows})


def leave(overrides: list[str], epochs: int, **files: Any) -> Path:
    """A run folder as a run leaves it after so many epochs."""
    folder = run_of(overrides).folder
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("")
    for epoch in range(1, epochs + 1):
        records.append_row(folder, {"epoch": epoch})
    if epochs:
        (folder / "checkpoint.pt").write_bytes(b"")
    for name, value in files.items():
        records.write_json(folder / f"{name}.json", value)
    return folder


def shown(capsys: pytest.CaptureFixture[str], *typed: str) -> list[str]:
    """The lines that a command prints with --dry."""
    assert cli._guarded([*typed, "--dry"]) == 0
    out = capsys.readouterr()
    assert out.err == ""
    return out.out.splitlines()


def rows_of(lines: list[str]) -> dict[tuple[str, str, str], list[str]]:
    """The table by norm, batch and seed: state, epochs, steps left, hours left."""
    split = [
        re.split(r" {2,}", line.strip()) for line in lines[1 : next(i for i, x in enumerate(lines) if "cells:" in x)]
    ]
    return {(row[2], row[3], row[5]): row[6:] for row in split}


def commands_of(lines: list[str]) -> list[list[str]]:
    """The overrides of the cell-by-cell commands."""
    alone = lines[lines.index("or cell by cell:") + 1 :]
    assert all(line.startswith("normbench ") for line in alone)
    return [shlex.split(line)[1:] for line in alone]


def run_dry(*typed: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "normbench", *typed]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})


# ---------------------------------------------------------------------------- states and hours


def test_states_and_hours_are_those_computed_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    profiled(
        row("bn", 2, train=1, infer=8),  # an epoch: 8,000 s + 1,000 s
        row("bn", 4, train=2, infer=16),  # 4,500 s
        row("bn", 8, train=4, infer=32),  # 2,250 s
        row("gn", 4, train=0.5, infer=4),  # 18,000 s
    )
    leave(["norm=bn", "batch=2"], 20, result={"status": "done"})
    leave(["norm=bn", "batch=4"], 5)
    leave(["norm=bn", "batch=8"], 3, error={"error": "no space left"})
    lines = shown(capsys, "-m", *GRID)
    assert rows_of(lines) == {
        ("bn", "2", "0"): ["done", "20/20", "0", "0"],
        ("bn", "4", "0"): ["cut", "5/20", "1,875", "18.8"],
        ("bn", "8", "0"): ["failed", "3/20", "2,125", "10.6"],
        ("gn", "any", "0"): ["missing", "0/20", "2,500", "100.0"],
    }
    assert "cells: 4, 1 done  1 cut  1 failed  1 missing" in lines
    assert "steps: 6,500 left of 10,000" in lines
    assert "device-hours on A100: 129.4 still to pay of 187.5" in lines
    assert not any("not measured" in line for line in lines)
    whole = lines.index("to start it, or continue it:") + 1
    assert lines[whole] == "normbench -m norm=bn,gn batch=2,4,8"
    assert commands_of(lines) == [["norm=bn", "batch=4"], ["norm=bn", "batch=8"], ["norm=gn", "batch=2"]]


def test_what_diverged_is_paid_and_what_runs_is_not_started_twice(capsys: pytest.CaptureFixture[str]) -> None:
    profiled(row("bn", 2, 1, 8), row("bn", 4, 2, 16))
    leave(["norm=bn", "batch=2"], 4, result={"status": "diverged"})
    folder = leave(["norm=bn", "batch=4"], 5)
    with records.hold(folder):
        lines = shown(capsys, "-m", "norm=bn", "batch=2,4")
    assert rows_of(lines)[("bn", "2", "0")] == ["diverged", "4/20", "0", "0"]
    assert rows_of(lines)[("bn", "4", "0")] == ["running", "5/20", "1,875", "18.8"]
    assert lines[-1] == "nothing to start: 1 running"


def test_epochs_count_as_done_only_where_a_rerun_would_keep_them(capsys: pytest.CaptureFixture[str]) -> None:
    (leave(["batch=4"], 5) / "checkpoint.pt").unlink()
    leave(["batch=8"], 20, result={"status": "done"})
    assert rows_of(shown(capsys, "batch=4"))[("bn", "4", "0")][:3] == ["cut", "0/20", "2,500"]
    assert shown(capsys, "batch=8")[-1] == "nothing to start: all is finished"
    anew = shown(capsys, "batch=8", "overwrite=true")
    assert rows_of(anew)[("bn", "8", "0")][:3] == ["done", "0/20", "2,500"]
    assert anew[-1] == "normbench batch=8 overwrite=true"


def test_each_seed_is_paid_and_a_batch_free_run_once(capsys: pytest.CaptureFixture[str]) -> None:
    profiled(row("bn", 2, 1, 8), row("gn", 8, 0.5, 4))
    lines = shown(capsys, "-m", "norm=bn,gn", "batch=2", "seed=0,1,2")
    # 3 x 20 x (9,000 + 18,000) s
    assert "device-hours on A100: 450.0 still to pay of 450.0" in lines
    per_worker = ["-m", "norm=gn", "batch=2,4", "protocol=per_worker", "workers=8"]
    assert list(rows_of(shown(capsys, *per_worker))) == [("gn", "2", "0"), ("gn", "4", "0")]


def test_every_further_evaluation_costs_its_images(capsys: pytest.CaptureFixture[str]) -> None:
    profiled(row("bn", 2, train=8, infer=4))
    typed = ["batch=2", "recipe.epochs=1", "eval_also=[precise,batch]", "precise_images=5600"]
    lines = shown(capsys, *typed)
    # 1,000 s of training, 3 x 2,000 s and 1,400 s at 4 img/s: 8,400 s
    assert rows_of(lines)[("bn", "2", "0")][3] == "2.33"
    assert lines[-1] == "normbench batch=2 recipe.epochs=1 'eval_also=[precise,batch]' precise_images=5600"


# ---------------------------------------------------------------------------- which rows of the profile


@pytest.mark.parametrize(
    "other",
    [
        {"label": "bn-eps0.1"},
        {"data": "cifar10"},
        {"model": "cifar_resnet8-width4"},
        {"batch": 4, "workers": 16},
        {"workers": 16, "sgd_batch": 32},
        {"precision": "bf16"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_row_of_something_else_is_not_used(other: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    profiled({**row("bn", 2, 1, 2), **other})
    lines = shown(capsys, "norm=bn", "batch=2")
    assert rows_of(lines)[("bn", "2", "0")][3] == "-"
    assert "not measured yet: 1 of 1 cells; normbench profile norm=bn batch=2" in lines
    assert not any("device-hours on" in line for line in lines)


def test_the_size_of_the_images_and_the_device_that_are_asked_for_count(capsys: pytest.CaptureFixture[str]) -> None:
    typed = ["data=imagenet", "model=cifar_resnet8", "batch=2"]
    same = {"data": "imagenet", "workers": 8, "sgd_batch": 16}
    profiled(row("bn", 2, 1, 2, **same, image_size=224), row("bn", 2, 4, 4, **same, image_size=32))
    assert "A100" in "".join(shown(capsys, *typed))
    assert "not measured yet: 1 of 1" in "".join(shown(capsys, *typed, "device=cpu"))
    assert "not measured yet: 1 of 1" in "".join(shown(capsys, *typed, "data.image_size=64"))
    slow, fast = (shown(capsys, *typed, f"data.image_size={size}")[1].split()[-1] for size in (224, 32))
    assert float(slow.replace(",", "")) > 3 * float(fast.replace(",", ""))


def test_the_machine_measured_last_is_used_alone_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    cpu = {"device": "cpu", "threads": 2, "date": "2026-11-02"}
    profiled(row("bn", 2, 1, 8, **cpu), row("bn", 2, 100, 100), row("bn", 4, 100, 100))
    lines = shown(capsys, "-m", "norm=bn", "batch=2,4")
    assert rows_of(lines)[("bn", "2", "0")][3] == "50.0"
    assert rows_of(lines)[("bn", "4", "0")][3] == "-"
    assert "device-hours on cpu, 2 threads: 50.0 still to pay of 50.0, for the 1 of 2 cells that are measured" in lines


def test_one_command_measures_what_no_row_has(capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ["-m", "experiment=gn_fig1", "norm=bn,gn", "batch=2,4", "seed=0,1", "model.options.width=4,8"]
    bn = [row("bn", 2, 1, 2, model=f"cifar_resnet8-width{width}") for width in (4, 8)]
    profiled(*bn, row("gn", 2, 1, 2, model="cifar_resnet8-width4"))
    (told,) = [line.split("; ")[1] for line in shown(capsys, *sweep) if "not measured" in line]
    program = "normbench profile "
    assert told == f"{program}experiment=gn_fig1 norm=bn,gn batch=4,2 model.options.width=4,8"
    asked = runs_of(shlex.split(told.removeprefix(program)), files=False)
    profiled(*(row(r.norm.label, r.batch, 1, 2, model=r.model.label) for r in asked))
    assert not any("not measured" in line for line in shown(capsys, *sweep))


# ---------------------------------------------------------------------------- the number of images


def test_without_its_folder_imagenet_is_the_published_one(capsys: pytest.CaptureFixture[str]) -> None:
    same = {"data": "imagenet", "model": "resnet50", "image_size": 224}
    profiled(row("bn", 32, 1000, 5000, workers=8, **same))
    lines = shown(capsys, "data=imagenet")
    # 5,004 steps of 256 at 1,000 img/s and 50,000 images at 5,000: 1,291.024 s an epoch
    assert rows_of(lines)[("bn", "32", "0")] == ["missing", "0/100", "500,400", "35.9"]
    (said,) = [line for line in lines if line.startswith("imagenet:")]
    assert "1,281,167 training and 50,000 test images are assumed, as published for ILSVRC-2012" in said
    assert "no data.root is given" in said
    assert "data.root=nowhere has no train/ and val/" in "".join(shown(capsys, "data=imagenet", "data.root=nowhere"))


def test_in_a_folder_images_and_classes_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part, images in (("train", 20), ("val", 3)):
        for name in ("cat", "dog"):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for i in range(images):
                (tmp_path / "photos" / part / name / f"{i}.JPEG").touch()
            (tmp_path / "photos" / part / name / "notes.txt").touch()
    typed = ["data=imagenet", "data.root=photos", "batch=2", "workers=2", "recipe.epochs=3"]
    leave(typed, 1)  # found only where the two classes are counted: they are part of the identity
    lines = shown(capsys, *typed)
    assert rows_of(lines)[("bn", "2", "0")][:3] == ["cut", "1/3", "20"]
    assert "imagenet: 40 training and 6 test images, counted in photos" in lines
    # as the run itself would
    assert cli._guarded(["data=imagenet", "data.root=photos", "--dry"]) == 1
    assert "sgd_batch=256 (batch=32 x workers=8) is larger than the training set of 40" in capsys.readouterr().err


def test_the_number_of_images_is_that_of_the_data_sets() -> None:
    import torch

    run = run_of([])
    images = datasets.build(run.data, seed=0, device=torch.device("cpu"), dtype=torch.float32)
    assert (facts.of("digits").train_images, facts.of("digits").test_images) == (
        images.train_images,
        images.test_images,
    )
    for name in ("digits", "cifar10", "cifar100"):
        assert facts.of(name).train_images == run_of([f"data={name}"], files=False).data.train_images


# ---------------------------------------------------------------------------- the commands


@pytest.mark.parametrize(
    "typed",
    [
        GRID,
        ["experiment=gn_fig1", "data=imagenet", "seed=0,1"],
        ["norm=gn", "norm.groups=2,4", "model.options.width=4", "recipe.milestones=[0.5,0.75]", "seed=3"],
        ["experiment=cbn_window", "batch=4"],
        ["experiment=cbn_window", "norm.window=2,4"],
        ["norm=bn", "batch=range(2,5,2)", "hydra/launcher=joblib"],
    ],
    ids=" ".join,
)
def test_a_cell_s_own_command_makes_that_cell(typed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    alone = [run_of(typed, files=False) for typed in commands_of(shown(capsys, "-m", *typed))]
    wanted = {run.folder: run.identity for run in runs_of(typed, files=False)}
    assert {run.folder: run.identity for run in alone} == wanted
    assert len(alone) == len(wanted)


def test_an_experiment_s_grid_is_planned_with_m_and_one_of_its_cells_without(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert len(rows_of(shown(capsys, "-m", "experiment=gn_fig1", "data=imagenet"))) == 10
    assert len(rows_of(shown(capsys, "experiment=gn_fig1", "norm=bn", "batch=2"))) == 1
    assert cli._guarded(["experiment=gn_fig1", "--dry"]) == 1
    said = "normbench: experiment=gn_fig1 is a sweep of 10 cells; add -m, or choose one of them, e.g. norm=bn batch=32 seed=0"
    assert capsys.readouterr().err == f"{said}\n"


def test_a_union_of_grids_is_measured_by_its_own_command(capsys: pytest.CaptureFixture[str]) -> None:
    (told,) = [line for line in shown(capsys, "-m", "experiment=cbn_window", "out=x") if "not measured" in line]
    assert told == "not measured yet: 15 of 15 cells; normbench profile experiment=cbn_window"


# ---------------------------------------------------------------------------- what it leaves alone


def test_nothing_is_written_and_torch_is_not_loaded(tmp_path: Path) -> None:
    profiled(row("bn", 2, 1, 2))
    leave(["norm=bn", "batch=4"], 5)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    code = (
        "import sys\nfrom normbench.cli import main\ntry: main()\nexcept SystemExit as e: assert not e.code\n"
        "print(sorted({'torch', 'torchvision', 'pandas', 'wandb', 'sklearn'} & set(sys.modules)))"
    )
    for typed in (["-m", *GRID], ["-m", "experiment=gn_fig1", "data=imagenet"], ["norm=gn"], ["data=cifar10"]):
        command = [sys.executable, "-W", "error", "-c", code, *typed, "--dry"]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert ran.stdout.splitlines()[-1] == "[]", ran.stderr
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_of_several_ranks_one_speaks() -> None:
    ranks = [run_dry("norm=gn", "--dry", RANK=rank, WORLD_SIZE="2") for rank in ("0", "1")]
    assert [ran.returncode for ran in ranks] == [0, 0]
    assert [ran.stderr for ran in ranks] == ["", ""]
    assert [ran.stdout.count("cells: 1, 1 missing") for ran in ranks] == [1, 0]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--dry=1 norm=gn", "--dry=1: no such flag; --dry, without a value, shows what a command would run"),
        ("--dryrun norm=gn", "--dryrun: no such flag; --dry, without a value"),
        ("--dry-run norm=gn", "--dry-run: no such flag; --dry, without a value"),
        ("--dry --cfg job", "--dry cannot be combined with --cfg; ask for one of them"),
        ("--dry nrom=gn", "nrom: no such key (did you mean norm?)"),
        ("--dry norm=bn,gn", "several values are a sweep; add -m"),
        ("--dry -m norm=bn,gx", "norm=gx: no such norm"),
        ("--dry -m norm=bn hydra/launcher=xx", "hydra/launcher=xx: no such hydra/launcher"),
        ("--dry norm=bn batch=3", "batch=3 must divide sgd_batch=64"),
    ],
)
def test_a_mistyped_command_is_one_line(typed: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._guarded(typed.split()) == 1
    out = capsys.readouterr()
    assert said in out.err
    assert (len(out.err.splitlines()), out.out) == (1, "")


def test_a_profile_that_cannot_be_read_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    profiled(row("bn", 2, "fast", 2))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"train_img_per_s must be above 0, got 'fast'"):
        dry.show([(["batch=2"], run_of(["batch=2"]))], ["batch=2"], sweep=False)
    Path(measured.PATH).write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match=r"has other columns than a profile's; move it away, then measure anew"):
        dry.show([(["batch=2"], run_of(["batch=2"]))], ["batch=2"], sweep=False)


def test_help_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._guarded(["--help"]) == 0
    assert "--dry " in capsys.readouterr().out
