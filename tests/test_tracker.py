"""Weights & Biases: what the real client wrote offline is what the records hold, and nothing it
meets stops a run.
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import normbench
from normbench import records, tracker
from normbench.compose import run_of
from normbench.config import ConfigError
from normbench.runs import Run
from normbench.tracker import NoTracker, WandbTracker, build

RESULT = {"status": "done", "top1_error_pct": {"median_last5": 9.5, "final": 9.0}, "images_seen": 400, "seconds": 2.0}


def inspect(log: Path, *more: str) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *more, str(log)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def read_back(folder: Path) -> list[list[dict[str, Any]]]:
    """The records of each offline segment of a run, oldest first."""
    return [[json.loads(line) for line in inspect(log).splitlines()] for log in segments(folder)]


def segments(folder: Path) -> list[Path]:
    return sorted(folder.rglob("offline-run-*/*.wandb"), key=lambda log: log.stat().st_mtime_ns)


def summary_of(folder: Path) -> dict[str, Any]:
    (log,) = segments(folder)
    found: dict[str, Any] = json.loads(inspect(log, "--summary"))["summary"]
    return found


def kind(segment: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [record[name] for record in segment if record["type"] == name]


def history(segment: list[dict[str, Any]]) -> list[tuple[int, float]]:
    items = [record["item"] for record in kind(segment, "history")]
    return [(item["epoch"], item["top1_error_pct"]) for item in items if "epoch" in item]


def row(epoch: int) -> dict[str, Any]:
    return {"epoch": epoch, "images_seen": 100 * epoch, "train_error_pct": 40.0 / epoch, "top1_error_pct": 50.0 / epoch}


def config(tmp_path: Path, *more: str) -> Run:
    return run_of(["tracker=wandb", "norm=gn", "batch=8", "seed=3", f"out={tmp_path}", *more])


# ---------------------------------------------------------------------------- what it writes


def test_the_offline_run_holds_the_rows_the_config_and_the_metric_of_record(tiny: list[str]) -> None:
    result = normbench.run([*tiny, "tracker=wandb", "tracker.mode=offline"])
    (segment,) = read_back(result.path)
    assert history(segment) == [(r["epoch"], r["top1_error_pct"]) for r in records.read_rows(result.path)]

    (run,) = kind(segment, "run")
    told, made_with = run["config"]["update"], records.read_json(result.path / "env.json")
    assert (told["batch"], told["norm"]["name"], told["recipe"]["epochs"]) == (8, "bn", 3)
    assert (told["commit"], told["environment"]["versions"]) == (made_with["commit"], made_with["versions"])

    summary = summary_of(result.path)
    assert summary["top1_error_pct_median_last5"] == result.top1_error_pct
    assert (summary["status"], summary["top1_error_pct_final"]) == ("done", result.final)


def test_group_is_the_cell_and_the_seed_tells_its_runs_apart(tmp_path: Path) -> None:
    names = [tracker._names(config(tmp_path, *more)) for more in ([], ["seed=4"], ["recipe.epochs=7"])]
    assert names[0]["group"] == names[1]["group"] != names[2]["group"]
    assert names[0]["group"].startswith("digits-cifar_resnet8-gn-any64-")
    assert [name["name"] for name in names[:2]] == ["gn-any64-s3", "gn-any64-s4"]
    assert len({name["id"] for name in names}) == 3
    assert names[0]["tags"] == ["digits", "cifar_resnet8", "gn", "fixed_sgd"]


def test_epoch_and_images_seen_are_axes_and_the_rows_a_table_and_a_curve(tmp_path: Path) -> None:
    with build(config(tmp_path), tmp_path, enabled=True) as mirror:
        for epoch in (1, 2, 3, 4):
            records.append_row(tmp_path, row(epoch))
            mirror.log(row(epoch))
        mirror.finish(RESULT)
    (segment,) = read_back(tmp_path)
    assert {"glob_name": "*", "step_metric": "epoch"}.items() <= kind(segment, "metric")[0].items()
    assert "images_seen" in {metric.get("name") for metric in kind(segment, "metric")}
    tables = {
        path.name.split("_4_")[0]: json.loads(path.read_text()) for path in tmp_path.rglob("*/media/table/*.json")
    }
    assert tables["epochs"]["columns"] == list(row(1))
    assert tables["epochs"]["data"] == [list(row(epoch).values()) for epoch in (1, 2, 3, 4)]
    assert [4, "top1_error_pct", 12.5] in tables["curves_table"]["data"]
    assert summary_of(tmp_path)["images_per_second"] == 200.0


def test_a_resumed_run_keeps_its_id_and_its_last_segment_holds_every_row(tmp_path: Path) -> None:
    asked = config(tmp_path)
    for epochs in ((1, 2), (3, 4)):
        with build(asked, tmp_path, enabled=True) as mirror:
            for epoch in epochs:
                records.append_row(tmp_path, row(epoch))
                mirror.log(row(epoch))
        time.sleep(1.1)  # W&B names a segment by the second in which it starts
    first, second = read_back(tmp_path)
    ids = [kind(segment, "run")[0]["run_id"] for segment in (first, second)]
    assert ids == [f"{asked.identity}-s3"] * 2
    assert history(first) == [(epoch, 50.0 / epoch) for epoch in (1, 2)]
    assert history(second) == [(epoch, 50.0 / epoch) for epoch in (1, 2, 3, 4)]


def test_the_tracker_does_not_fork_a_run_and_no_tracker_writes_nothing(tiny: list[str]) -> None:
    result = normbench.run(tiny)
    assert not list(result.path.rglob("*.wandb"))
    assert normbench.run([*tiny, "tracker=wandb"]) == result


def test_a_wrong_mode_is_refused_and_other_ranks_track_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"did you mean online\?\); one of auto, online, offline, disabled"):
        config(tmp_path, "tracker.mode=onlin")
    assert type(build(config(tmp_path, "tracker.mode=offline"), tmp_path, enabled=False)) is NoTracker


# ---------------------------------------------------------------------------- what goes wrong


@pytest.fixture
def black_hole() -> Iterator[int]:
    """The port of a server that accepts every connection and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield server.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


