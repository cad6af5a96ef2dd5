"""hydra/launcher=ray: each cell of a sweep is a task of a Ray cluster.

Ray says where and when a task runs. Of Ray this uses init, put, remote, wait, get, cancel and
shutdown; it is an extra, so it is imported only where a sweep starts.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from normbench import stopping
from normbench.config import ConfigError
from normbench.hints import one_line

POLL_SECONDS = 0.5  # how late SIGTERM is answered
# how long cancelled cells may take; 60 s after its head is gone, Ray would end this process
PATIENCE_SECONDS = 40.0


@dataclass(frozen=True)
class _Sweep:
    """What every cell of a sweep needs, sent to the cluster once.

    environment: of normbench's own, as a node of a running cluster has another. singletons: Hydra's
    own state.
    """

    context: HydraContext
    config: DictConfig
    job: TaskFunction
    folder: Path
    environment: dict[str, str]
    singletons: dict[Any, Any]


@dataclass(frozen=True)
class _Cut:
    """A cell that was stopped; line: where."""

    line: str


class RayLauncher(Launcher):
    """Hydra's interface to a Ray cluster: one that runs, or one of this machine's for this sweep.

    settings: hydra.launcher.ray: `init`, the arguments of ray.init, and `remote`, those of
    ray.remote, what each cell gets.
    """

    def __init__(self, settings: DictConfig) -> None:
        given = OmegaConf.to_container(settings, resolve=True)
        assert isinstance(given, dict)
        self._init, self._remote = given.pop("init"), given.pop("remote")
        for key in map(str, given):
            raise ConfigError(f"hydra.launcher.ray.{key}: no such key; one of init.KEY, remote.KEY")

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        environment = {name: value for name, value in os.environ.items() if name.startswith("NORMBENCH_")}
        self._sweep = _Sweep(hydra_context, config, task_function, Path.cwd(), environment, Singleton.get_state())

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """What each cell ended with; "failed" where its process or node was lost for good.

        An interruption is passed on to the cells first. Raises Stopped at SIGTERM, and ConfigError
        for settings that Ray refuses or a cluster that is not there.
        """
        import ray

        with stopping.undisturbed():  # no exception of ours in the middle of Ray's calls
            try:
                train, sweep = self._connected(), ray.put(self._sweep)
                numbered = enumerate(job_overrides, start=initial_job_idx)
                tasks = {train.remote(sweep, number, list(typed)): typed for number, typed in numbered}
                try:
                    ended = {task: _ended(task, tasks[task]) for task in _as_they_end(list(tasks))}
                except BaseException:
                    _cancel(list(tasks))
                    raise
            finally:
                ray.shutdown()
        return [ended[task] for task in tasks]

    def _connected(self) -> Any:
        """The remote function that trains a cell, the cluster being there."""
        import ray

        listener = signal.getsignal(signal.SIGTERM)
        try:
            train = ray.remote(_train).options(**self._remote)
            ray.init(**self._init)
            return train
        except SystemExit:  # at SIGTERM, of which Ray has a handler of its own by now
            raise stopping.Stopped from None
        except (ConnectionError, RuntimeError, TypeError, ValueError) as e:
            raise ConfigError(f"hydra.launcher.ray: {one_line(e)}") from e
        finally:
            signal.signal(signal.SIGTERM, listener)


# ------------------------------------------------------------ in the sweep's process


def _as_they_end(tasks: list[Any]) -> Iterator[Any]:
    import ray

    while tasks:
        ended, tasks = ray.wait(tasks, timeout=POLL_SECONDS)
        stopping.check()
        yield from ended


def _ended(task: Any, typed: Sequence[str]) -> JobReturn:
    import ray

    ended = JobReturn(overrides=typed, status=JobStatus.COMPLETED)
    try:
        ended.return_value = _said(ray.get(task))
    except ray.exceptions.RayError as e:
        print(f"FAILED {' '.join(typed)}: {one_line(getattr(e, 'cause', None) or e)}", file=sys.stderr, flush=True)
        ended.return_value = "failed"
    return ended


def _cancel(tasks: list[Any]) -> None:
    """Takes back what waits, and stops what trains: each after its step, with a checkpoint."""
    import ray

    for task in tasks:
        ray.cancel(task)
    over = time.monotonic() + PATIENCE_SECONDS
    while tasks and time.monotonic() < over:
        ended, tasks = ray.wait(tasks, timeout=POLL_SECONDS)
        for task in ended:
            with contextlib.suppress(ray.exceptions.RayError):  # what had not begun, or is lost
                _said(ray.get(task))


def _said(result: str | _Cut) -> str:
    """What became of a cell; of one that was stopped, where: it had no time to say so itself."""
    if isinstance(result, _Cut):
        print(result.line, file=sys.stderr, flush=True)
        return "cut"
    return result


# ------------------------------------------------------------ in a process of Ray's


def _train(sweep: _Sweep, number: int, typed: list[str]) -> str | _Cut:
    """Trains one cell; what became of it."""
    os.chdir(sweep.folder)
    os.environ.update(sweep.environment)
    setup_globals()
    Singleton.set_state(sweep.singletons)
    config = sweep.context.config_loader.load_sweep_config(sweep.config, typed)
    with open_dict(config):
        config.hydra.job.id, config.hydra.job.num = str(number), number
    HydraConfig.instance().set_config(config)
    with stopping.listening(to=signal.SIGINT):  # which ray.cancel sends
        try:
            ended = run_job(
                task_function=sweep.job,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
                hydra_context=sweep.context,
            )
        except stopping.Stopped as e:
            return _Cut(e.line)
    return str(ended.return_value)
