"""Several processes under torchrun give the numbers of one."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from normbench.checks import check_world_size
from normbench.compose import config_of
from normbench.config import ConfigError

SWEEP = ["-m", "norm=bn,syncbn", "data.train_size=256", "recipe.epochs=2", "sgd_batch=32", "batch=8", "precision=fp64"]
SWEEP += ["model.options.width=4", "device=cpu", "recipe.zero_last_gamma=false", "recipe.fc_std=null"]


def test_a_world_size_that_does_not_divide_the_workers_is_told_those_that_do() -> None:
    with pytest.raises(ConfigError, match=r"start 1, 2, 4, 8 of them \(--nproc_per_node\), or choose workers=24"):
        check_world_size(config_of(["batch=8"]), 3)
    check_world_size(config_of(["batch=8"]), 4)


def test_a_sweep_on_two_ranks_gives_the_weights_of_one_process(tmp_path: Path) -> None:
    launchers = {"one": [], "two": ["torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]}
    for name, launcher in launchers.items():
        ran = subprocess.run(
            [sys.executable, "-m", *launcher, "normbench", *SWEEP, f"out={name}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.count("2 done") == 1
    for path in (tmp_path / "one").rglob("checkpoint.pt"):
        one = torch.load(path, weights_only=True)["model"]
        two = torch.load(tmp_path / "two" / path.relative_to(tmp_path / "one"), weights_only=True)["model"]
        worst = max(float((one[k] - two[k]).abs().max()) for k in one)
        assert worst <= 1e-12, (path, worst)


def test_what_is_refused_ends_every_rank_with_one_line(tmp_path: Path) -> None:
    launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    ran = subprocess.run(
        [sys.executable, "-m", *launcher, "normbench", "norm=gnn"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 1
    assert ran.stderr.count("normbench: norm=gnn: no such norm (did you mean gn?)") == 1
