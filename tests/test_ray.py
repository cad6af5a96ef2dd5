"""A sweep on a local Ray cluster."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from killing import PROGRAM, ended, holders, rows, start, states, until

TINY = ["data.train_size=256", "recipe.epochs=2", "sgd_batch=32", "model.options.width=4", "device=cpu"]
TINY += ["data.test_size=200"]
LONG = [*TINY, "recipe.epochs=200", "batch=8"]
pytestmark = [
    pytest.mark.ray,
    pytest.mark.xdist_group("slurm"),  # with the other tests that start a cluster, one after the other
]


@pytest.fixture(autouse=True)
def ray(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="no Ray for this Python; pip install 'normbench[ray]'")
    # its processes give way to all others, and on a busy machine would be starved
    monkeypatch.setenv("RAY_worker_niceness", "0")


def test_ray_runs_the_cells_and_warns_of_nothing(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "normbench",
        "-m",
        *TINY,
        "norm=bn",
        "batch=8,4",
        "hydra/launcher=ray",
    ]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
    assert "2 done" in ran.stdout.splitlines()
    commands = [json.loads(path.read_text())["command"] for path in tmp_path.rglob("env.json")]
    assert sorted(command[-1] for command in commands) == ["batch=4", "batch=8"]


def test_a_cell_that_fails_and_one_whose_process_is_killed_do_not_end_the_sweep(tmp_path: Path) -> None:
    """The second is started again, by Ray, and goes on from its checkpoint."""
    out = tmp_path / "runs"
    command = [*TINY, "recipe.epochs=40", "norm=gn", "norm.groups=4,5", f"out={out}", "hydra/launcher=ray"]
    process = start(*PROGRAM, "-m", *command, cwd=tmp_path)
    until(lambda: rows(out) >= 2 and holders(out), 240)
    killed = rows(out)
    os.kill(holders(out)[0], signal.SIGKILL)
    said, errors = ended(process, 1, 240)
    assert said.splitlines()[-1] == "1 done  1 failed"
    assert "FAILED" in errors
    assert "norm.groups=5" in errors
    assert 2 <= killed < 40


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_an_interrupted_sweep_stops_its_cells_after_a_step_and_closes_with_its_table(
    number: signal.Signals, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    command = [*LONG, "seed=0,1,2", f"out={out}", "hydra/launcher=ray", "++hydra.launcher.ray.init.num_cpus=1"]
    process = start(*PROGRAM, "-m", *command, cwd=tmp_path)
    until(lambda: rows(out), 240)
    os.kill(process.pid, number)
    said, errors = ended(process, 143 if number == signal.SIGTERM else 130)
    assert said.splitlines()[-1] == "1 cut  2 missing"
    assert "normbench: cancelled: digits" in errors
    assert states(out) == ["cut"]
    assert not list(out.rglob("running.json"))
    assert "Traceback" not in errors


def test_what_ray_refuses_is_one_line(tmp_path: Path) -> None:
    for given, said in [
        ("hydra.launcher.ray.init.address=nobody", "nobody"),
        ("++hydra.launcher.ray.init.wings=2", "wings"),
        ("++hydra.launcher.ray.remote.wings=2", "wings"),
        ("++hydra.launcher.ray.wings=2", "wings"),
    ]:
        command = [*PROGRAM, "-m", *TINY, "batch=8,4", "hydra/launcher=ray", given]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
        assert ran.returncode == 1, ran.stderr
        line = ran.stderr.splitlines()[-1]
        assert line.startswith("normbench: hydra.launcher.ray")
        assert said in line
        assert "Traceback" not in ran.stderr
