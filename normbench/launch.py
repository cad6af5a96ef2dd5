"""Where the runs of a sweep are trained, and what each gets of the machine.

torch is loaded only to count GPUs.

joblib   this machine: a process claims one GPU for its life, or has its part of the cores
ray      a Ray cluster, this machine where no other is named: Ray hands out GPUs and cores
slurm    one job array: Slurm hands out everything (slurm.py)
"""

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from normbench import lock, slurm, stopping
from normbench.config import ConfigError
from normbench.runs import Run

# what each needs, an extra of the same name
MODULES = {"ray": "ray", "slurm": "hydra_plugins.hydra_submitit_launcher"}
# the folder of this sweep's slot files, handed on to the processes that share its GPUs
SLOTS = "NORMBENCH_SLOTS"
CLAIM_SECONDS = 60.0  # a slot's last holder may still be ending


def chosen(overrides: list[str]) -> str:
    """The engine that these overrides name; basic: one cell after the other, in this process."""
    return _given(overrides).get("hydra/launcher", "basic")


def check(engine: str) -> None:
    """Raises ConfigError where that engine cannot be used here."""
    if engine in MODULES and find_spec(MODULES[engine]) is None:
        raise ConfigError(f"hydra/launcher={engine} needs pip install 'normbench[{engine}]'")
    if engine == "slurm":
        slurm.check()


@contextmanager
def prepared(engine: str, overrides: list[str], runs: list[Run], say: bool = True) -> Iterator[list[str]]:
    """Prepares the engine for these runs; yields its settings, less those that the user gave.

    say: whether to print what each run gets.
    """
    if engine == "basic":
        yield []
        return
    given = _given(overrides)
    if engine == "slurm":
        if any(run.launcher.per_gpu != 1 for run in runs):
            raise ConfigError("launcher.per_gpu is for one machine: under hydra/launcher=slurm a job has its own GPUs")
        sweep_dir = given.get("hydra.sweep.dir", f"{runs[0].out}/.hydra")
        folder = Path(given.get("hydra.launcher.submitit_folder", f"{sweep_dir}/slurm"))
        if say:
            print(f"{len(runs)} cells go to Slurm as one job array; what they print is in {folder}", flush=True)
        with slurm.submission(folder):
            yield []
        return
    per_gpu = max(run.launcher.per_gpu for run in runs)
    allotment = Allotment.of(len(runs), _cores(), _gpus(runs), per_gpu, _asked_jobs(given))
    if say:
        print(f"{len(runs)} cells, {allotment}", flush=True)
    if engine == "ray":
        yield [f"++{key}={value}" for key, value in _ray(allotment, per_gpu, given).items() if key not in given]
        return
    os.environ.setdefault("OMP_NUM_THREADS", str(allotment.threads))
    with tempfile.TemporaryDirectory(prefix="normbench-") as slots:
        for number, gpu in enumerate(allotment.gpus):
            (Path(slots) / f"{number:05d}").write_text(gpu)
        os.environ[SLOTS] = slots
        try:
            yield [f"hydra.launcher.n_jobs={allotment.jobs}"] if engine == "joblib" else []
        finally:
            del os.environ[SLOTS]


# ---------------------------------------------------------------------------- what a job gets


