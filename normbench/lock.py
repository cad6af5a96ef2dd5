"""Who holds a run folder: one process at a time, and none that is dead.

running.json says who: host, process and Slurm job, with the boot of that host's kernel and the
namespace that the process's number counts in. On the holder's kernel the lock is a flock on that
very file, which dies with its holder; other hosts go by the file's age, and by what Slurm says.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from normbench import files, slurm

FILE = "running.json"
STALE_SECONDS = 900.0  # a holder on another host that has not touched its file for so long is dead
BEAT_SECONDS = 60.0  # how often a holder touches its file, whatever it is busy with
# what a killed write leaves
LEFT_BEHIND = re.compile(r"\.(.+\.(json|jsonl|yaml|pt)|running)\.[0-9]+(-[0-9a-f]+)?")


# of Linux's first namespaces of host names and of process numbers, in every boot
FIRST_NAMESPACES = {"uts": "uts:[4026531838]", "pid": "pid:[4026531836]"}


class Busy(RuntimeError):
    """Another living process holds the run folder."""


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Holds the folder against other processes; raises Busy where a living one has it."""
    path = folder / FILE
    # two processes of two namespaces may have one number
    aside = folder / f".running.{os.getpid()}-{secrets.token_hex(4)}"
    mine = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    file = os.fstat(mine)
    _held[mine] = file
    try:
        os.write(mine, json.dumps(_myself()).encode())
        _lock(mine)  # before others can see it
        _put(aside, path)
        _sweep(folder)
    except BaseException:
        _close(mine)
        raise
    finally:
        aside.unlink(missing_ok=True)
    over = threading.Event()
    beat = threading.Thread(target=_beat, args=(mine, over), daemon=True)
    beat.start()
    try:
        yield
    finally:
        over.set()
        beat.join()
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(path), file):
                path.unlink()
        _close(mine)


def holder(folder: Path, now: float | None = None, locked: bool | None = None) -> dict[str, Any] | None:
    """Who holds the folder, if they live.

    now: by the clock that stamps the folder's files. locked: whether the holder has the file's
    lock, where the caller knows.
    """
    path = folder / FILE
    try:
        found = files.parse(files.read_bytes(path) or b"null")
        age = (time.time() if now is None else now) - os.stat(path).st_mtime
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or type(found.get("host")) is not str or type(found.get("pid")) is not int:
        return None
    found["silent"] = age
    me = _myself()
    boots = found.get("boot"), me["boot"]
    here = boots[0] == boots[1] if all(boots) else found["host"] == me["host"]
    found["elsewhere"] = not here
    if not here:
        if all(boots) and me["machine"] and found.get("machine") == me["machine"]:
            return None  # this very machine has been started anew since
        # a time to come is another clock's, or this one was set back: it must not hold for ever
        dead = abs(age) >= STALE_SECONDS or _job_ended(found.get("job"))
        return None if dead else found
    if found.get("namespace") not in (None, me["namespace"]):
        # its process number means nothing here
        return found if (_locked(path) if locked is None else locked) else None
    return found if _started(found["pid"]) == found.get("started", "") else None


# ---------------------------------------------------------------------------- taking it


def _put(aside: Path, path: Path) -> None:
    """Puts the locked file in place, where nobody's or a dead holder's is; raises Busy otherwise.

    Who takes over holds the lock of the file that they replace, and has seen after getting it that
    this file is still the one in place: so of many, one does.
    """
    for again in range(100):
        try:
            os.link(aside, path)  # atomic, and never seen empty
            return
        except FileExistsError:
            pass
        living = holder(path.parent, now=_touched(aside))
        if living is not None:
            raise _busy(path.parent, living)
        try:
            theirs = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # released just now
        except OSError:  # a directory, a loop of links: nobody's
            files.clear(path)
            continue
        try:
            if _lock(theirs) and _is(theirs, path) and holder(path.parent, _touched(aside), locked=False) is None:
                os.replace(aside, path)
                return
        finally:
            os.close(theirs)
        time.sleep(0.005 * min(again, 10))
    raise _busy(path.parent, {"pid": "?", "host": "a host", "elsewhere": False})


