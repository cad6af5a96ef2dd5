"""What a process learns from Slurm's variables and commands, without a Slurm."""

import json
import os
import socket
from pathlib import Path

import pytest

from normbench import records, slurm


@pytest.fixture
def squeue(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What the squeue on the PATH answers."""
    (tmp_path / "bin").mkdir()
    says = tmp_path / "says"
    (tmp_path / "bin" / "squeue").write_text(
        f'#!/bin/sh\n[ -e {says} ] && cat {says} || {{ echo "$0: down" >&2; exit 1; }}\n'
    )
    (tmp_path / "bin" / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return says


def held(folder: Path, host: str, job: str | None) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text("")
    (folder / "running.json").write_text(json.dumps({"host": host, "pid": 1, "started": "1", "job": job}))
    return folder


def test_a_run_on_another_host_is_cut_once_slurm_says_that_its_job_has_ended(squeue: Path, tmp_path: Path) -> None:
    run = held(tmp_path / "run", "elsewhere", "12.0")
    squeue.write_text("RUNNING\n")
    assert records.state(run) == "running"
    squeue.write_text("")
    assert records.state(run) == "cut"
    squeue.unlink()  # Slurm does not answer: the file's age decides
    assert records.state(run) == "running"
    assert records.state(held(tmp_path / "other", "elsewhere", None)) == "running"


def test_a_requeued_job_takes_its_run_back_at_once(
    squeue: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    squeue.write_text("RUNNING\n")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    run = held(tmp_path / "run", "elsewhere", "12.0")
    with records.hold(run):
        holder = json.loads((run / "running.json").read_text())
        assert (holder["job"], holder["host"]) == ("12.1", socket.gethostname())
    same = held(tmp_path / "same", "elsewhere", "12.1")  # another task of this very start
    with pytest.raises(records.Busy), records.hold(same):
        pass


def test_overwrite_has_done_its_work_where_the_requeued_job_began_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script, config = tmp_path / "12_submission.sh", tmp_path / "run" / "config.yaml"
    config.parent.mkdir()
    for path, second in ((script, 100), (config, 50)):
        path.touch()
        os.utime(path, (second, second))
    for name, value in {"SLURM_JOB_ID": "14", "SLURM_ARRAY_JOB_ID": "12", "SUBMITIT_FOLDER": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert not slurm.goes_on(config.parent)  # requeued before it began: the record is an older one
    os.utime(config, (200, 200))
    assert slurm.goes_on(config.parent)
    monkeypatch.delenv("SLURM_RESTART_COUNT")
    assert not slurm.goes_on(config.parent)


@pytest.mark.parametrize(("gpus", "local_rank"), [("0,1,2,3", "3"), ("0", "0"), ("", "3")])
def test_a_task_of_a_job_is_a_rank(gpus: str, local_rank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    torchruns = (
        "RANK",
        "WORLD_SIZE",
        "LOCAL_RANK",
        "LOCAL_WORLD_SIZE",
        "MASTER_ADDR",
        "MASTER_PORT",
        "OMP_NUM_THREADS",
    )
    for name in torchruns:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    assert not slurm.ranks()
    told = {"JOB_ID": "12", "NTASKS": "8", "JOB_NUM_NODES": "2", "PROCID": "7", "LOCALID": "3", "CPUS_PER_TASK": "6"}
    told["JOB_NODELIST"] = "n[1-2]"
    for name, value in told.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    assert slurm.ranks()
    assert [os.environ[name] for name in torchruns[:2]] == ["7", "8"]
    assert (os.environ["LOCAL_RANK"], os.environ["MASTER_ADDR"]) == (local_rank, "n1")
    assert os.environ["OMP_NUM_THREADS"] == "6"
