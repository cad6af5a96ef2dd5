"""A sweep: what it launches, and what a person sees of it in a log and on a terminal."""

import contextlib
import fcntl
import gc
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
from forking import Server

from normbench import records, sweeps
from normbench.cells import Cell, distinct
from normbench.compose import planned
from normbench.following import Following, duration

TINY = ["data.train_size=256", "recipe.epochs=2", "sgd_batch=32", "model.options.width=4", "device=cpu"]
TINY += ["data.test_size=200"]


# ---------------------------------------------------------------------------- which runs


def cells(*overrides: str) -> list[Cell]:
    return distinct(planned([*TINY, *overrides]))


def test_equal_cells_are_one_run_the_first_and_every_cell_is_accounted_for() -> None:
    found = cells("norm=bn,gn", "batch=8,4,2", "seed=0,1")
    assert [cell.name for cell in found if cell.run.seed == 0] == ["bn b8 s0", "bn b4 s0", "bn b2 s0", "gn any s0"]
    assert [cell.asked for cell in found if cell.run.seed == 0] == [1, 1, 1, 3]
    assert "batch=8" in found[-1].overrides
    assert sum(cell.asked for cell in found) == 12


def test_what_is_swept_beside_norm_batch_and_seed_is_in_the_name() -> None:
    assert [cell.name for cell in cells("batch=8", "recipe.freeze_from=null,0.5", "recipe.lr=0.1")] == [
        "bn b8 s0 freeze_from=null",
        "bn b8 s0 freeze_from=0.5",
    ]


def launched(monkeypatch: pytest.MonkeyPatch, *overrides: str) -> list[str]:
    """The cells that a sweep hands to its launcher."""
    found: list[str] = []
    monkeypatch.setattr(sweeps, "_launch", lambda cells, *_: found.extend(cell.name for cell in cells))
    sweeps.train([*TINY, *overrides], lambda config: "done", many_ranks=False)
    return found


def finish(cell: Cell) -> None:
    folder = cell.run.folder
    folder.mkdir(parents=True)
    records.write_config(folder, cell.run.description())
    for epoch in (1, 2):
        records.append_row(folder, {"epoch": epoch, "top1_error_pct": 9.0})
    error = {"median_last5": 6.97, "final": 7.0}
    result = {"status": "done", "top1_error_pct": error, "epochs": 2, "images_seen": 512, "seconds": 25.3}
    records.write_json(folder / "result.json", result)


