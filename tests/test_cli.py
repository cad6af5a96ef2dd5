"""The command line as a user meets it, in a process of its own: started anew, or forked where it trains."""

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from pathlib import Path

import pytest
from forking import Server

from normbench import cli, records
from normbench.config import Config
from normbench.version import VERSION

TINY = ["data.train_size=256", "data.test_size=200", "recipe.epochs=2", "sgd_batch=32", "model.options.width=4"]


def normbench(*arguments: str, cwd: Path, module: str = "normbench") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", module, *arguments], cwd=cwd, capture_output=True, text=True, timeout=200
    )


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("nrom=gn", "nrom: no such key (did you mean norm?)"),
        ("bathc=2", "bathc: no such key (did you mean batch?)"),
        ("norm=gnn", "norm=gnn: no such norm (did you mean gn?); one of bcn,"),
        ("norm=zzz", "norm=zzz: no such norm; one of bcn,"),
        ("norm=gn norm.group=8", "norm.group: no such option (did you mean norm.groups?)"),
        ("recipe.epohcs=3", "recipe.epohcs: no such key (did you mean recipe.epochs?)"),
        ("experiment=gn_fig11", "did you mean gn_fig1?"),
        ("batch=two", "batch=two"),
        ("batch=2.5", "batch=2.5"),
        ("norm=bn,gn", "several values are a sweep; add -m"),
        ("--batch 2", "settings are key=value"),
        ("-m norm=bn,gx", "norm=gx: no such norm"),
        ("-m norm=bn hydra/launcher=xx", "hydra/launcher=xx: no such hydra/launcher"),
        ("-m norm=bn hydra/launcher=slrum", "no such hydra/launcher (did you mean slurm?)"),
        ("experiment=demo", "experiment=demo is a sweep of"),
        ("norm=bn hydra/launcher=joblib", "hydra/launcher=joblib launches the cells of a sweep; add -m"),
        ("launcher.per_gpus=2", "launcher.per_gpus: no such key (did you mean launcher.per_gpu?)"),
        ("+foo=3", "foo: no such key"),
        ("++recipe.warmup=3", "recipe.warmup: no such key"),
        ("++norm.zeta=3", "norm.zeta: no such option"),
    ],
)
def test_a_mistyped_command_is_one_line_and_exit_code_1(typed: str, said: str, tmp_path: Path) -> None:
    ran = normbench(*typed.split(), cwd=tmp_path)
    assert ran.returncode == 1
    assert said in ran.stderr
    assert ran.stdout == ""
    assert len(ran.stderr.splitlines()) == 1
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("typed", ["--help", "norm=gnn", "--cfg job"])
def test_help_and_typos_are_answered_without_torch(typed: str, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom normbench.cli import main\ntry: main()\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'pandas', 'wandb', 'sklearn'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *typed.split()], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert ran.stdout.splitlines()[-1] == "[]"


def test_help_says_what_each_key_means_and_what_it_is_now(tmp_path: Path) -> None:
    told = normbench("--help", "data=cifar10", "recipe.lr=0.3", cwd=tmp_path).stdout
    lines = dict(line.split(maxsplit=1) for line in told.split("Keys, set")[1].splitlines()[2:] if " " in line.strip())
    assert (
        lines["recipe.lr=0.3"] == "learning rate for lr_batch images per step, scaled linearly to the run's sgd_batch"
    )
    assert {"data.num_classes=10", "protocol.sgd_batch=128", "recipe.milestones=[0.5,0.75]", "threads=null"} <= set(
        lines
    )
    nested = [group.default_factory for group in fields(Config) if is_dataclass(group.default_factory)]
    for schema in (Config, *nested):
        assert [f.name for f in fields(schema) if not f.metadata.get("meaning")] == [], schema


def test_the_version_is_ours(tmp_path: Path) -> None:
    told = normbench("--version", cwd=tmp_path).stdout.splitlines()
    assert told[0] == f"normbench {VERSION}"
    assert f"torch {version('torch')}" in told


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_is_a_first_word_and_a_module_alike(name: str, tmp_path: Path) -> None:
    wrong = ["gnn"] if name == "norms" else ["--nope"]
    asked = normbench(name, *wrong, cwd=tmp_path)
    assert asked.stderr == normbench(*wrong, cwd=tmp_path, module=f"normbench.{name}").stderr
    assert (asked.returncode, asked.stdout, len(asked.stderr.splitlines())) == (1, "", 1)
    assert asked.stderr.startswith("error: ")


