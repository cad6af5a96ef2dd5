"""`normbench collect --prune`: removes runs that were cut or have failed.

A run that another process holds is left alone, and so is whatever is finished.
"""

import contextlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from normbench import lock, records
from normbench.config import ConfigError

PRUNED = ("cut", "failed")


def prune(runs: pd.DataFrame, root: Path, yes: bool, say: Callable[[str], None]) -> None:
    """Lists the cut and failed of some runs below root, asks, and removes their folders.

    yes: without asking. Raises ConfigError where there is no one to ask.
    """
    chosen = runs[runs["state"].isin(PRUNED)]
    if chosen.empty:
        say("nothing to remove: no run is cut or failed")
        return
    for path, state in zip(chosen["path"], chosen["state"], strict=True):
        say(f"{state:6}  {path}")
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError(f"--prune would remove these {len(chosen)} runs; add --yes")
        if input(f"remove these {len(chosen)} runs? [y/N] ").strip().lower() not in ("y", "yes"):
            say("nothing was removed")
            return
    removed = sum(_remove(Path(path), root, say) for path in chosen["path"])
    say(f"removed {removed} of {len(chosen)} runs")


def _remove(folder: Path, root: Path, say: Callable[[str], None]) -> bool:
    """Whether the run was removed: not where it is being trained, or was finished meanwhile."""
    try:
        with lock.hold(folder):
            if records.state(folder) in ("done", "diverged"):
                say(f"left alone, finished meanwhile: {folder}")
                return False
            # One step, to a name with a dot, which is nobody's run: a kill leaves no half of it.
            gone = folder.with_name(f".{folder.name}.pruned")
            folder.rename(gone)
    except (lock.Busy, OSError) as error:
        say(f"left alone: {folder}: {error}")
        return False
    shutil.rmtree(gone, ignore_errors=True)
    with contextlib.suppress(OSError):  # the first that is not empty
        for parent in folder.parents:
            if parent == root:
                break
            parent.rmdir()
    return True
