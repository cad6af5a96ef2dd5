"""Launches of a tiny run that are told to stop, or killed, and what must be the same afterwards."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from normbench import lock, records

RUN = ["data.train_size=1024", "recipe.epochs=3", "sgd_batch=32", "batch=8", "model.options.width=4", "device=cpu"]
RUN += ["checkpoint_steps=7"]
PROGRAM = [sys.executable, "-m", "normbench"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "normbench"]

Process = subprocess.Popen[str]


def start(*command: str, cwd: Path) -> Process:
    """A launch in a session of its own: its whole group can be told, and nobody else is."""
    return subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def ended(process: Process, code: int | None, seconds: float = 120) -> tuple[str, str]:
    """What it said, once it has ended with that exit code."""
    said, errors = process.communicate(timeout=seconds)
    assert code is None or process.returncode == code, (process.returncode, said, errors)
    return said, errors


def until(happened: Callable[[], object], seconds: float = 120) -> None:
    over = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < over, "not in time"
        time.sleep(0.01)


def rows(out: Path) -> int:
    """How many epochs all runs under a folder have recorded."""
    return sum(len(records.read_rows(path.parent)) for path in out.rglob("epochs.jsonl"))


def states(out: Path) -> list[str]:
    """The state of each run under a folder, in the order of their paths."""
    return [records.state(path.parent) for path in sorted(out.rglob("config.yaml"))]


def holders(out: Path) -> list[int]:
    """The processes that hold a run under a folder."""
    found = [lock.holder(path.parent) for path in out.rglob(lock.FILE)]
    return [one["pid"] for one in found if one is not None]


def kill_group(process: Process, number: signal.Signals = signal.SIGKILL) -> None:
    """To the launch and all that are of its session's group."""
    import os

    if process.poll() is None:
        os.killpg(process.pid, number)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def kill_at_random(command: list[str], out: Path, times: int, dice: random.Random, last: float = 3.0) -> int:
    """SIGKILLs a launch so often, each time up to `last` seconds after it first held a run, and lets
    it end; returns how many kills met it alive.
    """
    kills = 0
    for _ in range(times):
        process = start(*command, cwd=out.parent)
        try:
            until(lambda p=process: p.poll() is not None or holders(out))
            time.sleep(dice.uniform(0, last))
            if process.poll() is not None:
                ended(process, 0)
                break
            kill_group(process)
            kills += 1
        finally:
            kill_group(process)
            process.communicate(timeout=60)
        until(lambda: not holders(out), 20)
    return kills


# ---------------------------------------------------------------------------- the same afterwards


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def bitwise(one: Path, two: Path) -> bool:
    """Whether all runs under two folders are done with the same weights, optimizer and rows."""
    folders = [sorted(path.parent for path in out.rglob("config.yaml")) for out in (one, two)]
    assert [f.relative_to(one) for f in folders[0]] == [f.relative_to(two) for f in folders[1]]
    for a, b in zip(*folders, strict=True):
        assert records.state(a) == records.state(b) == "done", (a, b)
        ends = [torch.load(f / "checkpoint.pt", weights_only=True) for f in (a, b)]
        kept = ("model", "optimizer", "rng", "epoch", "step", "images_seen")
        if not all(same(ends[0][key], ends[1][key]) for key in kept):
            return False
        lines = [[{k: v for k, v in row.items() if k != "seconds"} for row in records.read_rows(f)] for f in (a, b)]
        if lines[0] != lines[1]:
            return False
    return bool(folders[0])
