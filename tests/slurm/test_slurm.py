"""Sweeps on a real Slurm of two nodes, which cluster.sh starts on this machine."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from normbench import records

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm"), pytest.mark.timeout(600)]

CLUSTER = Path(__file__).with_name("cluster.sh")
SCRIPTS = Path(__file__).parents[2] / "scripts"
TINY = ["data.train_size=256", "recipe.epochs=2", "sgd_batch=32", "batch=8", "precision=fp64", "device=cpu"]
TINY += ["model.options.width=4", "recipe.zero_last_gamma=false", "recipe.fc_std=null", "data.test_size=203"]


@pytest.fixture(scope="session")
def cluster() -> Iterator[dict[str, str]]:
    """The environment of a user of the cluster; NODES says how many it has."""
    if missing := [name for name in ("slurmctld", "slurmd", "sbatch", "munged") if shutil.which(name) is None]:
        pytest.skip(f"no {', '.join(missing)} here; Debian has them: slurmctld slurmd slurm-client munge")
    alone = subprocess.run(["unshare", "--uts", "--mount", "hostname", "n1"], capture_output=True).returncode
    home = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: a socket's path may have 107 characters
    path = f"{home / 'bin'}:{os.environ['PATH']}"
    environment = {**os.environ, "SLURM_CONF": str(home / "slurm.conf"), "PATH": path, "OMP_NUM_THREADS": "1"}
    environment |= {"NODES": "1" if alone else "2", "PORT": str(free_ports(3))}
    up = subprocess.run(["bash", str(CLUSTER), "up", str(home)], env=environment, capture_output=True, text=True)
    try:
        assert up.returncode == 0, up.stderr + "".join(p.read_text()[-2000:] for p in home.glob("log/*"))
        yield environment
    finally:
        subprocess.run(["bash", str(CLUSTER), "down", str(home)], env=environment, timeout=60)
        shutil.rmtree(home, ignore_errors=True)


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody listens on."""
    for first in range(16817 + os.getpid() % 1000, 30000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as s:
                    s.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise RuntimeError("no free ports")


Launch = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def launch(cluster: dict[str, str], tmp_path: Path) -> Iterator[Launch]:
    """Starts a sweep on the cluster; nothing of it is left in the queue afterwards."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-W", "error", "-m", "normbench", "-m", *TINY, "hydra/launcher=slurm", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, cwd=tmp_path, env=cluster, text=True, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
    subprocess.run(["scancel", "--partition=low,high"], env=cluster)


def finish(process: "subprocess.Popen[str]", code: int = 0) -> str:
    """What the sweep printed, once it has ended with that exit code."""
    said, errors = process.communicate(timeout=400)
    assert (process.returncode, errors) == (code, ""), said + errors
    return said


def one_process(folder: Path, *arguments: str) -> Path:
    """The same cell run plainly; its folder."""
    command = [sys.executable, "-m", "normbench", *TINY, *arguments, "out=plain"]
    subprocess.run(
        command, cwd=folder, check=True, capture_output=True, timeout=400, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    return next((folder / "plain").rglob("result.json")).parent


def until(happened: Callable[[], object], what: str, seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def epochs(folder: Path) -> int:
    """How many rows the one run under folder has so far."""
    return sum(len(records.read_rows(path.parent)) for path in folder.rglob("epochs.jsonl"))


def logs(folder: Path, rank: str = "0") -> str:
    """What that rank said, of all cells; rank 1_0: the first rank of the second cell of an array."""
    return "".join(path.read_text() for path in sorted(folder.rglob(f"*_{rank}_log.out")))


def tensors(value: object) -> list[torch.Tensor]:
    """All of a checkpoint's tensors, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else []
    return [tensor for part in inner for tensor in tensors(part)]


def test_a_sweep_is_one_job_array_and_every_cell_is_done(launch: Launch, tmp_path: Path) -> None:
    said = finish(launch("norm=bn,brn", "batch=8,4"))
    assert said.startswith("4 cells go to Slurm as one job array; what they print is in results/runs/.hydra/slurm\n")
    assert said.splitlines()[-1] == "4 done"
    (script,) = tmp_path.rglob("*_submission.sh")
    assert "#SBATCH --array=0-3%4\n" in script.read_text()
    assert len(list(tmp_path.rglob("result.json"))) == 4
    again = launch("norm=bn,brn", "batch=8,4")
    assert finish(again).splitlines()[-1] == "4 done"
    assert list(tmp_path.rglob("*_submission.sh")) == [script]  # nothing left to submit


@pytest.mark.parametrize(("ranks", "norm"), [(1, "bn"), (2, "brn")])
def test_a_preempted_job_goes_on_and_ends_with_the_weights_of_an_uncut_run(
    ranks: int, norm: str, launch: Launch, cluster: dict[str, str], tmp_path: Path
) -> None:
    """Of one rank bit for bit; of two, one process's up to the order of its sums, each worker's own past included."""
    long = [f"norm={norm}", "recipe.epochs=150", "overwrite=true"]
    sweep = launch(*long, f"hydra.launcher.tasks_per_node={ranks}")
    until(lambda: epochs(tmp_path) >= 3, "three epochs")
    urgent = ["sbatch", "--partition=high", f"--nodes={cluster['NODES']}", "--exclusive", "--output=/dev/null"]
    subprocess.run([*urgent, "--wrap", "true"], env=cluster, check=True, capture_output=True)
    until(lambda: "Requeued job" in logs(tmp_path), "the requeue")
    assert epochs(tmp_path) < 150
    said = finish(sweep)
    assert said.splitlines()[-1] == "1 done"
    log = logs(tmp_path)
    assert "this job is preempted" in log
    assert log.count("Starting with JobEnvironment") == 2
    assert log.count(" epoch 1/150 ") == 1  # it went on; overwrite=true did not throw away what it had
    one, two = one_process(tmp_path, *long[:2]), next((tmp_path / "results").rglob("result.json")).parent
    for part in ("model", "optimizer"):
        uncut, cut = (tensors(torch.load(f / "checkpoint.pt", weights_only=True)[part]) for f in (one, two))
        assert len(uncut) == len(cut) > 10
        farthest = max(float((a - b).abs().max()) for a, b in zip(uncut, cut, strict=True))
        assert farthest <= (0.0 if ranks == 1 else 1e-9)
    assert json.loads((two / "env.json").read_text())["world_size"] == ranks
    assert [r["top1_error_pct"] for r in records.read_rows(two)] == [
        r["top1_error_pct"] for r in records.read_rows(one)
    ]


def test_a_cancelled_cell_is_reported_the_others_are_waited_for_and_a_rerun_trains_it_alone(
    launch: Launch, cluster: dict[str, str], tmp_path: Path
) -> None:
    cells = ["norm=bn", "batch=8,4", "recipe.epochs=120"]
    sweep = launch(*cells)
    until(lambda: "epoch 2/120" in logs(tmp_path, "0_0"), "two epochs of the first cell")
    array = next(tmp_path.rglob("*_submission.sh")).name.split("_")[0]
    subprocess.run(["scancel", f"{array}_0"], env=cluster, check=True)
    said = finish(sweep, code=1)
    assert f"Job {array}_0 (task: 0)" in said
    assert "(state: CANCELLED" in said
    assert said.splitlines()[-1] == "1 done  1 cut"
    (done,) = tmp_path.rglob("result.json")
    before = done.stat().st_mtime_ns
    said = finish(launch(*cells))
    assert said.splitlines()[-1] == "2 done"
    assert done.stat().st_mtime_ns == before
    assert len(list(tmp_path.rglob("result.json"))) == 2


@pytest.fixture(scope="session")
def one_rank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SyncBN in one process: what two ranks must come to."""
    return one_process(tmp_path_factory.mktemp("one_rank"), "norm=syncbn")


def equal(one: Path, folder: Path) -> None:
    """The run on two ranks under folder has the weights of one process, up to the order of its sums."""
    two = next(folder.rglob("result.json")).parent
    assert json.loads((two / "env.json").read_text())["world_size"] == 2
    a, b = (torch.load(f / "checkpoint.pt", weights_only=True)["model"] for f in (one, two))
    assert a.keys() == b.keys()
    worst = max(float((a[k].double() - b[k].double()).abs().max()) for k in a)
    assert worst <= 1e-12


def two_nodes(cluster: dict[str, str]) -> None:
    if cluster["NODES"] == "1":
        pytest.skip("no second node: unshare --uts --mount is refused here")


def test_a_rank_on_each_of_two_nodes_gives_the_weights_of_one_process(
    launch: Launch, cluster: dict[str, str], one_rank: Path, tmp_path: Path
) -> None:
    two_nodes(cluster)
    said = finish(launch("norm=syncbn", "hydra.launcher.nodes=2"))
    assert said.splitlines()[-1] == "1 done"
    assert "hostname=n1" in logs(tmp_path, "0")
    assert "hostname=n2" in logs(tmp_path, "1")
    assert "epoch 1/2" not in logs(tmp_path, "1")  # the first rank speaks for all
    equal(one_rank, tmp_path)


def test_the_script_for_several_nodes_gives_the_weights_of_one_process(
    cluster: dict[str, str], one_rank: Path, tmp_path: Path
) -> None:
    two_nodes(cluster)
    submit = ["sbatch", "--wait", "--output=log", str(SCRIPTS / "multi_node.sh"), "norm=syncbn", *TINY]
    environment = {**cluster, "PYTHON": sys.executable}
    ran = subprocess.run(submit, cwd=tmp_path, env=environment, capture_output=True, timeout=400)
    log = (tmp_path / "log").read_text()
    assert ran.returncode == 0, log
    assert log.count("done: ") == 1
    equal(one_rank, tmp_path)


@pytest.mark.parametrize("script", [CLUSTER, *sorted(SCRIPTS.glob("*.sh"))], ids=lambda path: path.name)
def test_a_script_is_sound_bash(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
