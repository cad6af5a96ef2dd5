"""Files as they may lie on a disk: reading one ends, with what it holds or with a ValueError."""

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read_bytes(path: Path) -> bytes | None:
    """What a file holds, None where there is none.

    Raises ValueError for what no run writes: a directory, a pipe, a device, a loop of links, a file
    that may not be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe does not block
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as e:
        raise ValueError(f"{path.name} cannot be read: {e.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError(f"{path.name} is no file")
        with open(handle, "rb", closefd=False) as f:
            return f.read()
    except OSError as e:
        raise ValueError(f"{path.name} cannot be read: {e.strerror}") from None
    finally:
        os.close(handle)


def parse(text: bytes | str) -> Any:
    """The JSON value; raises ValueError for what is none, or is nested beyond what can be read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


@contextlib.contextmanager
def gone_if_it_fails(path: Path) -> Iterator[None]:
    """Removes what an OSError, a full disk say, leaves of a file that is being written."""
    try:
        yield
    except OSError:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def clear(path: Path) -> None:
    """Removes what is there, if anything is, be it a directory in a file's place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
