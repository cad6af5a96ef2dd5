"""SIGTERM, which is how clusters say goodbye, and launchers that are gone without a word."""

import os
import random
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
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

Tried = Callable[..., None]
LINE = re.compile(r"normbench: SIGTERM: (stopped|digits bn b8 s\d stopped after epoch (\d+)( step (\d+))?); ")
LONG = ["recipe.epochs=60", "data.train_size=512"]
LINUX = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the ranks in /proc")


@pytest.fixture(scope="module")
def uncut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is to come out: the run, and the sweep of two seeds, of which it is one."""
    folder = tmp_path_factory.mktemp("uncut")
    ended(start(*PROGRAM, "-m", *RUN, "seed=0,1", f"out={folder / 'sweep'}", cwd=folder), 0)
    ended(start(*PROGRAM, *RUN, f"out={folder / 'one'}", cwd=folder), 0)
    return folder


def where(out: Path) -> list[int]:
    """Epoch and step of the one run's checkpoint."""
    (path,) = out.rglob("checkpoint.pt")
    state = torch.load(path, weights_only=True)
    return [state["epoch"], state["step"]]


@pytest.mark.parametrize("moment", ["before", "first row", "anywhere"])
def test_a_run_finishes_its_step_and_says_where_the_same_command_goes_on(
    moment: str, uncut: Path, tmp_path: Path, tried: Tried
) -> None:
    out, dice = tmp_path / "runs", random.Random(moment)
    command = [*PROGRAM, *RUN, f"out={out}"]
    process = start(*command, cwd=tmp_path)
    until(lambda: holders(out) if moment == "before" else rows(out))
    time.sleep(dice.uniform(0, 0.6) if moment == "anywhere" else 0)
    process.terminate()
    _, errors = ended(process, 143)
    (line,) = errors.splitlines()
    found = LINE.match(line)
    assert found, line
    if found[2]:
        stopped = [int(found[2]) - 1, int(found[4])] if found[4] else [int(found[2]), 0]
        assert where(out) == stopped
    assert states(out) in (["cut"], [])
    assert not list(out.rglob("running.json"))
    ended(start(*command, cwd=tmp_path), 0)
    assert bitwise(uncut / "one", out)
    tried("SIGTERM")


@pytest.mark.parametrize("after", [0.0, 0.7])
@LINUX
def test_ranks_stop_after_the_same_step(after: float, uncut: Path, tmp_path: Path, tried: Tried) -> None:
    out = tmp_path / "runs"
    command = [*TORCHRUN, *RUN, f"out={out}"]
    process = start(*command, cwd=tmp_path)
    until(lambda: rows(out))
    time.sleep(after / 2)
    os.kill(process.pid, signal.SIGTERM)
    _, errors = ended(process, None)
    assert process.returncode != 0
    (line,) = [line for line in errors.splitlines() if line.startswith("normbench: ")]
    found = LINE.match(line)
    assert found, errors
    if found[2]:
        assert where(out) == ([int(found[2]) - 1, int(found[4])] if found[4] else [int(found[2]), 0])
    assert states(out) == ["cut"]
    ended(start(*command, cwd=tmp_path), 0)
    plain = tmp_path / "plain"
    ended(start(*TORCHRUN, *RUN, f"out={plain}", cwd=tmp_path), 0)
    assert bitwise(plain, out)
    tried("SIGTERM")


@LINUX
def test_one_ranks_sigterm_stops_all_at_one_step(tmp_path: Path, tried: Tried) -> None:
    out = tmp_path / "runs"
    process = start(*TORCHRUN, *RUN, *LONG, f"out={out}", cwd=tmp_path)
    until(lambda: rows(out))
    ranks = children(process.pid)
    (other,) = [
        pid for pid in ranks if pid not in holders(out) and b"RANK=1" in Path(f"/proc/{pid}/environ").read_bytes()
    ]
    os.kill(other, signal.SIGTERM)
    _, errors = ended(process, 1)
    assert "stopped after epoch" in errors
    assert errors.count("exitcode  : 143") == 2 or errors.count("exitcode: 143") + errors.count("-15") >= 1, errors
    assert states(out) == ["cut"]
    tried("SIGTERM")


@pytest.mark.parametrize("engine", ["basic", "joblib"])
@pytest.mark.parametrize("group", [False, True], ids=["alone", "with its group"])
def test_a_sweep_closes_with_its_table(engine: str, group: bool, uncut: Path, tmp_path: Path, tried: Tried) -> None:
    out = tmp_path / "runs"
    command = [*PROGRAM, "-m", *RUN, "seed=0,1", f"hydra/launcher={engine}", f"out={out}"]
    process = start(*command, cwd=tmp_path)
    until(lambda: rows(out))
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
    ended(start(*command, cwd=tmp_path), 0)
    assert bitwise(uncut / "sweep", out)
    tried("SIGTERM")


@pytest.mark.parametrize("moment", ["starting", "training"])
@LINUX
def test_no_rank_outlives_a_killed_torchrun_for_ten_seconds(moment: str, tmp_path: Path, tried: Tried) -> None:
    out = tmp_path / "runs"
    process = start(*TORCHRUN, *RUN, *LONG, f"out={out}", cwd=tmp_path)
    until(lambda: len(children(process.pid)) == 2 if moment == "starting" else rows(out))
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
    tried("kills")