@dataclass(frozen=True)
class Allotment:
    """How many jobs run at a time and what each of them gets.

    gpus: of each job; the same one may come several times.
    """

    jobs: int
    threads: int
    gpus: tuple[str, ...]

    @classmethod
    def of(cls, runs: int, cores: int, gpus: list[str], per_gpu: int, jobs: int | None = None) -> "Allotment":
        """jobs: what the user asked for; -1 is one per core, -2 one fewer, as for joblib."""
        if jobs is None:
            jobs = min(runs, len(gpus) * per_gpu or cores)
        elif jobs < 0:
            jobs = max(1, cores + 1 + jobs)
        # each GPU once before any twice
        slots = tuple(gpus[i % len(gpus)] for i in range(jobs)) if gpus else ()
        return cls(jobs, max(1, cores // jobs), slots)

    def __str__(self) -> str:
        several = "s" if self.threads > 1 else ""
        on = f" on {len(set(self.gpus))} GPUs" if self.gpus else ""
        return f"{self.jobs} at a time{on}, {self.threads} thread{several} each"


def _ray(allotment: Allotment, per_gpu: int, given: dict[str, str]) -> dict[str, str]:
    """Ray's settings: what a run takes, and a local cluster of the size that was counted here."""
    ray = "hydra.launcher.ray"
    settings = {f"{ray}.remote.num_cpus": str(allotment.threads), f"{ray}.init.logging_level": "warning"}
    if allotment.gpus:
        settings[f"{ray}.remote.num_gpus"] = str(1 / per_gpu)
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # the same epoch of two runs is no repetition
    # a default to come; unsaid, Ray warns of it
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if "RAY_ADDRESS" in os.environ or given.get(f"{ray}.init.address", "null") not in ("null", "local"):
        # ray.yaml sets it, a running cluster refuses it
        return settings | {f"{ray}.init.object_store_memory": "null"}
    # Ray's default for a cluster of its own; unsaid, it warns
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    return settings | {f"{ray}.init.num_cpus": str(_cores()), f"{ray}.init.include_dashboard": "false"}


def _asked_jobs(given: dict[str, str]) -> int | None:
    asked = given.get("hydra.launcher.n_jobs")
    if asked is None:
        return None
    if not asked.lstrip("-").isdigit() or int(asked) == 0:
        raise ConfigError(f"hydra.launcher.n_jobs={asked}: how many jobs at a time, e.g. 4; -1 is one a core")
    return int(asked)


def _given(overrides: list[str]) -> dict[str, str]:
    """Hydra's own settings among the overrides."""
    pairs = (o.lstrip("+").partition("=") for o in overrides)
    return {key: value.strip("'\"") for key, _, value in pairs if key.startswith("hydra")}


def _cores() -> int:
    import joblib

    # those this process may use: affinity and a container's quota count
    return int(joblib.cpu_count())


def _gpus(runs: list[Run]) -> list[str]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves to this process, by the names that it takes."""
    named = {run.device for run in runs}
    if indexed := sorted(name for name in named if ":" in name):
        raise ConfigError(
            f"device={indexed[0]}: each job of this launcher gets a GPU of its own; use device=cuda and choose "
            f"them by CUDA_VISIBLE_DEVICES={indexed[0].partition(':')[2]}"
        )
    if not named & {"auto", "cuda"}:
        return []
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return ([name.strip() for name in visible.split(",")] if visible else [str(i) for i in range(count)])[:count]


# ---------------------------------------------------------------------------- SIGTERM


@contextmanager
def stopping_its_pool(runs: list[Run]) -> Iterator[None]:
    """While it lasts SIGTERM goes on to joblib's processes, and is answered once none trains."""
    with stopping.before_the_end(lambda: _stop_pool([run.folder for run in runs])):
        yield


def _stop_pool(folders: list[Path]) -> None:
    """SIGTERM, once, to each child of this process that holds a folder, until none does."""
    told: set[int] = set()
    children = {child.pid for child in multiprocessing.active_children() if child.pid}
    while holders := children & {
        found["pid"] for found in map(lock.holder, folders) if found and not found["elsewhere"]
    }:
        for pid in holders - told:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        told |= holders
        time.sleep(0.05)


def in_pool() -> bool:
    """Whether this is one of joblib's processes."""
    return multiprocessing.current_process().name != "MainProcess"


def join() -> None:
    """Tells a process of joblib's, once, what SIGTERM and its parent's end mean; else a no-op."""
    if in_pool() and not _joined:
        _joined.append(True)
        stopping.listen(at_once=False)  # a process that ends takes the others with it
        stopping.follow_the_parent()


_joined: list[bool] = []


# ---------------------------------------------------------------------------- in a job's process

_held: list[int] = []  # the open slot file: its lock falls with the process, however that ends


def claim() -> None:
    """Claims a free GPU slot for this process; no-op without slots, and the second time.

    To be called before torch counts the GPUs.
    """
    folder = os.environ.get(SLOTS)
    if folder is None or _held or not (slots := sorted(Path(folder).iterdir())):
        return
    import fcntl

    until = time.monotonic() + CLAIM_SECONDS
    while time.monotonic() < until:
        for slot in slots:
            file = os.open(slot, os.O_RDONLY)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                continue
            _held.append(file)
            os.environ["CUDA_VISIBLE_DEVICES"] = slot.read_text()
            return
        time.sleep(0.1)
    raise RuntimeError(f"none of the {len(slots)} GPU slots of this sweep became free in {CLAIM_SECONDS:.0f} s")
