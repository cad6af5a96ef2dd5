"""Several processes under torchrun give the numbers of one."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as c10d
import torch.multiprocessing as mp
from forking import Server
from torch import nn

from normbench import norms, records
from normbench.compose import run_of
from normbench.config import ConfigError
from normbench.run_checks import check_world_size

SWEEP = ["-m", "norm=bn,syncbn", "data.train_size=256", "recipe.epochs=2", "sgd_batch=32", "batch=8", "precision=fp64"]
SWEEP += ["model.options.width=4", "device=cpu", "recipe.zero_last_gamma=false", "recipe.fc_std=null"]
SWEEP += ["data.test_size=203"]


def test_a_world_size_that_does_not_divide_the_workers_is_told_those_that_do() -> None:
    with pytest.raises(ConfigError, match=r"start 1, 2, 4, 8 of them \(--nproc_per_node\), or choose workers=24"):
        check_world_size(run_of(["batch=8"]), 3)
    check_world_size(run_of(["batch=8"]), 4)


def test_a_sweep_on_two_ranks_gives_the_weights_of_one_process(server: Server, tmp_path: Path) -> None:
    command = [*torchrun("-m", "normbench"), *SWEEP, "out=two"]
    two = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    for ran in (server.run(*SWEEP, "out=one", cwd=tmp_path), two):
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


# ---------------------------------------------------------------------------- ranks that fail


BRN = ["norm=brn", "data.train_size=2048", "recipe.epochs=3", "sgd_batch=32", "batch=8", "model.options.width=4"]
BRN += ["norm.bn_epochs=0.5", "norm.rmax_epochs=1", "norm.dmax_epochs=1", "checkpoint_steps=7", "device=cpu"]


def torchrun(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *arguments]


def pid_of(launcher: int, rank: int) -> int | None:
    """The process that plays this rank of the launch, where it has been started."""
    for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        try:
            if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
                return int(child)
        except OSError:  # gone in the meantime
            continue
    return None


def kill_in_training(launch: "subprocess.Popen[bytes]", rank: int, folder: Path, after: float) -> None:
    """SIGKILL to one rank, so many seconds into what this launch trains."""
    while launch.poll() is None and not list(folder.rglob("running.json")):
        time.sleep(0.02)
    time.sleep(after)
    while launch.poll() is None and (pid := pid_of(launch.pid, rank)) is None:
        time.sleep(0.02)
    if launch.poll() is None and pid is not None:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the ranks in /proc")
def test_killing_any_rank_at_any_time_loses_nothing(server: Server, tmp_path: Path) -> None:
    """A launch that loses a rank ends; started again it goes on, and with --max-restarts by itself:
    bit for bit.
    """
    dice = random.Random(4)
    command = [*torchrun("-m", "normbench"), *BRN, f"out={tmp_path / 'cut'}"]
    for rank in (1, 0):
        launch = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        kill_in_training(launch, rank, tmp_path / "cut", dice.uniform(0.1, 1.5))
        killed = time.monotonic()
        _, errors = launch.communicate(timeout=60)
        assert launch.returncode == 1, errors.decode()
        assert time.monotonic() - killed < 30
        assert b"Signal 9 (SIGKILL)" in errors
    restarting = [*torchrun("--max-restarts=3", "-m", "normbench"), *command[command.index("normbench") + 1 :]]
    launch = subprocess.Popen(restarting, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    kill_in_training(launch, 1, tmp_path / "cut", dice.uniform(0.1, 1.5))
    _, errors = launch.communicate(timeout=120)
    assert launch.returncode == 0, errors.decode()
    assert b"failed (exitcode: -9) local_rank: 1" in errors
    uncut = server.ranks(*BRN, f"out={tmp_path / 'uncut'}", cwd=tmp_path)
    assert [launch.wait() for launch in uncut] == [0, 0], uncut[0].said()
    folders = [next((tmp_path / name).rglob("result.json")).parent for name in ("cut", "uncut")]
    states = [torch.load(folder / "checkpoint.pt", weights_only=True) for folder in folders]
    assert all(torch.equal(value, states[1]["model"][key]) for key, value in states[0]["model"].items())
    moments = [state["optimizer"]["state"] for state in states]
    assert all(torch.equal(moments[0][i]["momentum_buffer"], moments[1][i]["momentum_buffer"]) for i in moments[0])
    rows = [[{**row, "seconds": 0} for row in records.read_rows(folder)] for folder in folders]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 3


FAILING = """
import os
from normbench import cli
from normbench.config import ConfigError
from normbench.train import network

def failing(*_):
    if os.environ["RANK"] == "1":
        raise {error}
    return built(*_)

built, network.build = network.build, failing
cli.main()
"""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("RuntimeError('rank 1 has had enough')", "RuntimeError: rank 1 has had enough"),
        ("ConfigError('its node lacks the data')", "normbench: its node lacks the data\n"),
    ],
)
def test_what_fails_on_one_rank_ends_the_launch_and_is_named(error: str, said: str, tmp_path: Path) -> None:
    program = tmp_path / "failing.py"
    program.write_text(FAILING.format(error=error))
    began = time.monotonic()
    overrides = [*BRN, f"out={tmp_path / 'runs'}"]
    ran = subprocess.run([*torchrun(str(program)), *overrides], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 1
    assert time.monotonic() - began < 60  # with the seconds that starting takes
    assert said in ran.stderr
    assert ("rank      : 1 " in ran.stderr) == error.startswith("RuntimeError")


# ---------------------------------------------------------------------------- on a GPU


def _synchronized(rank: int, folder: str) -> None:
    """The same step by torch's kernels and by our all-reduces."""
    c10d.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.manual_seed(rank)
    y = torch.randn(6, 8, 5, 5, device="cuda")
    grad = torch.randn_like(y)
    found = []
    for name in ("_native", "_reduced"):
        layer = norms.build("syncbn", nn.Conv2d(3, 8, 3), workers=3).cuda().train()
        x = y.clone().requires_grad_()
        out = getattr(layer, name)(x, update=True)
        out.backward(grad)
        found.append([out, x.grad, layer.weight.grad, layer.bias.grad, layer.running_mean, layer.running_var])
    for native, reduced in zip(*found, strict=True):
        torch.testing.assert_close(native, reduced, rtol=1e-4, atol=1e-5)
    c10d.destroy_process_group()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: torch's synchronized kernels are CUDA's")
def test_the_native_kernels_of_syncbn_give_the_numbers_of_the_all_reduces(tmp_path: Path) -> None:
    mp.start_processes(_synchronized, (str(tmp_path),), nprocs=2, start_method="spawn")
