"""The run folder: what was written is what is read, whatever was torn."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from normbench import records
from normbench.compose import run_of
from normbench.config import FORMAT


def test_config_yaml_reads_as_json_lines_and_as_yaml_alike(tmp_path: Path) -> None:
    config = run_of(["norm=gn", "norm.eps=1e-7", "recipe.milestones=[0.5,0.75]"]).description()
    records.write_config(tmp_path, config)
    fast, plain = records.read_config(tmp_path), yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert fast == plain == {"format": FORMAT, **json.loads(json.dumps(config))}
    assert plain["norm"]["eps"] == 1e-7  # YAML 1.1 takes 1e-07 for a string


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no format number"),
        ("lr: 0.1\n", "no format number"),
        ("a: [1,\n", "not written by normbench"),
        (f"format: {FORMAT + 1}\n", "newer than"),
    ],
)
def test_a_foreign_or_newer_config_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=said):
        records.read_config(tmp_path)


def test_a_torn_last_line_is_absent_and_the_later_row_of_an_epoch_counts(tmp_path: Path) -> None:
    for row in ({"epoch": 1, "e": 5.0}, {"epoch": 2, "e": 4.0}, {"epoch": 2, "e": 3.0}):
        records.append_row(tmp_path, row)
    with open(tmp_path / "epochs.jsonl", "a") as f:
        f.write('{"epoch": 3, "e": ')
    assert records.read_rows(tmp_path) == [{"epoch": 1, "e": 5.0}, {"epoch": 2, "e": 3.0}]
    records.keep(tmp_path, epochs=1, steps=0)
    assert (tmp_path / "epochs.jsonl").read_text() == '{"epoch": 1, "e": 5.0}\n'
    assert records.read_rows(tmp_path / "nowhere") == []


def test_probes_are_cut_at_the_step_of_the_checkpoint_and_what_is_no_number_is_null(tmp_path: Path) -> None:
    assert records.read_probes(tmp_path) == []
    for step in (3, 6, 9):
        records.append_probe(
            tmp_path, {"step": step, "mean": float("nan"), "percentiles": {"1": float("-inf"), "99": 2.0}}
        )
    with open(tmp_path / "probes.jsonl", "a") as f:
        f.write('{"step": 12, ')
    records.keep(tmp_path, epochs=0, steps=7)
    kept = [{"step": step, "mean": None, "percentiles": {"1": None, "99": 2.0}} for step in (3, 6)]
    assert records.read_probes(tmp_path) == kept
    assert [json.loads(line) for line in (tmp_path / "probes.jsonl").read_text().splitlines()] == kept


def test_states_follow_from_what_is_on_disk(tmp_path: Path) -> None:
    assert records.state(tmp_path) == "missing"
    (tmp_path / "config.yaml").write_text("format: 1\n")
    assert records.state(tmp_path) == "cut"
    records.write_json(tmp_path / "error.json", {"error": "x"})
    assert records.state(tmp_path) == "failed"
    with records.hold(tmp_path):
        assert records.state(tmp_path) == "running"
    (tmp_path / "result.json").write_text('{"status": ')
    assert records.state(tmp_path) == "failed"
    records.write_json(tmp_path / "result.json", {"status": "diverged"})
    assert records.state(tmp_path) == "diverged"


def test_a_folder_is_held_by_one_process_and_freed_by_its_death(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from normbench import records\n"
        "with records.hold(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(records.Busy, match=f"process {process.pid} on"), records.hold(tmp_path):
            pass
        process.kill()
    assert records.state(tmp_path) == "missing"
    with records.hold(tmp_path):
        assert records.state(tmp_path) == "running"
    assert not list(tmp_path.iterdir())


def test_a_holder_on_another_host_is_dead_once_it_is_silent(tmp_path: Path) -> None:
    path = tmp_path / "running.json"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": "1"}))
    assert records.state(tmp_path) == "running"
    old = path.stat().st_mtime - records.STALE_SECONDS - 1
    os.utime(path, (old, old))
    assert records.state(tmp_path) == "missing"
    os.utime(path)  # as its holder does every minute
    assert records.state(tmp_path) == "running"
