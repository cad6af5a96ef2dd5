"""normbench: a network's error against the number of images each worker normalizes over.

    normbench.run(["norm=gn", "batch=2"])           one run; the Result, from disk where it is done
    normbench.sweep(["norm=bn,gn", "batch=2,4"])    many; a pandas.DataFrame with a row a cell
    normbench.load("results/runs")                  every epoch of every run, tidy; reference=True,
                                                    expand=True
    normbench.open_run("3f2a1b7c")                  one run: its rows, network and predictions
    normbench.convert(model, norm="gn")             any norm into a network that you already have

Importing normbench imports neither torch nor pandas.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from normbench.version import VERSION as __version__

if TYPE_CHECKING:
    import pandas

    from normbench.execute import Result
    from normbench.models.convert import convert
    from normbench.opened import OpenedRun

__all__ = ["__version__", "convert", "load", "open_run", "run", "sweep"]


def run(overrides: list[str], verbose: bool = False) -> "Result":
    """Trains the run that these overrides describe, or reads its result where it is finished.

    overrides: as typed after `normbench`, e.g. ["norm=gn", "batch=2"]. verbose: shows how
    it goes, as the command does: a bar on a terminal and in a notebook that has ipywidgets, else a
    line an epoch. Raises ConfigError, a ValueError of one line, for a wrong key, option or value.
    """
    from normbench.compose import run_of
    from normbench.execute import execute

    return execute(run_of(overrides), command=overrides, say=verbose)


def sweep(overrides: list[str], verbose: bool = False) -> "pandas.DataFrame":
    """Trains every run of a sweep that is not done; one row a cell, with its run's result.

    overrides: as typed after `normbench -m`, e.g. ["norm=bn,gn", "batch=2,4,8",
    "hydra/launcher=joblib"]. verbose: shows how it goes, as the command does, and a table of states
    at the end.

    The columns are the runs' science fields, state (done, diverged, failed, ...), top1_error_pct
    (the median over the last 5 epochs), top1_error_pct.final, epochs, seconds, path; `load` has the
    epochs. A batch-free run is trained once and has a row for each batch that was asked for. A
    failing run says so on stderr, has state failed, and stops no other. Raises ConfigError for a
    wrong key, option or value, before anything starts.
    """
    from normbench import sweeps
    from normbench.cli import job

    return sweeps.table(overrides, job, verbose)


def load(runs: str | Path = "results/runs", reference: bool = False, expand: bool = False) -> "pandas.DataFrame":
    """The records below a folder, one row per epoch, with the science fields as columns.

    batch: images per worker; absent (NA) of a batch-free run under fixed_sgd, which is trained once
    and serves every batch, so that groupby(["norm", "batch"]) drops it. expand: gives it a row of
    every epoch for each batch that it serves, of those that the other runs have; where there are
    none, for each that divides its SGD batch. Such rows share `path`: they are one run.

    reference: also the runs that normbench comes with, and a column `origin`: yours or reference.
    Of one run that both have it is yours, if it is finished. Raises ConfigError where there is no
    such folder; the default one may be absent beside the reference.
    """
    from normbench.study.read.collected import load

    return load(Path(runs), reference, expand)


def open_run(
    run: str | Path, runs: str | Path = "results/runs", *, root: str | Path | None = None, device: str | None = None
) -> "OpenedRun":
    """A run out of its folder: .config, .rows(), .model(), .preprocess(image), .predictions().

    run: its folder, or an identity or the beginning of one, which is looked for below `runs`.
    root: data.root, where the images lie elsewhere now. device: cpu, cuda; by default the run's.
    Raises ConfigError where there is no such run, or its config.yaml cannot be read.
    """
    from normbench.opened import open_run

    return open_run(run, runs, root, device)


def __getattr__(name: str) -> Any:
    if name == "convert":  # so that importing normbench does not import torch
        from normbench.models.convert import convert

        return convert
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
