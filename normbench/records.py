"""The run folder: the only source of truth about a run.

Written by rank 0, read by everybody, without torch.

config.yaml     every setting, written once; each value is JSON on one line, which is YAML too
env.json        versions, commit, device, command, what the norm became in each layer
epochs.jsonl    one line per epoch, one write() each; a torn last line is read as absent
probes.jsonl    one line every probe.every steps about the norm probe.layer, likewise
running.json    host, process and Slurm job of the folder's holder; its age tells whether that lives
error.json      the one line of the failure that ended the last attempt
result.json     last, by rename: its presence means finished
"""

import contextlib
import json
import math
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from normbench import slurm
from normbench.config import FORMAT

STATES = ("done", "running", "cut", "diverged", "failed", "missing")
FINISHED = ("done", "diverged")  # the states that a result.json gives; divergence is a result
STALE_SECONDS = 900.0  # a holder on another host that has not touched its file for so long is dead


class Busy(RuntimeError):
    """Another living process holds the run folder."""


# ---------------------------------------------------------------------------- one file at a time


def write_text(path: Path, text: str) -> None:
    """Writes aside and renames, so a reader sees the old file or the new one, never half of it."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with open(aside, "w", encoding="utf-8") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
    os.replace(aside, path)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The value, or None where the file does not exist; a torn file raises ValueError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def write_config(folder: Path, config: dict[str, Any]) -> None:
    lines = [f"{key}: {_yaml_json(value)}\n" for key, value in {"format": FORMAT, **config}.items()]
    write_text(folder / "config.yaml", "".join(lines))


def read_config(folder: Path) -> dict[str, Any]:
    """The config with its "format"; raises ValueError for one that is not ours or is newer."""
    text = (folder / "config.yaml").read_text(encoding="utf-8")
    try:
        pairs = (line.partition(": ") for line in text.splitlines())
        config = {key: json.loads(value) for key, _, value in pairs}
    except json.JSONDecodeError:
        raise ValueError("config.yaml was not written by normbench") from None
    if not isinstance(config.get("format"), int):
        raise ValueError("config.yaml has no format number")
    if config["format"] > FORMAT:
        raise ValueError(f"config.yaml has format {config['format']}, newer than {FORMAT}; update normbench")
    return config


def _yaml_json(value: Any) -> str:
    """JSON that a YAML 1.1 reader takes for the same value: it wants a point in 1.0e-05."""
    text = json.dumps(value, allow_nan=False)
    return re.sub(r"(?<=[\s\[:])(-?\d+)e(-?\d+)(?=[\s,\]}]|$)", r"\1.0e\2", text)


# ---------------------------------------------------------------------------- rows


def append_row(folder: Path, row: dict[str, Any]) -> None:
    """One epoch's line, in one write, flushed to the disk."""
    _append(folder / "epochs.jsonl", row)


def append_probe(folder: Path, row: dict[str, Any]) -> None:
    """One probed step's line, likewise."""
    _append(folder / "probes.jsonl", row)


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows in the order of their epochs.

    A torn line is absent; of two rows of one epoch the later one counts.
    """
    return _read(folder / "epochs.jsonl", "epoch")


def read_probes(folder: Path) -> list[dict[str, Any]]:
    """The probed steps in their order, likewise; none where the run was not probed."""
    return _read(folder / "probes.jsonl", "step")


def keep(folder: Path, epochs: int, steps: int) -> None:
    """Drops what was written after the checkpoint that a resumed run starts from."""
    for name, counter, done in (("epochs.jsonl", "epoch", epochs), ("probes.jsonl", "step", steps)):
        if (folder / name).exists():
            kept = [row for row in _read(folder / name, counter) if row[counter] <= done]
            write_text(folder / name, "".join(json.dumps(row) + "\n" for row in kept))


def _append(path: Path, row: dict[str, Any]) -> None:
    with open(path, "ab", buffering=0) as f:
        f.write((json.dumps(_numbers(row), allow_nan=False) + "\n").encode())
        os.fsync(f.fileno())


def _numbers(value: Any) -> Any:
    """The value with null for what JSON has no number for: NaN and infinity."""
    if isinstance(value, dict):
        return {k: _numbers(v) for k, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(path: Path, counter: str) -> list[dict[str, Any]]:
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    rows: dict[int, dict[str, Any]] = {}
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            row = json.loads(line)
            rows[row[counter]] = row
    return [rows[count] for count in sorted(rows)]


# ---------------------------------------------------------------------------- states


def state(folder: Path) -> str:
    """One of STATES. Never raises for a torn file: that run is cut."""
    with contextlib.suppress(ValueError):
        result = read_json(folder / "result.json")
        if result is not None:
            return str(result["status"])
    if _holder(folder) is not None:
        return "running"
    if (folder / "error.json").exists():
        return "failed"
    return "cut" if (folder / "config.yaml").exists() else "missing"


def _holder(folder: Path) -> dict[str, Any] | None:
    """Who holds the folder, if they live."""
    path = folder / "running.json"
    try:
        holder = json.loads(path.read_text())
        age = time.time() - path.stat().st_mtime
    except (FileNotFoundError, ValueError):
        return None
    if holder["host"] != socket.gethostname():
        dead = age >= STALE_SECONDS or (holder.get("job") and slurm.ended(holder["job"]))
        return None if dead else holder
    return holder if _started(holder["pid"]) == holder["started"] else None


def _started(pid: int) -> str | None:
    """When a process of this host started, in the kernel's count: a reused number has another."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return f.read().rpartition(")")[2].split()[19]
    except FileNotFoundError:
        if os.path.isdir("/proc/self"):
            return None
    try:  # a system without /proc: alive is all that can be asked
        os.kill(pid, 0)
    except OSError:
        return None
    return "unknown"


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Holds the folder against other processes; raises Busy where a living one has it."""
    path = folder / "running.json"
    here = {"host": socket.gethostname(), "job": slurm.this_job()}
    mine = json.dumps({**here, "pid": os.getpid(), "started": _started(os.getpid())})
    aside = folder / f".running.{os.getpid()}"
    aside.write_text(mine)
    try:
        while True:
            try:
                os.link(aside, path)  # atomic, and never seen empty
                break
            except FileExistsError:
                holder = _holder(folder)
                if holder is not None:
                    raise Busy(f"{folder} is being trained by process {holder['pid']} on {holder['host']}") from None
                path.unlink(missing_ok=True)
    finally:
        aside.unlink()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def touch(folder: Path) -> None:
    """Tells other hosts that the holder lives."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(folder / "running.json")
