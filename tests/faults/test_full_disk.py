"""Whatever the machine refuses, a full disk first: one line, exit code 1, nothing half-written, and
what was there before goes on.
"""

import errno
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from forking import Server
from killing import RUN, TORCHRUN, bitwise, states

from normbench import cli, files, records
from normbench.compose import run_of
from normbench.train import checkpoint
from normbench.train.optim import Updates

SHORT = [*RUN, "data.train_size=128", "data.test_size=200", "recipe.epochs=2", "model.options.width=2"]


class FullDisk:
    """Replaces what writes: after so many bytes of all files together there is no room."""

    def __init__(self, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room, self.refused = room, 0
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self.fsync)
        self._sizes: dict[int, int] = {}

    def fsync(self, handle: int) -> None:
        """Every file is written, then brought to the disk: there, as on many file systems, it fails."""
        size = os.fstat(handle).st_size
        if self.room < size:
            self.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= size
        self._fsync(handle)


@pytest.fixture(scope="module")
def uncut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uncut") / "runs"
    assert cli._guarded([*SHORT, f"out={out}"]) == 0
    return out


def partial(out: Path) -> list[str]:
    """Files that are no whole record."""
    return [p.name for p in out.rglob(".*") if p.is_file()] if out.exists() else []


@pytest.mark.parametrize("part", [0.001, 0.02, 0.2, 0.4, 0.7, 0.9, 0.99])
def test_a_disk_that_fills_up_anywhere_is_one_line_and_the_run_goes_on_from_what_is_whole(
    part: float,
    uncut: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tried: Callable[..., None],
) -> None:
    out = tmp_path / "runs"
    with monkeypatch.context() as patch:
        everything = FullDisk(10**9, patch)
        assert cli._guarded([*SHORT, f"out={tmp_path / 'measured'}"]) == 0
    capsys.readouterr()
    with monkeypatch.context() as patch:
        full = FullDisk(int(part * (10**9 - everything.room)), patch)
        assert cli._guarded([*SHORT, f"out={out}"]) == 1
        assert full.refused
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("normbench: [Errno 28] No space left on device"), line
    assert "the same command tries again" in line
    assert partial(out) == []
    assert not list(out.rglob("result.json"))
    assert cli._guarded([*SHORT, f"out={out}"]) == 0
    assert bitwise(uncut, out)
    tried("full disks")


@pytest.mark.parametrize("limit", [2_000, 30_000, 60_000])
def test_a_file_that_may_not_grow_is_one_line_and_what_was_written_of_it_is_gone(
    limit: int, server: Server, tmp_path: Path, tried: Callable[..., None]
) -> None:
    """The kernel itself refuses (RLIMIT_FSIZE), in the middle of torch's archive."""
    out = tmp_path / "runs"
    command = [*SHORT, "model.options.width=8", f"out={out}"]
    launch = server.start(*command, cwd=tmp_path, apart=True, largest_file=limit)
    assert launch.wait() == 1, launch.said()
    (line,) = launch.errors.read_text().splitlines()
    assert "Errno 27" in line, line
    assert partial(out) == []
    assert not out.exists()  # it had no first checkpoint: nothing to go on from
    tried("full disks")


def test_a_full_disk_leaves_the_checkpoint_before_as_it_was(
    uncut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = next(uncut.rglob("checkpoint.pt")).parent
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    model = torch.nn.Linear(3, 3)
    updates = Updates(run_of([]), model, torch.device("cpu"))
    with monkeypatch.context() as patch:
        FullDisk(100, patch)
        with pytest.raises(checkpoint.ConfigError, match="No space left on device"):
            checkpoint.save(folder, checkpoint.Position(1), model, updates, "x")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert state["epoch"] == 2


def test_of_a_row_that_does_not_fit_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records.append_row(tmp_path, {"epoch": 1})
    with monkeypatch.context() as patch:
        FullDisk(0, patch)
        for _ in range(2):
            with pytest.raises(OSError, match="No space"):
                records.append_row(tmp_path, {"epoch": 2})
    assert (tmp_path / "epochs.jsonl").read_text() == '{"epoch": 1}\n'


def test_a_write_that_is_refused_leaves_the_old_file_and_no_part_of_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result.json"
    records.write_json(path, 1)
    with monkeypatch.context() as patch:
        FullDisk(0, patch)
        with pytest.raises(OSError, match="No space"):
            records.write_json(path, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]
    assert records.read_json(path) == 1
    with pytest.raises(ZeroDivisionError), files.gone_if_it_fails(path):
        raise ZeroDivisionError
    assert path.exists()  # only the machine's refusal takes it away


# ------------------------------------------------------------------ folders that cannot be


@pytest.mark.parametrize("out", ["/dev/null/x", "file/x", "n" * 300, "/proc/nope"])
def test_a_folder_that_cannot_be_is_one_line_of_all_ranks_and_none_waits(
    out: str, server: Server, tmp_path: Path, tried: Callable[..., None]
) -> None:
    (tmp_path / "file").touch()
    launches = server.ranks(*SHORT, f"out={out}", cwd=tmp_path)
    assert [launch.wait() for launch in launches] == [1, 0]  # the first speaks for all, to torchrun too
    text = "".join(launch.said() for launch in launches)
    said = [line for line in text.splitlines() if line.startswith("normbench: ")]
    assert len(said) == 1, text
    assert "Errno" in said[0]
    assert 'Traceback (most recent call last):\n  File "' + str(Path(cli.__file__).parent) not in text
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    tried("full disks")


FILLING = """
import os
from normbench import cli, records

def full(folder, row):
    if row["epoch"] == 2:
        raise OSError(28, "No space left on device")
    append(folder, row)

append, records.append_row = records.append_row, full
cli.main()
"""


def test_a_disk_full_in_mid_run_is_one_line_of_all_ranks(tmp_path: Path, tried: Callable[..., None]) -> None:
    program = tmp_path / "filling.py"
    program.write_text(FILLING)
    command: list[Any] = [*TORCHRUN[:-2], str(program), *SHORT, f"out={tmp_path / 'runs'}"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert ran.returncode == 1
    (line,) = [line for line in ran.stderr.splitlines() if line.startswith("normbench: ")]
    assert line.startswith("normbench: [Errno 28] No space left on device")
    assert "RuntimeError" not in ran.stderr
    assert states(tmp_path / "runs") == ["failed"]
    tried("full disks")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    assert cli._guarded([*SHORT, f"out={tmp_path / 'runs'}"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "Permission denied" in line


@pytest.mark.parametrize("there", [False, True])
def test_what_is_refused_while_it_is_built_leaves_no_folder(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if there:
        (tmp_path / "results").mkdir()
    assert cli._guarded([*SHORT, "norm=frozen", "norm.checkpoint=/nowhere"]) == 1
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == (["results"] if there else [])


def test_a_random_number_of_bytes_of_a_record_is_never_taken_for_it(tmp_path: Path, tried: Callable[..., None]) -> None:
    """What a file system may leave of a write that never ended: the beginning of it."""
    dice = random.Random(3)
    whole = b'{"status": "done", "top1_error_pct": {"median_last5": 1.0, "final": 1.0}, "epochs": 0}\n'
    for _ in range(50):
        (tmp_path / "result.json").write_bytes(whole[: dice.randrange(1, len(whole) - 2)])
        assert records.state(tmp_path) == "missing"
    tried("torn files", 50)