TRACKED = """
import sys, time
from pathlib import Path
from normbench import tracker
from normbench.compose import run_of
import wandb  # not what is timed

tracker.INIT_SECONDS = float(sys.argv[2])
for seed in (0, 1):
    folder = Path(sys.argv[1]) / str(seed)
    folder.mkdir()
    began = time.monotonic()
    with tracker.build(run_of(["tracker=wandb", f"seed={seed}", f"out={folder}"]), folder, enabled=True) as mirror:
        print(f"waited {time.monotonic() - began:.1f}")
        mirror.log({"epoch": 1, "top1_error_pct": 50.0})
        mirror.finish({"status": "done", "top1_error_pct": {"median_last5": 50.0, "final": 50.0}})
"""


@pytest.mark.parametrize("server", ["black_hole", "closed_port"])
def test_a_server_that_does_not_answer_is_one_line_and_an_offline_run(
    server: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tracker.INIT_SECONDS == 20
    # the last: this process's own client
    for name in ("WANDB_MODE", "WANDB_SILENT", "WANDB_CONSOLE", "WANDB_SERVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{request.getfixturevalue(server)}")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    command = [sys.executable, "-c", TRACKED, str(tmp_path), "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    assert len(said) == 3, said
    assert said[0].startswith("wandb: ")
    assert said[0].endswith("; this process tracks offline from here on")
    assert f"wandb sync {tmp_path}/0/wandb/offline-run-*" in said[0]
    assert list((tmp_path / "0" / "wandb").glob("offline-run-*"))
    assert 3 <= float(said[1].split()[1]) < 15  # not the 100 s of the client's own patience
    assert float(said[2].split()[1]) < 3  # and the next run of a sweep does not ask again
    assert [history(segment) for segment in read_back(tmp_path)] == [[(1, 50.0)]] * 2


def test_auto_is_online_with_a_key_offline_without_and_what_wandb_mode_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    asked = config(tmp_path)
    assert tracker._mode(asked) == "offline"  # WANDB_MODE of the tests
    monkeypatch.delenv("WANDB_MODE")
    for has_key, mode in ((True, "online"), (False, "offline")):
        monkeypatch.setattr(wandb, "login", lambda answer=has_key, **_: answer)
        assert tracker._mode(asked) == mode
    assert tracker._mode(config(tmp_path, "tracker.mode=disabled")) == "disabled"


def test_a_client_that_breaks_is_one_line_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise OSError("No space left on device\nmore words")

    mirror = WandbTracker.__new__(WandbTracker)
    mirror._run, mirror._wandb, mirror._folder = Broken(), Broken(), tmp_path
    records.append_row(tmp_path, row(1))
    with mirror:
        mirror.log(row(1))
        mirror.finish(RESULT)
    assert capsys.readouterr().out.splitlines() == ["wandb: No space left on device"] * 4

    monkeypatch.setattr(tracker, "WandbTracker", lambda *_: Broken().anything)
    assert type(build(config(tmp_path), tmp_path, enabled=True)) is NoTracker
    assert capsys.readouterr().out == "wandb: No space left on device; this run is not tracked\n"
