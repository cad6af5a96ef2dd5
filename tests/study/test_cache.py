"""Claims about the cache of run folders: it is fast, it is never wrong, and to lose it costs nothing but time."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from normbench import records
from normbench.study.read import cache, collected, one_run


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of this second are cached too, but for the test that is about that."""
    monkeypatch.setattr(cache, "SETTLED_SECONDS", -60.0)


def some(make_run: Any, root: Path) -> list[Path]:
    return [make_run(root, batch=batch, seed=seed, error=7.0 + batch) for batch in (32, 2) for seed in (0, 1)]


def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that are read from here on."""
    seen: list[str] = []
    real = one_run.read_run
    monkeypatch.setattr(one_run, "read_run", lambda path: (seen.append(path.name), real(path))[1])
    return seen


def same(one: collected.Collected, other: collected.Collected) -> None:
    pd.testing.assert_frame_equal(one.runs, other.runs)
    pd.testing.assert_frame_equal(one.epochs, other.epochs)
    assert one.problems == other.problems


def test_a_second_reading_opens_nothing_and_gives_the_same_tables(
    make_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some(make_run, tmp_path)
    records.append_row(
        make_run(tmp_path, norm="gn", batch_free=True, epochs=0), {"epoch": 1, "top1_error_pct": None, "x": 2}
    )
    first = collected.read(tmp_path)
    seen = opened(monkeypatch)
    same(collected.read(tmp_path), first)
    pd.testing.assert_frame_equal(collected.runs(tmp_path)[0], first.runs)
    assert seen == []


@pytest.mark.parametrize(
    "change", ["append", "same size and time", "result gone", "new run", "run gone", "torn", "held"]
)
def test_any_change_shows_and_only_what_changed_is_read(
    make_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    folder = some(make_run, tmp_path)[0]
    collected.read(tmp_path)
    seen = opened(monkeypatch)
    expected = 1
    if change == "append":
        records.append_row(folder, {"epoch": 3, "top1_error_pct": 1.0})
    elif change == "same size and time":
        path = folder / "epochs.jsonl"
        before = path.stat()
        path.write_text(path.read_text().replace("39.0", "11.5"))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_size == before.st_size
    elif change == "result gone":
        (folder / "result.json").unlink()
    elif change == "new run":
        make_run(tmp_path, batch=8)
    elif change == "run gone":
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        folder.parent.joinpath("s9").mkdir()
    elif change == "torn":
        (folder / "config.yaml").write_text("format: 1\nba")
    else:
        (folder / "result.json").unlink()
        records.write_json(folder / "running.json", {"host": "elsewhere", "pid": 1, "started": "0"})
    found = collected.read(tmp_path)
    assert len(seen) == expected
    (tmp_path / cache.WHERE).unlink()
    same(found, collected.read(tmp_path))


def test_what_changed_just_now_is_not_kept(make_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "SETTLED_SECONDS", 60.0)
    some(make_run, tmp_path)
    collected.read(tmp_path)
    seen = opened(monkeypatch)
    collected.read(tmp_path)
    assert len(seen) == 4


@pytest.mark.parametrize("spoilt", ["empty", "torn", "foreign", "other code", "a pickle"])
def test_a_cache_that_cannot_be_trusted_is_made_anew(make_run: Any, tmp_path: Path, spoilt: str) -> None:
    some(make_run, tmp_path)
    first = collected.read(tmp_path)
    path = tmp_path / cache.WHERE
    whole = path.read_bytes()
    if spoilt == "empty":
        path.write_bytes(b"")
    elif spoilt == "torn":
        path.write_bytes(whole[: len(whole) // 2])
    elif spoilt == "foreign":
        path.write_text(json.dumps({"index": 1}))
    elif spoilt == "other code":
        np.savez(path, index=np.frombuffer(json.dumps({"code": "x"}).encode(), dtype=np.uint8))
    else:
        np.savez(path, index=np.array([{}], dtype=object), allow_pickle=True)
    same(collected.read(tmp_path), first)
    assert path.stat().st_size == len(whole)


def test_a_folder_that_cannot_be_written_to_is_read_all_the_same(make_run: Any, tmp_path: Path) -> None:
    some(make_run, tmp_path)
    (tmp_path / ".collect").write_text("in the way")
    assert len(collected.read(tmp_path).runs) == 4


def test_a_moved_folder_names_its_new_place(make_run: Any, tmp_path: Path) -> None:
    some(make_run, tmp_path / "old")
    collected.read(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    assert all(path.startswith(str(tmp_path / "new")) for path in collected.read(tmp_path / "new").runs["path"])


def test_words_among_the_numbers_are_read_as_they_are(make_run: Any, tmp_path: Path) -> None:
    folder = make_run(tmp_path, epochs=0)
    records.append_row(folder, {"epoch": 1, "top1_error_pct": 8.5, "note": "warm", "ok": True})
    for _ in range(2):
        row = collected.read(tmp_path).epochs.iloc[0]
        assert (row["note"], row["ok"], row["top1_error_pct"]) == ("warm", True, 8.5)
