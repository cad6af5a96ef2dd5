"""A server that starts launches by fork, with everything imported already: a launch in a moment.

Each is a process with a group, output and exit code of its own, as `python -m normbench` is, less
the seconds of its imports. Run as a program it is the server: a line of JSON on stdin is a request,
and one line on stdout is the answer.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any


@dataclass
class Launch:
    """A started command: its process, which leads a group of its own, and what it says."""

    server: "Server"
    pid: int
    log: Path
    errors: Path  # the log, unless they were asked for apart
    code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        if self.code is None:
            self.code = self.server.ask({"poll": self.pid})
        return self.code

    def wait(self, seconds: float = 300) -> int:
        over = time.monotonic() + seconds
        while (code := self.poll()) is None:
            if time.monotonic() > over:
                self.kill()
                raise AssertionError(f"not within {seconds} s:\n{self.said()}")
            time.sleep(0.01)
        return code

    def said(self) -> str:
        """What it has printed so far, on stdout, and on stderr unless that is apart."""
        return self.log.read_text()

    def kill(self, number: int = signal.SIGKILL) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)


class Server:
    """The server's other end."""

    def __init__(self) -> None:
        self._logs = tempfile.TemporaryDirectory()
        self._count = 0
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.process.kill()
        self.process.communicate()
        self._logs.cleanup()

    def ask(self, request: dict[str, Any]) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(
        self, *arguments: str, cwd: Path, apart: bool = False, largest_file: int | None = None, **environment: str
    ) -> Launch:
        """Launches `normbench ARGUMENTS` there, with these variables besides.

        apart: stderr has a file of its own, and a warning is an error, as under python -W error.
        largest_file: bytes that the kernel lets it write into one (RLIMIT_FSIZE).
        """
        self._count += 1
        log = Path(self._logs.name) / str(self._count)
        errors = log.with_suffix(".errors") if apart else log
        for path in (log, errors):
            path.touch()
        request = {"arguments": arguments, "cwd": str(cwd), "environment": environment, "strict": apart}
        request |= {"streams": [str(log), str(errors)], "largest_file": largest_file}
        return Launch(self, self.ask(request), log, errors)

    def run(self, *arguments: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
        """The same, waited for: what subprocess.run would say of `python -W error -m normbench`."""
        launch = self.start(*arguments, cwd=cwd, apart=True, **environment)
        code = launch.wait()
        return subprocess.CompletedProcess(arguments, code, launch.said(), launch.errors.read_text())

    def ranks(self, *arguments: str, cwd: Path, count: int = 2) -> list[Launch]:
        """The ranks of one launch, as torchrun would start them, less its own process."""
        port = _free_port()
        common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        return [
            self.start(*arguments, cwd=cwd, RANK=str(rank), LOCAL_RANK=str(rank), **common) for rank in range(count)
        ]


def _free_port() -> int:
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


# ---------------------------------------------------------------------------- the server


def _serve() -> None:
    import preloaded
    import torch

    from normbench import cli

    assert preloaded.LOADED
    sys.path.pop(0)  # this folder, which no launch would have
    torch.set_num_threads(1)
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if not answer:
                with contextlib.suppress(OSError):
                    os.setpgid(0, 0)
                for stream, path in enumerate(request["streams"], start=1):
                    os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), stream)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
                if request["strict"]:
                    warnings.simplefilter("error")
                if limit := request["largest_file"]:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
                os.chdir(request["cwd"])
                os.environ.update(request["environment"])
                sys.argv = ["normbench", *request["arguments"]]
                try:
                    cli.main()
                except SystemExit as e:
                    sys.stdout.flush()
                    sys.stderr.flush()
                    os._exit(e.code if isinstance(e.code, int) else 1)
                os._exit(99)
            with contextlib.suppress(OSError):  # here too: it leads a group before anybody kills that
                os.setpgid(answer, answer)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve()
