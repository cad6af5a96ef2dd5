"""SIGTERM, which is how clusters say goodbye, and launchers that are gone without a word."""

import os
import random
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from forking import Server
from killing import (
    PROGRAM,
    RUN,
    TORCHRUN,
    alive,
    bitwise,
    children,
    ended,
    holders,
    kill_group,
    rows,
    start,
    states,
    until,
)
from pictures import photos

Tried = Callable[..., None]
LINE = re.compile(r"normbench: SIGTERM: (stopped|\w+ bn b\d s\d stopped after epoch (\d+)( step (\d+))?); ")
LONG = ["recipe.epochs=60", "data.train_size=512"]
LINUX = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the ranks in /proc")


@pytest.fixture(scope="module")
def uncut(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is to come out: the sweep of two seeds, the run that is one of them, and it on two ranks."""
    folder = tmp_path_factory.mktemp("uncut")
    launches = [server.start("-m", *RUN, "seed=0,1", f"out={folder / 'sweep'}", cwd=folder)]
    launches += [server.start(*RUN, f"out={folder / 'one'}", cwd=folder)]
    launches += server.ranks(*RUN, f"out={folder / 'ranks'}", cwd=folder)
    assert [launch.wait() for launch in launches] == [0, 0, 0, 0]
    return folder


def where(out: Path) -> list[int]:
    """Epoch and step of the one run's checkpoint."""
    (path,) = out.rglob("checkpoint.pt")
    state = torch.load(path, weights_only=True)
    return [state["epoch"], state["step"]]


def said(text: str, out: Path) -> None:
    """The line of the one run: it says where the checkpoint is."""
    (line,) = [line for line in text.splitlines() if line.startswith("normbench: ")]
    found = LINE.match(line)
    assert found, line
    if found[2]:
        assert where(out) == ([int(found[2]) - 1, int(found[4])] if found[4] else [int(found[2]), 0])


@pytest.mark.parametrize("moment", ["at once", "begun", "first row", "anywhere", "wherever"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_finishes_its_step_and_says_where_the_same_command_goes_on(
    ranks: int, moment: str, server: Server, uncut: Path, tmp_path: Path, tried: Tried
) -> None:
    out, dice = tmp_path / "runs", random.Random(moment)
    command = [*RUN, f"out={out}"]
    launches = server.ranks(*command, cwd=tmp_path) if ranks > 1 else [server.start(*command, cwd=tmp_path)]
    if moment != "at once":
        until(lambda: holders(out) if moment == "begun" else rows(out))
    time.sleep(dice.uniform(0, 0.6) if "wher" in moment else 0)
    ended_before = [launch.poll() for launch in launches]
    for launch in launches:
        launch.kill(signal.SIGTERM)
    codes = [launch.wait() for launch in launches]
    if codes != [0] * ranks:
        # it may come before there is a listener, while Python starts: then the process just ends
        assert set(codes) <= {143, *([-15, 1] if moment == "at once" else []), *ended_before}, launches[0].said()
        if 143 in codes[:1]:
            said(launches[0].said(), out)
        assert states(out) in (["cut"], [])
        tried(f"SIGTERM, {ranks} rank{'s' if ranks > 1 else ''}")
    assert not list(out.rglob("running.json"))
    again = server.ranks(*command, cwd=tmp_path) if ranks > 1 else [server.start(*command, cwd=tmp_path)]
    assert [launch.wait() for launch in again] == [0] * ranks
    assert bitwise(uncut / ("ranks" if ranks > 1 else "one"), out)


@LINUX
def test_torchrun_hands_sigterm_on(uncut: Path, tmp_path: Path, tried: Tried) -> None:
    out = tmp_path / "runs"
    process = start(*TORCHRUN, *RUN, *LONG, f"out={out}", cwd=tmp_path)
    until(lambda: rows(out), 240)
    os.kill(process.pid, signal.SIGTERM)
    _, errors = ended(process, None)
    assert process.returncode != 0
    said("\n".join(line for line in errors.splitlines() if "Traceback" not in line), out)
    assert states(out) == ["cut"]
    tried("SIGTERM, torchrun")


def test_one_ranks_sigterm_stops_all_at_one_step(server: Server, tmp_path: Path, tried: Tried) -> None:
    out = tmp_path / "runs"
    launches = server.ranks(*RUN, *LONG, f"out={out}", cwd=tmp_path)
    until(lambda: rows(out))
    launches[1].kill(signal.SIGTERM)
    assert [launch.wait() for launch in launches] == [143, 143]
    assert launches[1].said() == ""
    said(launches[0].said(), out)
    assert states(out) == ["cut"]
    tried("SIGTERM, one of 2 ranks")


def test_a_loaders_processes_may_be_told_too(server: Server, tmp_path: Path, tried: Tried) -> None:
    """Slurm, docker and timeout tell a whole group: the training goes on to its checkpoint."""
    out = tmp_path / "runs"
    command = ["data=imagenet", f"data.root={photos(tmp_path / 'photos', each=200)}", "data.image_size=8"]
    command += ["data.eval_resize=8", "data.loader_processes=2", "model=cifar_resnet8", "model.options.width=2"]
    command += ["recipe.epochs=30", "batch=2", "sgd_batch=4", "protocol=fixed_sgd", "device=cpu", f"out={out}"]
    launch = server.start(*command, cwd=tmp_path)
    until(lambda: rows(out) or launch.poll() is not None)
    launch.kill(signal.SIGTERM)
    assert launch.wait() == 143, launch.said()
    said(launch.said(), out)
    assert states(out) == ["cut"]
    tried("SIGTERM, with loader processes")


def test_a_sweep_closes_with_its_table(server: Server, uncut: Path, tmp_path: Path, tried: Tried) -> None:
    out = tmp_path / "runs"
    command = ["-m", *RUN, "seed=0,1", f"out={out}"]
    launch = server.start(*command, cwd=tmp_path)
    until(lambda: rows(out))
    launch.kill(signal.SIGTERM)
    assert launch.wait() == 143
    said(launch.said(), out)
    assert "1 cut  1 missing" in launch.said().splitlines(), launch.said()
    assert states(out) == ["cut"]
    assert not list(out.rglob("running.json"))
    assert server.start(*command, cwd=tmp_path).wait() == 0
    assert bitwise(uncut / "sweep", out)
    tried("SIGTERM, sweep")


@pytest.mark.parametrize("group", [False, True], ids=["alone", "with its group"])
def test_a_sweep_of_many_processes_closes_with_its_table(group: bool, tmp_path: Path, tried: Tried) -> None:
    out = tmp_path / "runs"
    process = start(*PROGRAM, "-m", *RUN, *LONG, "seed=0,1,2", "hydra/launcher=joblib", f"out={out}", cwd=tmp_path)
    until(lambda: rows(out), 240)
    if group:
        kill_group(process, signal.SIGTERM)
    else:
        process.terminate()
    said, errors = ended(process, 143)
    cut = len([s for s in states(out) if s == "cut"])
    assert cut >= 1
    assert f"{cut} cut" in said.splitlines()[-1]
    assert "running" not in said.splitlines()[-1]
    assert all(LINE.match(line) for line in errors.splitlines()), errors
    assert not list(out.rglob("running.json"))
    tried("SIGTERM, sweep of processes")


@pytest.mark.parametrize("moment", ["starting", "training"])
@LINUX
def test_no_rank_outlives_a_killed_torchrun_for_ten_seconds(moment: str, tmp_path: Path, tried: Tried) -> None:
    """Starting: while the ranks still import torch."""
    out = tmp_path / "runs"
    process = start(*TORCHRUN, *RUN, *LONG, f"out={out}", cwd=tmp_path)
    until(lambda: watched(process.pid) if moment == "starting" else rows(out), 240)
    ranks = children(process.pid)
    process.kill()
    killed = time.monotonic()
    try:
        until(lambda: not any(map(alive, ranks)), 30)
        assert time.monotonic() - killed < 10
    finally:
        for pid in filter(alive, ranks):
            os.kill(pid, signal.SIGKILL)
        process.communicate(timeout=60)
    assert states(out) in ([], ["cut"])
    assert not holders(out)
    tried("kills, torchrun")


def watched(launcher: int) -> bool:
    """Whether both ranks have a thread besides the first: the one that follows their parent."""
    ranks = children(launcher)
    return len(ranks) == 2 and all(len(list(Path(f"/proc/{pid}/task").iterdir())) > 1 for pid in ranks)


def test_a_rank_whose_torchrun_has_gone_before_it_could_look_ends(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(nobody.getsockname()[1])}
        place |= {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}
        place |= {"TORCHELASTIC_RUN_ID": "x", "TORCHELASTIC_USE_AGENT_STORE": "True"}
        ran = subprocess.run([*PROGRAM, *RUN], cwd=tmp_path, env={**os.environ, **place}, timeout=200)
    assert ran.returncode in (143, -signal.SIGTERM)
    assert not any(tmp_path.iterdir())
