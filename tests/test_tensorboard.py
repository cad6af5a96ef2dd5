"""TensorBoard's event files, read back: what they hold is what the records hold, once."""

from pathlib import Path
from typing import Any

import pytest

import normbench
from normbench import checks, records, tracker
from normbench.compose import run_of
from normbench.config import ConfigError

reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # protobuf's


def row(epoch: int) -> dict[str, Any]:
    return {"epoch": epoch, "images_seen": 100 * epoch, "train_loss": 1.0 / epoch, "top1_error_pct": 50.0 / epoch}


RESULT = {"status": "done", "top1_error_pct": {"median_last5": 9.5, "final": 9.0}, "epochs": 4, "seconds": 2.0}


def written(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every number in the files, in their order, as often as it stands there."""
    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted((folder / "tensorboard").glob("events.*")):
        events = reading.EventAccumulator(str(path), size_guidance={"scalars": 0})
        events.Reload()
        for tag in events.Tags()["scalars"]:
            found.setdefault(tag, []).extend((event.step, event.value) for event in events.Scalars(tag))
    return {tag: sorted(values) for tag, values in found.items()}


def track(folder: Path, *epochs: int, close: bool = True) -> Any:
    mirror = tracker.build(run_of(["tracker=tensorboard", f"out={folder}"]), folder, enabled=True)
    assert type(mirror) is tracker.Quiet
    mirror.__enter__()
    for epoch in epochs:
        records.append_row(folder, row(epoch))
        mirror.log(row(epoch))
    if close:
        mirror.__exit__(None, None, None)
    return mirror


def test_the_files_hold_the_rows_and_the_metric_of_record(tiny: list[str]) -> None:
    result = normbench.run([*tiny, "tracker=tensorboard"])
    found, rows = written(result.path), records.read_rows(result.path)
    for key in ("top1_error_pct", "train_error_pct", "train_loss", "lr", "seconds"):
        assert found[key] == [(r["epoch"], pytest.approx(r[key], rel=1e-6)) for r in rows]
    assert found["result/top1_error_pct_median_last5"] == [(3, pytest.approx(result.top1_error_pct, rel=1e-6))]
    assert normbench.run(tiny) == result  # a tracker does not fork a run


def test_a_run_that_goes_on_adds_to_it_and_doubles_nothing(tmp_path: Path) -> None:
    track(tmp_path, 1, 2)
    records.append_row(tmp_path, row(3))  # killed before the tracker was told
    mirror = track(tmp_path, 4, close=False)
    mirror.log(row(4))  # trained again from the checkpoint before it
    mirror.finish(RESULT)
    mirror.__exit__(None, None, None)
    found = written(tmp_path)
    assert len(list((tmp_path / "tensorboard").glob("events.*"))) == 2
    assert found["top1_error_pct"] == [(epoch, pytest.approx(50.0 / epoch)) for epoch in (1, 2, 3, 4)]
    assert found["result/top1_error_pct_final"] == [(4, 9.0)]


def test_a_torn_file_costs_its_torn_end_only(tmp_path: Path) -> None:
    track(tmp_path, 1, 2)
    (path,) = (tmp_path / "tensorboard").glob("events.*")
    path.write_bytes(path.read_bytes()[:-5])  # within the last number of epoch 2
    track(tmp_path)
    assert written(tmp_path)["top1_error_pct"] == [(1, 50.0), (2, 25.0)]


def test_a_run_that_starts_anew_starts_its_files_anew(tmp_path: Path) -> None:
    track(tmp_path, 1, 2)
    (tmp_path / "epochs.jsonl").unlink()  # as overwrite=true does
    track(tmp_path, 1)
    assert written(tmp_path)["top1_error_pct"] == [(1, 50.0)]


def test_numbers_that_are_none_and_words_are_left_out(tmp_path: Path) -> None:
    mirror = track(tmp_path, close=False)
    mirror.log({"epoch": 1, "train_loss": float("nan"), "note": "x", "lr": None, "top1_error_pct": 1.0})
    mirror.finish({"status": "diverged", "top1_error_pct": {"median_last5": None, "final": None}, "epochs": 1})
    mirror.__exit__(None, None, None)
    assert written(tmp_path) == {"top1_error_pct": [(1, 1.0)]}


def test_what_is_wrong_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"tracker\.project=x is of tracker=wandb; leave it out"):
        run_of(["tracker=tensorboard", "tracker.project=x"])
    monkeypatch.setattr(checks, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"tracker=tensorboard needs pip install 'normbench\[tensorboard\]'"):
        run_of(["tracker=tensorboard"])