def test_only_what_is_not_done_is_launched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["norm=bn,gn", "batch=8,4"]
    finish(cells(*asked)[0])
    assert launched(monkeypatch, *asked) == ["bn b4 s0", "gn any s0"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "4 cells are 3 runs, as equal ones are trained once; 1 finished, 2 to train"
    assert lines[1].split()[:7] == ["data", "model", "norm", "batch", "seed", "cells", "state"]
    assert lines[2].split()[2:] == ["bn", "8", "0", "1", "done", "6.97"]
    assert lines[4].split()[2:] == ["gn", "any", "0", "2", "missing"]
    assert launched(monkeypatch, *asked, "overwrite=true") == ["bn b8 s0", "bn b4 s0", "gn any s0"]


# ---------------------------------------------------------------------------- how far they are


def test_what_a_sweep_keeps_of_a_cell_that_has_ended_holds_no_configuration(tmp_path: Path) -> None:
    seen: list[weakref.ref[Any]] = []

    def job(config: Any) -> str:
        gc.collect()
        assert not [one for one in seen if one() is not None]
        seen.append(weakref.ref(config))
        return "done"

    sweeps.train([*TINY, "batch=8", "seed=0,1,2", f"out={tmp_path}"], job, many_ranks=False)
    assert len(seen) == 3


def test_an_earlier_attempt_s_files_say_nothing_of_this_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    found = cells("batch=8,4,2", "overwrite=true")
    finish(found[0])
    failed = found[1].run.folder
    failed.mkdir(parents=True)
    records.write_json(failed / "error.json", {"error": "once"})
    following = Following(found, before=7)
    assert following.look() == []
    assert (following.finished, following.all, following.running, following.share()) == (7, 10, [], 0.7)
    (found[0].run.folder / "result.json").unlink()
    (found[0].run.folder / "running.json").write_text("{}")
    (found[0].run.folder / "epochs.jsonl").unlink()
    records.append_row(found[0].run.folder, {"epoch": 1})
    assert following.look() == []
    assert [(one.cell.name, one.epochs) for one in following.running] == [("bn b8 s0", 1)]
    assert following.share() == pytest.approx(0.75)
    (failed / "error.json").unlink()
    records.write_json(failed / "error.json", {"error": "again"})
    assert [one.words() for one in following.look()] == ["bn b4 s0  failed"]
    assert (following.count("failed"), following.finished) == (1, 8)


def test_a_finished_run_is_a_line_and_the_rest_is_timed_by_its_speed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    found = cells("norm=bn", "batch=8,4,2")
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    following = Following(found, before=0)
    assert following.seconds_left() is None
    found[0].run.folder.mkdir(parents=True)
    (found[0].run.folder / "running.json").write_text("{}")
    following.look()
    (found[0].run.folder / "running.json").unlink()
    found[0].run.folder.rmdir()
    finish(found[0])
    clock[0] = 130.0
    assert [one.words() for one in following.look()] == ["bn b8 s0  6.97 %  25 s"]
    assert following.seconds_left() == pytest.approx(60.0)  # 2 epochs took 30 s, 4 are left
    assert following.share() == pytest.approx(1 / 3)


def test_a_run_that_was_cut_is_timed_by_the_epochs_that_are_new(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (cell,) = cells("batch=8", "recipe.epochs=20")
    cell.run.folder.mkdir(parents=True)
    for epoch in range(1, 11):
        records.append_row(cell.run.folder, {"epoch": epoch})
    (cell.run.folder / "checkpoint.pt").write_bytes(b"")
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    following = Following([cell], before=0)
    assert following.share() == 0.5
    (cell.run.folder / "running.json").write_text("{}")
    following.look()
    for epoch in range(11, 16):
        records.append_row(cell.run.folder, {"epoch": epoch})
    clock[0] = 10.0
    following.look()
    assert following.seconds_left() == pytest.approx(10.0)


def test_a_duration_has_the_unit_that_it_is_read_in() -> None:
    assert [duration(s) for s in (0.4, 25.3, 119, 120, 7199, 7200, 90000)] == [
        "0 s", "25 s", "119 s", "2 min", "120 min", "2.0 h", "25.0 h",
    ]  # fmt: skip


# ---------------------------------------------------------------------------- in a log


def normbench(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-W", "error", "-m", "normbench", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=250)


@pytest.mark.parametrize("engine", ["basic", "joblib"])
def test_a_log_has_a_line_a_finished_run_and_none_an_epoch_and_a_failure_whole(engine: str, tmp_path: Path) -> None:
    swept = ["norm=gn", "norm.groups=4,5", "batch=8,4", f"hydra/launcher={engine}"]
    ran = normbench("-m", *TINY, *swept, cwd=tmp_path)
    assert ran.returncode == 1
    assert "epoch" not in ran.stdout
    lines = [line for line in ran.stdout.splitlines() if re.match(r"\d/2  ", line)]
    assert sorted(re.sub(r"\d+\.\d\d %  \d+ s", "E %  T s", line)[5:] for line in lines) == [
        "gn-groups4 any s0  E %  T s",
        "gn-groups5 any s0  failed",
    ]
    assert [line[:3] for line in lines] == ["1/2", "2/2"]
    (said,) = ran.stderr.splitlines()
    assert said.startswith("FAILED ")
    assert "norm.groups=5 does not divide a layer's 4 channels; choose one of [1, 2, 4]" in said
    assert ran.stdout.splitlines()[-1] == "1 done  1 failed"


def test_normbench_plain_keeps_the_line_an_epoch(server: Server, tmp_path: Path) -> None:
    ran = server.run("-m", *TINY, "norm=gn", "batch=8,4", cwd=tmp_path, NORMBENCH_PLAIN="1")
    assert [line.split("epoch ")[1][:3] for line in ran.stdout.splitlines() if "epoch " in line] == ["1/2", "2/2"]
    assert not re.search(r"^1/1", ran.stdout, re.MULTILINE)


# ---------------------------------------------------------------------------- on a terminal


class Terminal:
    """A command on a terminal of 100 columns."""

    def __init__(self, cwd: Path, *arguments: str) -> None:
        command = [sys.executable, "-W", "error", "-m", "normbench", *arguments]
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        environment = {**os.environ, "TERM": "xterm"}
        environment.pop("NORMBENCH_PLAIN", None)
        self.process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(theirs)
        self.ours, self.raw = ours, b""

    def read(self, until: str = "", seconds: float = 280) -> str:
        """What was shown so far, without the codes that move the cursor; to the end without until."""
        end = time.monotonic() + seconds
        while not (until and re.search(until, self.shown)):
            assert time.monotonic() < end, self.shown
            if select.select([self.ours], [], [], 1)[0]:
                with contextlib.suppress(OSError):  # Linux's word for the end
                    if read := os.read(self.ours, 65536):
                        self.raw += read
                        continue
                break
        return self.shown

    @property
    def shown(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw.decode(errors="replace")).replace("\r", "")

    @property
    def left(self) -> list[str]:
        """The lines that a person sees in the end: what was erased is gone."""
        lines, text = [""], self.raw.decode(errors="replace").replace("\r\n", "\n")
        for part in re.split(r"(\x1b\[[0-9;?]*[A-Za-z]|\n|\r)", text):
            if part == "\n":
                lines.append("")
            elif part == "\x1b[1A":
                lines.pop()
            elif part in ("\x1b[2K", "\r"):
                lines[-1] = "" if part == "\x1b[2K" else lines[-1]
            elif not part.startswith("\x1b"):
                lines[-1] += part
        return [line.rstrip() for line in lines]


def test_a_terminal_has_one_bar_that_is_gone_in_the_end_and_errors_whole_above_it(tmp_path: Path) -> None:
    swept = ["norm=gn", "norm.groups=4,5", "batch=8,4", "hydra/launcher=joblib"]
    terminal = Terminal(tmp_path, "-m", *TINY, "recipe.epochs=30", *swept)
    shown = terminal.read()
    assert terminal.process.wait(60) == 1
    assert "━" in shown
    assert re.search(r"[01]/2 runs", shown)
    assert "running: gn-groups4 any s0 " in shown
    assert "2/2 runs  1 failed" in shown
    assert "epoch " not in shown
    left = "\n".join(terminal.left)
    assert "━" not in left
    assert "running:" not in left
    assert "norm.groups=5 does not divide a layer's 4 channels; choose one of [1, 2, 4]" in left
    assert left.rstrip().endswith("1 done  1 failed")


@pytest.mark.parametrize("engine", ["basic", "joblib"])
def test_ctrl_c_ends_a_sweep_with_its_table(engine: str, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "-m", *TINY, "recipe.epochs=20000", "batch=8,4", f"hydra/launcher={engine}")
    terminal.read(until=r"running: .*[1-9]/20000")
    os.write(terminal.ours, b"\x03")
    terminal.read(seconds=60)
    assert terminal.process.wait(60) == 130
    *_, counts, said, end = terminal.left
    assert re.fullmatch(r"2 cut|1 cut  1 missing", counts)
    assert said == "normbench: interrupted; the same command continues from the last checkpoint"
    assert end == ""
    assert "Traceback" not in "\n".join(terminal.left)


def test_the_runs_of_a_watched_sweep_are_recorded_as_ever(server: Server, tmp_path: Path) -> None:
    ran = server.run("-m", *TINY, "batch=8,4", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    recorded: list[Any] = [json.loads(path.read_text())["command"] for path in tmp_path.rglob("env.json")]
    assert sorted(command[-1] for command in recorded) == ["batch=4", "batch=8"]
