"""What each job of a sweep gets of the machine, and what is refused before anything is launched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from normbench import launch
from normbench.compose import run_of
from normbench.config import ConfigError
from normbench.launch import Allotment
from normbench.runs import Run

TINY = ["data.train_size=256", "recipe.epochs=2", "sgd_batch=32", "model.options.width=4", "device=cpu"]
TINY += ["data.test_size=200"]


@pytest.mark.parametrize(
    ("cells", "cores", "gpus", "per_gpu", "asked", "jobs", "threads", "slots"),
    [
        (20, 16, 0, 1, None, 16, 1, ""),  # no GPU: a cell a core
        (4, 16, 0, 1, None, 4, 4, ""),  # fewer cells than cores: they share the cores out
        (20, 16, 0, 1, 3, 3, 5, ""),
        (20, 16, 0, 1, -1, 16, 1, ""),  # joblib's way to say all
        (20, 16, 0, 1, -3, 14, 1, ""),
        (20, 2, 0, 1, 8, 8, 1, ""),
        (20, 16, 4, 1, None, 4, 4, "0123"),
        (20, 16, 4, 2, None, 8, 2, "01230123"),  # each GPU once before any twice
        (2, 16, 4, 2, None, 2, 8, "01"),
        (20, 16, 2, 1, 3, 3, 5, "010"),  # more jobs than GPUs, because the user says so
        (20, 4, 8, 1, None, 8, 1, "01234567"),
    ],
)
def test_the_machine_is_shared_out_among_the_jobs(
    cells: int, cores: int, gpus: int, per_gpu: int, asked: int | None, jobs: int, threads: int, slots: str
) -> None:
    assert Allotment.of(cells, cores, [str(i) for i in range(gpus)], per_gpu, asked) == Allotment(
        jobs, threads, tuple(slots)
    )


CLAIM = "import os, sys; from normbench import launch; launch.claim(); launch.claim(); "
CLAIM += "print(os.environ['CUDA_VISIBLE_DEVICES'], 'torch' in sys.modules, flush=True); sys.stdin.read()"


def claiming(slots: Path) -> "subprocess.Popen[str]":
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    environment = {**os.environ, launch.SLOTS: str(slots), "CUDA_VISIBLE_DEVICES": "all of them"}
    return subprocess.Popen([sys.executable, "-c", CLAIM], env=environment, text=True, **pipes)


def answer(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_processes_claim_a_slot_each_for_their_life_and_a_killed_one_frees_its_own(tmp_path: Path) -> None:
    for number, gpu in enumerate(["4", "GPU-7f", "4", "GPU-7f"]):
        (tmp_path / f"{number:05d}").write_text(gpu)
    holders = [claiming(tmp_path) for _ in range(4)]
    try:
        assert sorted(map(answer, holders)) == ["4 False\n", "4 False\n", "GPU-7f False\n", "GPU-7f False\n"]
        holders.append(claiming(tmp_path))
        with pytest.raises(subprocess.TimeoutExpired):
            holders[-1].wait(1)
        holders[1].kill()
        assert answer(holders[-1]).endswith(" False\n")
    finally:
        for process in holders:
            process.kill()
            process.communicate()


def test_a_sweep_hands_its_gpus_on_to_its_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_cores", lambda: 12)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-7f")
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setenv("NORMBENCH_PLAIN", "")
    runs = [run_of(["launcher.per_gpu=3", f"seed={seed}"]) for seed in range(9)]
    with launch.prepared("joblib", ["hydra/launcher=joblib"], runs) as settings:
        slots = Path(os.environ[launch.SLOTS])
        assert settings == ["hydra.launcher.n_jobs=6"]
        assert [slot.read_text() for slot in sorted(slots.iterdir())] == ["5", "GPU-7f"] * 3
        assert os.environ["OMP_NUM_THREADS"] == "2"
    assert launch.SLOTS not in os.environ
    assert not slots.exists()
    with launch.prepared("joblib", ["hydra.launcher.n_jobs=1"], runs) as settings:
        assert settings == ["hydra.launcher.n_jobs=1"]
        assert [slot.read_text() for slot in Path(os.environ[launch.SLOTS]).iterdir()] == ["5"]
    with launch.prepared("joblib", [], [run_of(["device=cpu"])]):
        assert not list(Path(os.environ[launch.SLOTS]).iterdir())


def test_ray_is_told_the_share_of_a_gpu_and_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NORMBENCH_PLAIN", "RAY_USAGE_STATS_ENABLED", "RAY_AUTH_MODE", "RAY_DEDUP_LOGS"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    monkeypatch.setattr(launch, "_cores", lambda: 12)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    runs = [run_of(["launcher.per_gpu=2", f"seed={seed}"]) for seed in range(9)]
    ray = "++hydra.launcher.ray"
    with launch.prepared("ray", [], runs) as settings:
        assert {f"{ray}.remote.num_gpus=0.5", f"{ray}.remote.num_cpus=3", f"{ray}.init.num_cpus=12"} <= set(settings)
    with launch.prepared("ray", ["++hydra.launcher.ray.remote.num_cpus=1"], runs) as settings:
        assert not [s for s in settings if "remote.num_cpus" in s]
    with launch.prepared("ray", ["hydra.launcher.ray.init.address=auto"], runs) as settings:
        assert not [s for s in settings if "init.num_cpus" in s]
        assert f"{ray}.init.object_store_memory=null" in settings


STARTED = """
import os, sys
from normbench import cli
try:
    cli.main()
finally:
    heavy = {"torchvision", "sklearn", "scipy", "pandas"} & set(sys.modules)
    print(os.environ["CUDA_VISIBLE_DEVICES"], sorted(heavy))
"""


def test_a_job_has_its_gpu_before_torch_is_there_and_loads_nothing_heavy_that_it_does_not_use(tmp_path: Path) -> None:
    (tmp_path / "slots").mkdir()
    (tmp_path / "slots" / "00000").write_text("7")
    ran = subprocess.run(
        [sys.executable, "-c", STARTED, "-m", "norm=bn", "batch=8", *TINY],
        cwd=tmp_path,
        env={**os.environ, launch.SLOTS: str(tmp_path / "slots")},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ran.stdout.splitlines()[-2:] == ["1 done", "7 []"], ran.stderr


def refused(engine: str, *overrides: str) -> None:
    runs: list[Run] = [run_of(list(overrides))]
    with launch.prepared(engine, list(overrides), runs):
        pass


def test_what_cannot_be_launched_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NORMBENCH_PLAIN", "")
    with pytest.raises(ConfigError, match=r"launcher\.per_gpu must be at least 1, got 0"):
        run_of(["launcher.per_gpu=0"])
    with pytest.raises(ConfigError, match=r"launcher\.per_gpu is for one machine"):
        refused("slurm", "launcher.per_gpu=2")
    with pytest.raises(ConfigError, match=r"use device=cuda and choose them by CUDA_VISIBLE_DEVICES=1"):
        refused("joblib", "device=cuda:1")
    with pytest.raises(ConfigError, match=r"hydra\.launcher\.n_jobs=0"):
        refused("joblib", "device=cpu", "hydra.launcher.n_jobs=0")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="no sbatch here; run it on a cluster's login node"):
        launch.check("slurm")
    monkeypatch.setattr(launch, "find_spec", lambda name: None)
    for engine in ("slurm", "ray"):
        with pytest.raises(ConfigError, match=rf"^hydra/launcher={engine} needs pip install 'normbench\[{engine}\]'$"):
            launch.check(engine)
    launch.check("joblib")
