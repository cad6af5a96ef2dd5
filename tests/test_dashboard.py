"""The W&B dashboard and sweep file: built without a server, and saying what the records hold."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from normbench.compose import run_of, runs_of
from normbench.config import ConfigError

SCRIPTS = Path(__file__).parents[1] / "scripts"


def script(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(SCRIPTS / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def module(name: str) -> ModuleType:
    found = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert found
    assert found.loader
    made = importlib.util.module_from_spec(found)
    found.loader.exec_module(made)
    return made


# ---------------------------------------------------------------------------- the dashboard


@pytest.fixture(scope="module")
def specification() -> dict[str, Any]:
    pytest.importorskip("wandb_workspaces", reason="the extra wandb is not installed")
    done = script("wandb_dashboard.py", "--dry", "--entity", "me", "--project", "mine")
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def panels(specification: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    sections = specification["spec"]["section"]["panelBankConfig"]["sections"]
    return {section["name"]: section["panels"] for section in sections if section["panels"]}


def test_it_has_error_against_batch_the_curves_and_the_cost(specification: dict[str, Any]) -> None:
    assert (specification["entity"], specification["project"]) == ("me", "mine")
    shown = panels(specification)
    assert list(shown) == ["Error against batch", "Learning curves", "Cost"]
    first = shown["Error against batch"][0]
    assert (first["viewType"], first["config"]["xAxis"]) == ("Scatter Plot", "config:batch.value")
    assert (first["config"]["xAxisLogScale"], first["config"]["yAxis"]) == (True, "summary:top1_error_pct_median_last5")
    axes = {panel["config"]["xAxis"] for panel in shown["Learning curves"]}
    assert axes == {"epoch", "images_seen"}
    costs = {panel["config"].get("xAxis") for panel in shown["Cost"]}
    assert {"summary:images_per_second", "seconds"} <= costs


def test_a_mean_is_over_the_seeds_of_a_cell(specification: dict[str, Any]) -> None:
    (runs,) = specification["spec"]["section"]["runSets"]
    assert runs["grouping"] == [{"name": "group", "section": "run"}]


def test_every_field_it_names_is_one_that_runs_log(specification: dict[str, Any]) -> None:
    rows = {"epoch", "images_seen", "lr", "train_loss", "train_error_pct", "top1_error_pct", "seconds"}
    drawn = {
        metric.removeprefix("summary_metrics.")
        for section in panels(specification).values()
        for panel in section
        for metric in panel["config"].get("metrics", [])
    }
    assert drawn - {"top1_error_pct_median_last5", "images_per_second"} <= rows


def test_figures_are_uploaded_as_images_of_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    for name, color in (("demo", "blue"), ("gn_fig1", "red")):
        Image.new("RGB", (4, 4), color).save(tmp_path / f"{name}.png")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    module("wandb_dashboard").upload(sorted(tmp_path.glob("*.png")), None, "normbench")
    assert len(list(tmp_path.rglob("offline-run-*-figures/files/media/images/*.png"))) == 2


def test_what_the_user_can_mend_is_one_line() -> None:
    done = script("wandb_dashboard.py", "--figures", str(SCRIPTS), "--entity", "me")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert line.startswith("error: no PNG in ")


def test_without_a_key_it_is_one_line_that_says_how_to_log_in(tmp_path: Path) -> None:
    pytest.importorskip("wandb_workspaces", reason="the extra wandb is not installed")
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "NETRC"))}
    command = [sys.executable, str(SCRIPTS / "wandb_dashboard.py"), "--entity", "me"]
    bare |= {"HOME": str(tmp_path), "PYTHONPATH": str(SCRIPTS.parent)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=bare, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert "wandb login" in line


# ---------------------------------------------------------------------------- the sweep file


def agents_words(made: dict[str, Any]) -> list[list[str]]:
    """The command lines of an agent, by W&B's own function."""
    import itertools

    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    grid = [[(key, value) for value in said["values"]] for key, said in made["parameters"].items()]
    lines = []
    for chosen in itertools.product(*grid):
        words = create_sweep_command_args({"args": {key: {"value": value} for key, value in chosen}})
        line = create_sweep_command(made["command"])
        start = line.index("normbench") + 1
        line = [part for word in line[start:] for part in (words["args_no_hyphens"] if "args_no" in word else [word])]
        lines.append(line)
    return lines


def test_agents_train_the_cells_of_the_experiment() -> None:
    made = module("wandb_sweep").sweep("gn_fig1", ["data=digits"])
    lines = agents_words(made)
    trained = {run_of(line).identity for line in lines}
    assert trained == {run.identity for run in runs_of(["experiment=gn_fig1", "data=digits"])}
    assert all("tracker=wandb" in line for line in lines)


def test_what_the_command_line_says_is_not_swept() -> None:
    made = module("wandb_sweep").sweep("gn_fig1", ["norm=frn"])
    assert "norm" not in made["parameters"]
    assert "norm=frn" in made["command"]


def test_the_sweep_file_is_yaml_and_a_wrong_experiment_one_line() -> None:
    done = script("wandb_sweep.py", "gn_fig1", "seed=3")
    assert yaml.safe_load(done.stdout)["metric"]["name"] == "top1_error_pct_median_last5"
    with pytest.raises(ConfigError, match=r"gn_fig11: no such experiment \(did you mean gn_fig1"):
        module("wandb_sweep").sweep("gn_fig11", [])


def test_a_union_of_grids_is_no_wandb_sweep_unless_the_command_line_makes_them_one() -> None:
    said = "cbn_window is a union of 2 grids, and a W&B sweep has one; train it with normbench -m experiment=cbn_window"
    with pytest.raises(ConfigError, match=said):
        module("wandb_sweep").sweep("cbn_window", [])
    made = module("wandb_sweep").sweep("cbn_window", ["norm=cbn", "norm.window=4", "batch=4"])
    assert made["parameters"] == {"seed": {"values": [0]}}  # a number, as one would type it