def _busy(folder: Path, living: dict[str, Any]) -> Busy:
    said = f"{folder} is being trained by process {living['pid']} on {living['host']}"
    if living["elsewhere"] and living["silent"] > 2 * BEAT_SECONDS:
        said += (
            f", silent for {living['silent']:.0f} s; after {STALE_SECONDS:.0f} s it counts as dead, "
            f"and where you know that it is, remove {FILE} there"
        )
    return Busy(said)


def _touched(path: Path) -> float:
    """Now, by the clock of whoever keeps the folder: a file server's may be another than ours."""
    os.utime(path)
    return os.stat(path).st_mtime


def _sweep(folder: Path) -> None:
    """Removes what writes left that were killed; only the holder writes, so none is under way."""
    for entry in os.scandir(folder):
        if LEFT_BEHIND.fullmatch(entry.name) and not entry.name.startswith(".running."):
            with contextlib.suppress(OSError):
                os.unlink(entry)
        elif entry.name.startswith(".running.") and not _locked(Path(entry.path)):
            with contextlib.suppress(OSError):  # locked: somebody is just trying to get in
                if time.time() - entry.stat().st_mtime > 5:
                    os.unlink(entry)


def _beat(mine: int, over: threading.Event) -> None:
    """Touches the file while it is held: an evaluation may be longer than STALE_SECONDS."""
    while not over.wait(BEAT_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(mine)


# ---------------------------------------------------------------------------- the kernel's part


def _lock(handle: int) -> bool:
    """Whether nobody else has the lock of this file; now it is ours, where the system knows it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: what running.json says must do
        return True
    return True


def _locked(path: Path) -> bool:
    """Whether somebody on this kernel has the lock."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return True  # who cannot ask takes it for held
    finally:
        os.close(handle)
    return False


def _is(handle: int, path: Path) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False


_held: dict[int, os.stat_result] = {}  # this process's open lock files


def _close(handle: int) -> None:
    del _held[handle]
    os.close(handle)


def _close_in_child() -> None:
    """A forked child must not keep a lock: a data loader's process may outlive its parent."""
    for handle, file in _held.items():
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(handle), file):
                os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)


def _myself() -> dict[str, Any]:
    me: dict[str, Any] = {"host": socket.gethostname(), "job": slurm.this_job()}
    me |= {"pid": os.getpid(), "started": _started(os.getpid()), "boot": None, "namespace": None, "machine": _machine()}
    with contextlib.suppress(OSError):
        me["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        me["namespace"] = os.readlink("/proc/self/ns/pid")
    return me


@cache
def _machine() -> str | None:
    """A name that is this machine's through all its boots; None in a container, and where none is.

    Containers of one image may share both the id and the host's name: only one that is in the
    kernel's first namespaces speaks for the machine.
    """
    try:
        if any(os.readlink(f"/proc/self/ns/{kind}") != first for kind, first in FIRST_NAMESPACES.items()):
            return None
        number = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    named = f"normbench {socket.gethostname()} {number}"  # the id itself is nobody's business
    return hashlib.sha256(named.encode()).hexdigest()[:16] if number else None


def _started(pid: int) -> str | None:
    """When a process of this host started, in the kernel's count: a reused number has another."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return f.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        if os.path.isdir("/proc/self"):
            return None
    try:  # a system without /proc: alive is all that can be asked
        os.kill(pid, 0)
    except (OSError, OverflowError):
        return None
    return "unknown"


def _job_ended(job: Any) -> bool:
    """Whether Slurm says that this start of a job is over."""
    return isinstance(job, str) and re.fullmatch(r"\d+\.\d+", job) is not None and slurm.ended(job)
