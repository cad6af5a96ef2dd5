"""Killed again and again, at any moment: what comes out is bitwise what was never killed."""

import os
import random
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from forking import Launch, Server
from killing import RUN, bitwise, states

from normbench import records

FEW = [*RUN, "data.test_size=1000"]  # so that most of the time is training and writing
KINDS: dict[str, list[str]] = {
    "single": FEW,
    "two ranks": [*FEW, "norm=brn", "norm.bn_epochs=0.5", "norm.rmax_epochs=1", "norm.dmax_epochs=1"],
    "sweep": ["-m", *FEW, "seed=0,1"],
}


@dataclass
class Uncut:
    """A kind of launch, what it leaves when nothing happens to it, and how long that takes."""

    server: Server
    kind: str
    out: Path
    seconds: float = 0.0

    def start(self, out: Path) -> list[Launch]:
        arguments = *KINDS[self.kind], f"out={out}"
        ranks = self.kind == "two ranks"
        started = self.server.ranks if ranks else lambda *a, cwd: [self.server.start(*a, cwd=cwd)]
        return started(*arguments, cwd=out.parent)


@pytest.fixture(scope="module")
def uncut(request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Uncut:
    found = Uncut(server, request.param, tmp_path_factory.mktemp("uncut") / "runs")
    began = time.monotonic()
    assert [launch.wait() for launch in found.start(found.out)] == [0] * (2 if request.param == "two ranks" else 1)
    found.seconds = time.monotonic() - began
    return found


def kill(uncut: Uncut, out: Path, times: int, dice: random.Random) -> int:
    """Kills so many launches at random moments, a series of them to the end of each run; how many."""
    kills = 0
    while kills < times:
        launches = uncut.start(out)
        over = time.monotonic() + dice.uniform(0, 0.9 * uncut.seconds)
        while time.monotonic() < over and any(launch.poll() is None for launch in launches):
            time.sleep(0.005)
        if any(launch.poll() is None for launch in launches):
            for launch in dice.sample(launches, len(launches)):  # of ranks one is left alone for a moment
                launch.kill()
                time.sleep(dice.choice([0, 0.2]))
            kills += 1
        codes = [launch.wait() for launch in launches]
        if not any(codes):
            check(uncut, out)
            shutil.rmtree(out)
    assert [launch.wait() for launch in uncut.start(out)] == [0] * len(launches)
    check(uncut, out)
    return kills


def check(uncut: Uncut, out: Path) -> None:
    assert bitwise(uncut.out, out)
    assert not [path.name for path in out.rglob(".*") if path.is_file()]


@pytest.mark.parametrize("uncut", KINDS, indirect=True)
def test_a_few_kills_change_no_bit(uncut: Uncut, tmp_path: Path, tried: Callable[..., None]) -> None:
    tried(f"kills, {uncut.kind}", kill(uncut, tmp_path / "runs", 4, random.Random(uncut.kind)))


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("uncut", KINDS, indirect=True)
def test_forty_kills_change_no_bit(uncut: Uncut, tmp_path: Path, tried: Callable[..., None]) -> None:
    """At another seed in every session: what fails once has shown something."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    tried(f"kills, {uncut.kind}", kill(uncut, tmp_path / "runs", 40, random.Random(seed)))


# ---------------------------------------------------------------------------- a soak

CELLS, KILLS = 500, 12
GROWTH = 1.03  # from the middle third of the sweep to its last
KEPT = 64  # KiB a cell: less than its configurations, which are 140
TINY = ["data.train_size=64", "recipe.epochs=1", "sgd_batch=32", "batch=8", "model.options.width=2", "device=cpu"]


def use(pid: int) -> tuple[int, int]:
    """Memory of its own in KiB, and how many files are open."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    memory = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
    return memory, len(os.listdir(f"/proc/{pid}/fd"))


def results(out: Path) -> int:
    return sum(1 for _ in out.rglob("result.json"))


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory and files in /proc")
def test_a_sweep_of_500_cells_in_two_processes_ends_complete_whatever_is_killed(
    server: Server, tmp_path: Path, tried: Callable[..., None]
) -> None:
    """Kills until half is done; then both go on alone, and neither memory nor files grow."""
    out, dice = tmp_path / "runs", random.Random(500)
    typed = ["-m", *TINY, "norm=bn,gn", f"seed=range({CELLS // 2})", f"out={out}"]
    both = [server.start(*typed, cwd=tmp_path) for _ in range(2)]
    for number in range(KILLS):
        half = CELLS // 2 * (number + 1) // KILLS
        while results(out) < half and all(launch.poll() is None for launch in both):
            time.sleep(dice.uniform(0, 0.1))
        victim = dice.randrange(2)
        both[victim].kill()
        both[victim].wait()
        both[victim] = server.start(*typed, cwd=tmp_path)
    samples: list[list[tuple[int, int, int]]] = [[], []]
    seen = results(out)
    while any(launch.poll() is None for launch in both):
        time.sleep(0.2)
        if (now := results(out)) == seen:
            continue
        seen = now
        for of, launch in zip(samples, both, strict=True):
            if launch.poll() is None:
                of.append((now, *use(launch.pid)))
    assert [launch.wait() for launch in both] == [0, 0]
    assert server.start(*typed, cwd=tmp_path).wait() == 0  # nothing is left to do
    assert states(out) == ["done"] * CELLS
    assert not [path.name for path in out.rglob(".*") if path.is_file() and path.parent.name.startswith("s")]
    for number, of in enumerate(samples):
        third = len(of) // 3
        assert third > 5, of
        parts = of[third : 2 * third], of[-third:]
        first, last = ([statistics.median(values) for values in zip(*part, strict=True)] for part in parts)
        cells = (last[0] - first[0]) / 2  # each process does half of them
        kept = (last[1] - first[1]) / cells
        assert last[1] <= GROWTH * first[1], (first, last)
        assert kept <= KEPT, (first, last)
        assert last[2] <= first[2], (first, last)
        tried(f"soak, KiB kept a cell, process {number}", 0 if kept < 0 else round(kept))
    rows = [records.read_rows(path.parent) for path in out.rglob("result.json")]
    assert all(len(row) == 1 for row in rows)
    tried("kills, soak", KILLS)
    tried("cells, soak", CELLS)