def test_a_refused_run_leaves_nothing_behind(server: Server, tmp_path: Path) -> None:
    ran = server.run("norm=gn", "norm.groups=5", cwd=tmp_path)
    assert ran.returncode == 1
    assert "norm.groups=5 does not divide a layer's 16 channels; choose one of [1, 2, 4, 8, 16]" in ran.stderr
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_run_prints_its_arithmetic_its_epochs_and_its_result_and_is_skipped_when_done(
    server: Server, tmp_path: Path
) -> None:
    ran = server.run(*TINY, "norm=gn", "batch=2", cwd=tmp_path)
    lines = ran.stdout.splitlines()
    assert ran.returncode == 0, ran.stderr
    assert "any batch, sgd_batch=32, lr=0.1, 2 epochs x 8 steps = 16 steps" in lines[0]
    assert [line.split("epoch ")[1][:3] for line in lines[1:3]] == ["1/2", "2/2"]
    assert all(line.startswith("digits gn any s0  epoch ") for line in lines[1:3])
    assert re.fullmatch(r"done: \d+\.\d\d % top-1 error, median of the last 2 epochs, results/runs/\S+", lines[3])
    again = server.run(*TINY, "norm=gn", "batch=4", cwd=tmp_path)  # gn is batch-free under fixed_sgd
    assert "done before" in again.stdout
    assert len(again.stdout.splitlines()) == 1


def test_a_sweep_goes_on_after_a_failing_cell_says_so_and_continues_when_rerun(server: Server, tmp_path: Path) -> None:
    sweep = ["-m", *TINY, "norm=gn", "norm.groups=4,5", "batch=8,4"]
    ran = server.run(*sweep, cwd=tmp_path)
    assert ran.returncode == 1
    assert "FAILED" in ran.stderr
    assert "norm.groups=5 does not divide" in ran.stderr
    assert "1 done  1 failed" in ran.stdout
    results = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("result.json")}
    assert len(results) == 1
    again = server.run(*sweep, cwd=tmp_path)
    assert again.returncode == 1
    assert "4 cells are 2 runs, as equal ones are trained once; 1 finished, 1 to train" in again.stdout
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("result.json")} == results


def test_joblib_runs_the_cells_in_processes_of_their_own(server: Server, tmp_path: Path) -> None:
    sweep = ["-m", *TINY, "norm=bn", "batch=8,4", "hydra/launcher=joblib"]
    ran = normbench(*sweep, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "2 done" in ran.stdout
    environments = [json.loads(p.read_text()) for p in tmp_path.rglob("env.json")]
    assert [e["threads"] for e in environments] == [1, 1]
    commands = sorted(" ".join(e["command"]) for e in environments)
    assert all(c.startswith("normbench data.train_size=256") for c in commands)
    assert commands[0].endswith("batch=4")
    again = server.run(*sweep, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    said, *table = again.stdout.splitlines()
    assert said == "all 2 cells are finished; overwrite=true trains them anew"
    assert table[-1] == "2 done"


def test_an_interrupted_run_is_cut_and_the_same_command_continues_it(server: Server, tmp_path: Path) -> None:
    command = [*TINY, "recipe.epochs=20000", "batch=8"]
    launch = server.start(*command, cwd=tmp_path, apart=True)
    while "epoch 2/" not in launch.said():
        assert launch.poll() is None
        time.sleep(0.01)
    folder = next(tmp_path.rglob("config.yaml")).parent
    assert records.state(folder) == "running"
    busy = server.run(*command, cwd=tmp_path)
    assert busy.returncode == 1
    assert "is being trained by process" in busy.stderr
    launch.kill(signal.SIGINT)
    assert launch.wait() == 130
    said = "normbench: interrupted; the same command continues from the last checkpoint\n"
    assert launch.errors.read_text() == said
    assert records.state(folder) == "cut"


def test_the_state_of_a_killed_run_is_cut_not_running(server: Server, tmp_path: Path) -> None:
    launch = server.start(*TINY, "recipe.epochs=20000", "batch=8", cwd=tmp_path)
    while not list(tmp_path.rglob("checkpoint.pt")):
        assert launch.poll() is None
        time.sleep(0.01)
    launch.kill()
    launch.wait()
    assert records.state(next(tmp_path.rglob("config.yaml")).parent) == "cut"
