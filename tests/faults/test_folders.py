"""Poisoned run folders, and who may hold one: whatever lies there, a state is said."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from normbench import lock, records

DEEP = "[" * 100_000
VALUES = ["", "[]", "null", '"x"', "3", "{", "{}", DEEP, "\0\0", "NaN", '{"status": []}', '{"status": "ghost"}']
VALUES += [
    '{"status": "done", "epochs": "3"}',
    '{"status": "done", "epochs": 1000000000}',
    '{"status": "done", "epochs": true}',
]
VALUES += ['{"host": 1, "pid": [], "started": {}}', '{"host": "h", "pid": 1, "started": 1, "job": 5}', '{"epoch": "1"}']
VALUES += ['{"epoch": 1}\n{"epoch": "2"}\n{"epoch": null}\n[]', '{"epoch": [1]}', "9" * 5000, "\ud800", '{"boot": 7}']
FILES = ["result.json", "running.json", "error.json", "epochs.jsonl", "probes.jsonl", "config.yaml"]


def poison(folder: Path, name: str, kind: str) -> None:
    path = folder / name
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(kind.encode(errors="surrogatepass"))


@pytest.mark.parametrize("name", FILES)
def test_a_poisoned_folder_has_a_state_and_readers_that_do_not_raise(name: str, tmp_path: Path) -> None:
    """27 poisons in each of six places: 162 folders."""
    for number, kind in enumerate([*VALUES, "directory", "pipe", "loop", "zero"]):
        folder = tmp_path / str(number)
        folder.mkdir()
        poison(folder, name, kind)
        # of a host unheard of, as long as its file is fresh
        running = ["running"] if name == "running.json" and '"h"' in kind else []
        assert records.state(folder) in ("cut", "failed", "missing", *running), kind
        assert all(type(row["epoch"]) is int for row in records.read_rows(folder)), kind
        records.read_probes(folder)
        records.error(folder)
        try:
            records.read_config(folder)
        except (ValueError, FileNotFoundError):
            continue


# ------------------------------------------------------------------ line 5: two holders

RACE = """
import sys, time
from pathlib import Path
from normbench import lock, records
folder = Path(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    round = folder / line.strip()
    try:
        with records.hold(round):
            time.sleep(0.02)
            print("held", flush=True)
            sys.stdin.readline()
    except records.Busy:
        print("busy", flush=True)
        sys.stdin.readline()
"""


def test_of_eight_processes_on_a_dead_holders_folder_one_gets_it(tmp_path: Path) -> None:
    racers = [
        subprocess.Popen([sys.executable, "-c", RACE, str(tmp_path)], stdin=-1, stdout=-1, text=True) for _ in range(8)
    ]
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for number in range(100):
            folder = tmp_path / str(number)
            folder.mkdir()
            dead = {**lock._myself(), "pid": 2**22 + 1, "started": "1"}
            (folder / "running.json").write_text(json.dumps(dead))
            for word in (f"{number}\n", "over\n"):
                said = []
                for racer in racers:
                    assert racer.stdin is not None
                    racer.stdin.write(word)
                    racer.stdin.flush()
                if word != "over\n":
                    said = [racer.stdout.readline() for racer in racers if racer.stdout]
                    assert said.count("held\n") == 1, said
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()


def test_a_holder_of_another_namespace_is_known_by_the_kernels_lock(tmp_path: Path) -> None:
    with records.hold(tmp_path):
        path = tmp_path / "running.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "namespace": "pid:[1]", "pid": 2**22 + 1}))
        assert records.state(tmp_path) == "running"
        with pytest.raises(records.Busy), records.hold(tmp_path):
            pass
    path.write_text(json.dumps({**lock._myself(), "namespace": "pid:[1]"}))
    assert records.state(tmp_path) == "missing"
    with records.hold(tmp_path):
        pass


def test_another_hosts_namesake_is_not_judged_by_its_process_number(tmp_path: Path) -> None:
    there = {**lock._myself(), "boot": "another", "machine": None, "pid": 2**22 + 1}
    (tmp_path / "running.json").write_text(json.dumps(there))
    assert records.state(tmp_path) == "running"
    with pytest.raises(records.Busy), records.hold(tmp_path):
        pass
    ahead = time.time() + 10 * lock.STALE_SECONDS  # its clock was wrong
    os.utime(tmp_path / "running.json", (ahead, ahead))
    with records.hold(tmp_path):
        pass


@pytest.mark.parametrize("machine", ["mine", "another", None])
def test_what_this_machine_held_before_its_last_start_is_free_at_once(
    machine: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_machine", lambda: None if machine is None else "mine")
    before = {**lock._myself(), "boot": "an earlier one", "machine": machine, "pid": os.getpid()}
    (tmp_path / "running.json").write_text(json.dumps(before))
    assert records.state(tmp_path) == ("missing" if machine == "mine" else "running")
    if machine == "mine":
        with records.hold(tmp_path):
            assert json.loads((tmp_path / "running.json").read_text())["machine"] == "mine"


def test_a_container_has_no_machines_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "readlink", lambda path: "uts:[4026532999]")
    assert lock._machine.__wrapped__() is None


FORK = """
import os, sys
from pathlib import Path
from normbench import records
folders = [Path(sys.argv[1]) / str(number) for number in range(50)]
open_before = len(os.listdir("/dev/fd"))
for folder in folders:
    folder.mkdir()
    with records.hold(folder):
        if not (child := os.fork()):
            os._exit(len(os.listdir("/dev/fd")) - open_before)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert len(os.listdir("/dev/fd")) == open_before
"""


def test_a_forked_child_keeps_no_lock_however_many_runs_there_were(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK, str(tmp_path)], check=True, timeout=60)


def test_a_holder_that_is_busy_with_one_thing_is_still_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.05)
    with records.hold(tmp_path):
        os.utime(tmp_path / "running.json", (1, 1))
        time.sleep(0.5)
        assert os.stat(tmp_path / "running.json").st_mtime > 1


def test_the_next_holder_sweeps_away_what_killed_writes_left(tmp_path: Path) -> None:
    for name in (".config.yaml.123", ".epochs.jsonl.77", ".result.json.5"):
        (tmp_path / name).touch()
    (tmp_path / "config.yaml").touch()
    with records.hold(tmp_path):
        assert sorted(p.name for p in tmp_path.iterdir()) == ["config.yaml", "running.json"]
