"""What Slurm says: which job this is, whether another runs, how a sweep's job array goes."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from normbench.config import ConfigError
from normbench.stopping import Stopped

ALIVE = "RUNNING,COMPLETING,SUSPENDED,STOPPED"  # the states in which a job may still write


# ---------------------------------------------------------------------------- inside a job


def this_job() -> str | None:
    """Number and start of this process's job: a requeued job keeps its number and starts again."""
    number = os.environ.get("SLURM_JOB_ID")
    return f"{number}.{os.environ.get('SLURM_RESTART_COUNT') or 0}" if number else None


def ended(job: str) -> bool:
    """Whether that start of a job is over; False where nobody knows."""
    number, start = job.split(".")
    mine = (this_job() or ".").split(".")
    if number == mine[0]:
        return start != mine[1]  # an earlier start of this very job
    try:
        asked = subprocess.run(
            ["squeue", "-h", "-j", number, "-t", ALIVE, "-o", "%T"], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return "Invalid job id" in asked.stderr or (asked.returncode == 0 and not asked.stdout.strip())


def ranks() -> bool:
    """Whether this is one of several tasks of a submitted job; torchrun's variables then say which.

    Ranks are Slurm tasks and not torchrun's processes: submitit's signals reach each of them, and a
    preempted job survives.
    """
    if os.environ.get("SUBMITIT_EXECUTOR") != "slurm":
        return False
    os.environ.setdefault("OMP_NUM_THREADS", os.environ.get("SLURM_CPUS_PER_TASK", "1"))
    import submitit

    if submitit.JobEnvironment().num_tasks == 1:
        return False
    place = submitit.helpers.TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    # gpus_per_task shows each task its own GPU as number 0, gpus_per_node shows all of them to all
    if visible:
        os.environ["LOCAL_RANK"] = str(place.local_rank % len(visible.split(",")))
    return True


def goes_on(folder: Path) -> bool:
    """Whether this requeued job had begun the run in this folder: overwrite=true is done then."""
    if int(os.environ.get("SLURM_RESTART_COUNT") or 0) == 0 or "SUBMITIT_FOLDER" not in os.environ:
        return False
    number = os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ["SLURM_JOB_ID"]
    script, config = Path(os.environ["SUBMITIT_FOLDER"]) / f"{number}_submission.sh", folder / "config.yaml"
    return config.exists() and script.exists() and config.stat().st_mtime >= script.stat().st_mtime


# ------------------------------------------------------------------ where a sweep is submitted


def check() -> None:
    """Raises ConfigError where there is no Slurm to submit to."""
    for command in ("sbatch", "srun"):
        if shutil.which(command) is None:
            raise ConfigError(
                f"hydra/launcher=slurm: no {command} here; run it on a cluster's login node, "
                "or use hydra/launcher=joblib on one machine"
            )


@contextmanager
def submission(folder: Path) -> Iterator[None]:
    """To be held while a sweep is launched.

    Hydra's launcher gives up with the first job that was cancelled or killed; this waits for the
    others. What became of each is read from the disk as everywhere.
    """
    import submitit

    before = _arrays(folder)
    # else Hydra prints the launcher's failure as a traceback and exits
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    except submitit.core.utils.UncompletedJobError as e:
        arrays = _arrays(folder) - before
        lines = [line for line in str(e).splitlines() if line.strip()]
        if not arrays:
            raise ConfigError(f"Slurm refused the sweep: {lines[-1].strip()}") from None
        print(f"Slurm: {lines[0].strip()} {lines[1].strip() if len(lines) > 1 else ''}", flush=True)
        _wait(arrays)
    except (KeyboardInterrupt, Stopped):
        for array in sorted(_arrays(folder) - before):
            print(f"Slurm's job {array} goes on; scancel {array} ends it", flush=True)
        raise


def _arrays(folder: Path) -> set[str]:
    return {path.name.removesuffix("_submission.sh") for path in folder.glob("*_submission.sh")}


def _wait(arrays: set[str]) -> None:
    """Waits until none of these jobs is pending or running."""
    pause = 1.0
    while True:
        asked = subprocess.run(["squeue", "-h", "-j", ",".join(arrays), "-o", "%i"], capture_output=True, text=True)
        if "Invalid job id" in asked.stderr or (asked.returncode == 0 and not asked.stdout.strip()):
            return
        time.sleep(pause)
        pause = min(30.0, pause * 1.5)
