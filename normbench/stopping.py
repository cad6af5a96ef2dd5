"""SIGTERM, which is how clusters say goodbye: what is under way is brought to an end that the same
command continues.

A training finishes its step and writes a checkpoint; anything else ends at once. The exit code is
143 in both cases.
"""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

CODE = 128 + signal.SIGTERM  # a shell's exit code for it
POLL_SECONDS, GRACE_SECONDS = 0.5, 8.0  # of a process whose parent was killed

# what is listened to, and how it is said; SIGINT is how Ray cancels a task
SAID = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "cancelled"}
DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)

_asked: signal.Signals | None = None
_undisturbed = 0
_first: list[Callable[[], None]] = []  # what is done before anything but a training ends


class Stopped(SystemExit):
    """The end that SIGTERM asked for. said: what was stopped and where; "" if that is not known."""

    def __init__(self, said: str = "") -> None:
        super().__init__(CODE)
        self.line = f"normbench: {SAID[_asked or signal.SIGTERM]}: {said or 'stopped'}; the same command continues"


def asked() -> bool:
    """Whether SIGTERM, or what is listened to in its place, has come to this process."""
    return _asked is not None


def check() -> None:
    """Raises Stopped where it has come."""
    if asked():
        raise Stopped


def listen(at_once: bool = True, to: signal.Signals = signal.SIGTERM) -> None:
    """Makes SIGTERM mean this from now on, unless somebody else listens, as submitit does.

    at_once: whether it ends what is no training; otherwise it is noted there too. to: another of
    SAID in its place.
    """
    global _undisturbed
    _undisturbed += not at_once
    mine = threading.current_thread() is threading.main_thread()
    if mine and "SUBMITIT_EXECUTOR" not in os.environ and signal.getsignal(to) in DEFAULTS:
        signal.signal(to, _heard)


@contextlib.contextmanager
def listening(to: signal.Signals = signal.SIGTERM) -> Iterator[None]:
    """Listens for a command's time, and leaves the process as it was."""
    global _asked
    before = signal.getsignal(to)
    listen(to=to)
    try:
        yield
    finally:
        if signal.getsignal(to) is not before:
            signal.signal(to, before)
            _asked = None


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """While it lasts SIGTERM is noted and interrupts nothing: who trains looks at asked()."""
    global _undisturbed
    _undisturbed += 1
    try:
        yield
    finally:
        _undisturbed -= 1


@contextlib.contextmanager
def before_the_end(act: Callable[[], None]) -> Iterator[None]:
    """While it lasts, `act` is called before SIGTERM ends anything but a training."""
    _first.append(act)
    try:
        yield
    finally:
        _first.remove(act)


def follow_the_parent() -> None:
    """A process whose parent is killed stops as at SIGTERM; one that cannot is ended soon after.

    Nobody would tell it, and it would hold its run and its device: a rank of a torchrun that is
    gone waits half an hour for the others.
    """
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()


def _follow(parent: int) -> None:
    if not _torchrun_gone():
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(CODE)


def _torchrun_gone() -> bool:
    """Whether torchrun was killed before this rank could see that it is its parent.

    It listens before it starts the ranks that are to meet there.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return False
    try:
        socket.create_connection((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])), timeout=60).close()
    except ConnectionRefusedError:
        return True
    except (OSError, KeyError, ValueError):  # of a name or a network that is wrong torch tells
        return False
    return False


def _heard(number: int, _frame: FrameType | None) -> None:
    global _asked
    again, _asked = asked(), signal.Signals(number)
    if _undisturbed or again:  # a launcher and its whole group may both be told
        return
    for act in _first:
        act()
    raise Stopped
