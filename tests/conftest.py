"""What the tests share: a run small enough to train in a second, and an environment that reaches
for nothing outside.
"""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for ranks.py, which test files share
from forking import Server

os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true", WANDB_CONSOLE="off")
os.environ.setdefault("OMP_NUM_THREADS", "1")

TINY = ["data.train_size=256", "recipe.epochs=3", "sgd_batch=32", "batch=8", "model.options.width=4"]
TINY += ["data.test_size=200"]  # of 8,000, which would take longer than the training


@pytest.fixture
def tiny(tmp_path: Path) -> list[str]:
    """Overrides of a run on 256 digits, recorded under tmp_path."""
    return [*TINY, f"out={tmp_path / 'runs'}"]


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Starts launches in a moment."""
    with Server() as started:
        yield started


@pytest.fixture
def tried(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Counts what a test of tests/faults has really tried, for the table at the end."""

    def count(kind: str, times: int = 1) -> None:
        record_property("tried", (kind, times))

    return count


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Prints how much was tried, and what was measured."""
    reports = [r for state in ("passed", "failed") for r in terminalreporter.getreports(state) if r.when == "call"]
    _faults(terminalreporter, reports)
    _equality(terminalreporter, reports)


def _faults(terminalreporter: Any, reports: list[Any]) -> None:
    """How often tests/faults broke something in this session, and with how many tests failing."""
    counts: dict[str, list[int]] = {}
    for report in reports:
        for kind, times in (value for key, value in report.user_properties if key == "tried"):
            count = counts.setdefault(kind, [0, 0])
            count[0] += times
            count[1] += report.failed
    if counts:
        terminalreporter.section("faults: how often each was tried in this session")
        for kind, (times, failed) in sorted(counts.items()):
            terminalreporter.write_line(f"{kind:32}{times:8}" + (f"   {failed} tests failed" if failed else ""))


def _equality(terminalreporter: Any, reports: list[Any]) -> None:
    """What test_equality.py measured: the largest differences to 1 process with 4 virtual workers."""
    rows = sorted(v for r in reports for k, v in r.user_properties if k == "equality")
    if not rows:
        return
    kinds = "".join(f"{kind:>12}" for kind in ("weights", "running", "buffers")) * 2
    terminalreporter.section("1 process x 4 virtual workers = 2 x 2 = 4 x 1 (5 steps, fp64, at most 1e-10)")
    terminalreporter.write_line(f"{'':20}{'2 x 2':>36}{'4 x 1':>36}")
    terminalreporter.write_line(f"{'norm':20}{kinds}")
    for name, *differences in rows:
        terminalreporter.write_line(f"{name:20}" + "".join(f"{d:12.1e}" for d in differences))
