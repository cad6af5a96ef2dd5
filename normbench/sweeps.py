"""A sweep: the cells asked for, each distinct run launched once, and a table of what became of all.

Hydra composes the cells and its launchers train them. Its own sweepers have no part in that: they
know no union of grids, compose every cell twice more, and would launch what is done.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.table import Table

from normbench import command, launch, records, watch
from normbench.cells import Cell, distinct
from normbench.complaints import explain, parse
from normbench.compose import hydra_here, planned
from normbench.config import ConfigError
from normbench.execute import finished
from normbench.following import Following
from normbench.ray_launcher import RayLauncher
from normbench.runs import Run
from normbench.typed import spelled

if TYPE_CHECKING:
    import pandas

Job = Callable[[DictConfig], str]  # trains a composed cell, in whatever process the launcher chose


def train(overrides: list[str], job: Job, many_ranks: bool) -> int:
    """Trains every run of a sweep that is not done; 1 if any has failed, else 0.

    many_ranks: whether this process leads the ranks of torchrun.
    """
    engine, asked = _asked(overrides, many_ranks)
    cells = distinct(asked)
    try:
        _train_left(cells, engine, overrides, job, say=True, alone=not many_ranks)
    finally:
        states = _print_states(cells)
    return 0 if states <= {*records.FINISHED, "running"} else 1


def table(overrides: list[str], job: Job, verbose: bool) -> "pandas.DataFrame":
    """The same from Python, in one process: a row for each cell that was asked for."""
    from normbench.study.read import collected  # pandas, which the command does without

    engine, asked = _asked(overrides, many_ranks=False)
    cells = distinct(asked)
    try:
        _train_left(cells, engine, overrides, job, say=verbose, alone=True)
    finally:
        if verbose:
            _print_states(cells)
    return collected.of_cells([(run.description(), run.folder) for _, run in asked])


def _asked(overrides: list[str], many_ranks: bool) -> tuple[str, list[tuple[list[str], Run]]]:
    """The engine, and the cells with what makes each; raises ConfigError for what cannot be."""
    engine = launch.chosen(overrides)
    if engine != "basic" and many_ranks:
        raise ConfigError("hydra/launcher cannot be combined with torchrun: the ranks run one cell after the other")
    launch.check(engine)
    return engine, planned(overrides)


def _train_left(cells: list[Cell], engine: str, overrides: list[str], job: Job, say: bool, alone: bool) -> None:
    """Hands the runs that are not finished to the engine, and waits for it.

    say: whether to print how it goes. alone: see watch.for_engine.
    """
    asked = sum(cell.asked for cell in cells)
    left = [cell for cell in cells if not finished(cell.run)]
    if not left:  # no engine is asked to do nothing
        if say:
            print(f"all {asked} cells are finished; overwrite=true trains them anew", flush=True)
        return
    shown: AbstractContextManager[object] | None = None
    if say:
        _say_what_is_left(asked, len(cells), len(left))
        shown = watch.for_engine(engine, Following(left, len(cells) - len(left)), alone)
    elif engine != "slurm":  # whose jobs write into files of their own
        shown = watch.silence()
    runs = [cell.run for cell in left]
    with (
        shown or nullcontext(),
        launch.prepared(engine, overrides, runs, say) as settings,
        launch.stopping_its_pool(runs),
    ):
        _launch(left, [*spelled(overrides), *settings], job)


def _say_what_is_left(asked: int, runs: int, left: int) -> None:
    said = f"{asked} cells are {runs} runs, as equal ones are trained once" if runs < asked else f"{runs} runs"
    if left < runs:
        said += f"; {runs - left} finished, {left} to train"
    if left < asked:
        print(said, flush=True)


def _launch(cells: list[Cell], overrides: list[str], job: Job) -> None:
    """Hands the cells to the launcher that the overrides name, and waits for it."""
    # of the sweep's overrides those that say how it is launched; the values are the cells' own
    about = [
        str(o.input_line)
        for o in parse(overrides)
        if str(o.key_or_group).startswith(("hydra", "experiment"))
        or (o.key_or_group == "out" and not o.is_sweep_override())
    ]
    with hydra_here():
        loader = GlobalHydra.instance().config_loader()
        try:
            config = loader.load_configuration("config", about, run_mode=RunMode.MULTIRUN)
        except (HydraException, OmegaConfBaseException) as e:
            raise ConfigError(explain(about, e)) from None
        context = HydraContext(config_loader=loader, callbacks=_LetGo(config))
        if launch.chosen(overrides) == "ray":
            launcher: Launcher = RayLauncher(config.hydra.launcher.ray)
            launcher.setup(hydra_context=context, task_function=job, config=config)
        else:
            launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=job, config=config)
        for returned in launcher.launch([cell.overrides for cell in cells], initial_job_idx=0):
            _ = returned.return_value  # raises what the job has raised


class _LetGo(Callbacks):
    """Lets go of a cell's configurations once it has ended.

    Launchers keep what a cell has returned until the last one has, and nobody reads these.
    """

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        super().on_job_end(config, job_return, **kwargs)
        job_return.cfg = job_return.hydra_cfg = None


def _print_states(cells: list[Cell]) -> set[str]:
    """Prints each run of a sweep with its state on disk; returns the states."""
    states = {cell.run.folder: records.state(cell.run.folder) for cell in cells}
    told_apart, several = any(cell.others for cell in cells), any(cell.asked > 1 for cell in cells)
    columns = ["data", "model", "norm", "batch", "seed", *["with"] * told_apart, *["cells"] * several]
    table = Table(*columns, "state", "top-1 error %", box=None, pad_edge=False)
    for cell in cells:
        run = cell.run
        result = finished(replace(run, overwrite=False))
        error = f"{result.top1_error_pct:.2f}" if result and result.top1_error_pct is not None else ""
        row = [run.data.name, run.model.label, run.norm.label, cell.batch, str(run.seed)]
        row += [cell.others] * told_apart + [str(cell.asked)] * several
        table.add_row(*row, states[run.folder], error)
    command.terminal().print(table)
    for folder in (f for f, state in states.items() if state == "failed"):
        print(f"failed: {folder}: {records.error(folder)}")
    counts = {state: list(states.values()).count(state) for state in records.STATES}
    print("  ".join(f"{n} {state}" for state, n in counts.items() if n), flush=True)
    return set(states.values())
