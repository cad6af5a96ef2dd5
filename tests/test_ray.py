"""A sweep on a local Ray cluster."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TINY = ["data.train_size=256", "recipe.epochs=2", "sgd_batch=32", "model.options.width=4", "device=cpu"]


@pytest.mark.ray
@pytest.mark.xdist_group("slurm")  # with the other tests that start a cluster, one after the other
def test_ray_runs_the_cells_and_warns_of_nothing(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="no Ray for this Python; pip install 'normbench[ray]'")
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
