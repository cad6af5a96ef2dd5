"""The run folder: the only source of truth about a run.

Written by rank 0, read by everybody, without torch.

config.yaml     every setting, written once; each value is JSON on one line, which is YAML too
env.json        versions, commit, device, command, what the norm became in each layer
epochs.jsonl    one line per epoch, one write() each; a torn last line is read as absent
probes.jsonl    one line every probe.every steps about the norm probe.layer, likewise
checkpoint.pt   what the next step depends on; checkpoint.previous.pt is the one before it
running.json    host, process and Slurm job of the holder, whom lock.py tells alive from dead
error.json      the one line of the failure that ended the last attempt
result.json     last, by rename: its presence means finished
"""

import contextlib
import errno
import itertools
import json
import math
import os
import re
from pathlib import Path
from typing import Any

from normbench import files, lock
from normbench.config import FORMAT
from normbench.lock import STALE_SECONDS as STALE_SECONDS
from normbench.lock import Busy as Busy
from normbench.lock import hold as hold

STATES = ("done", "running", "cut", "diverged", "failed", "missing")
FINISHED = ("done", "diverged")  # the states that a result.json gives; divergence is a result
CHECKPOINTS = ("checkpoint.pt", "checkpoint.previous.pt")  # the newest, and the one before it


# ---------------------------------------------------------------------------- one file at a time


def write_text(path: Path, text: str) -> None:
    """Writes aside and renames, so a reader sees the old file or the new one, never half of it."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with files.gone_if_it_fails(aside):
        with open(aside, "w", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.replace(aside, path)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The value, or None where there is no file; raises ValueError for what cannot be read."""
    text = files.read_bytes(path)
    return None if text is None else files.parse(text)


def read_object(path: Path) -> dict[str, Any]:
    """The object in a file, {} where there is none, whatever lies there. Never raises."""
    with contextlib.suppress(ValueError):
        value = read_json(path)
        if isinstance(value, dict):
            return value
    return {}


def write_config(folder: Path, config: dict[str, Any]) -> None:
    lines = [f"{key}: {_yaml_json(value)}\n" for key, value in {"format": FORMAT, **config}.items()]
    write_text(folder / "config.yaml", "".join(lines))


def read_config(folder: Path) -> dict[str, Any]:
    """The config with its "format"; raises ValueError for one that is not ours or is newer."""
    text = files.read_bytes(folder / "config.yaml")
    if text is None:
        raise FileNotFoundError(folder / "config.yaml")
    try:
        pairs = (line.partition(": ") for line in text.decode().splitlines())
        config = {key: files.parse(value) for key, _, value in pairs}
    except ValueError:
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


def rows_trouble(folder: Path, epochs: int, kept: bool = False) -> str | None:
    """What is wrong with the rows of so many epochs; None where each of 1 to epochs is there once.

    kept: asks whether `keep` would leave them so, which drops later rows, foreign ones and copies;
    of two rows of one epoch that differ nobody knows which is true.
    """
    try:
        rows = _lines(folder / "epochs.jsonl")
    except ValueError as e:
        return str(e)
    found: dict[int, dict[str, Any]] = {}
    for row in rows:
        epoch = row.get("epoch")
        if type(epoch) is not int or not 1 <= epoch <= epochs:
            if not kept:
                return f"epochs.jsonl has a row of epoch {str(epoch)[:20]!r}, and the run has {epochs}"
        elif epoch in found and not (kept and found[epoch] == row):
            return f"epochs.jsonl has two rows of epoch {epoch}"
        else:
            found[epoch] = row
    missing = next(epoch for epoch in itertools.count(1) if epoch not in found)
    return f"epochs.jsonl has no row of epoch {missing}, and the run has {epochs}" if missing <= epochs else None


def keep(folder: Path, epochs: int, steps: int) -> None:
    """Drops what was written after the checkpoint that a resumed run starts from."""
    (folder / "result.json").unlink(missing_ok=True)  # of a run that was not whole
    for name, counter, done in (("epochs.jsonl", "epoch", epochs), ("probes.jsonl", "step", steps)):
        if (folder / name).exists():
            kept = [row for row in _read(folder / name, counter) if row[counter] <= done]
            write_text(folder / name, "".join(json.dumps(row) + "\n" for row in kept))


def _append(path: Path, row: dict[str, Any]) -> None:
    line = (json.dumps(_numbers(row), allow_nan=False) + "\n").encode()
    with open(path, "ab", buffering=0) as f:
        end = f.tell()
        try:
            if f.write(line) != len(line):  # the disk is full in mid-line
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(f.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                f.truncate(end)
            raise


def _numbers(value: Any) -> Any:
    """The value with null for what JSON has no number for: NaN and infinity."""
    if isinstance(value, dict):
        return {k: _numbers(v) for k, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(path: Path, counter: str) -> list[dict[str, Any]]:
    rows: dict[int, dict[str, Any]] = {}
    with contextlib.suppress(ValueError):
        for row in _lines(path):
            count = row.get(counter)
            if type(count) is int and count >= 1:
                rows[count] = row
    return [rows[count] for count in sorted(rows)]


def _lines(path: Path) -> list[dict[str, Any]]:
    """Every object in the file; what is torn is absent. ValueError where it cannot be read."""
    found = []
    for line in (files.read_bytes(path) or b"").split(b"\n"):
        with contextlib.suppress(ValueError):
            row = files.parse(line)
            if isinstance(row, dict):
                found.append(row)
    return found


# ---------------------------------------------------------------------------- states


def state(folder: Path) -> str:
    """One of STATES. Never raises, whatever lies in the folder.

    A result counts only with its rows, 1 to the last, each once: without them the run is cut.
    """
    result = read_object(folder / "result.json")
    if result and result_trouble(folder) is None:
        return str(result["status"])
    if lock.holder(folder) is not None:
        return "running"
    if os.path.lexists(folder / "error.json"):
        return "failed"
    return "cut" if os.path.lexists(folder / "config.yaml") else "missing"


def result_trouble(folder: Path) -> str | None:
    """What is wrong with the result in a folder, or with its rows; None where nothing is."""
    try:
        result = read_json(folder / "result.json")
    except ValueError as e:
        return f"result.json cannot be read: {e}"
    if result is None and not os.path.lexists(folder / "result.json"):
        return None
    if not isinstance(result, dict) or result.get("status") not in FINISHED:
        return f"result.json is not a normbench record: its status is none of {', '.join(FINISHED)}"
    epochs = result.get("epochs", len(read_rows(folder)))
    if type(epochs) is not int or epochs < 0:
        return "result.json has no number of epochs"
    return rows_trouble(folder, epochs)


def has_checkpoint(folder: Path) -> bool:
    """Whether there is one to go on from, sound or not."""
    return any(os.path.lexists(folder / name) for name in CHECKPOINTS)


def error(folder: Path) -> str | None:
    """The line of the failure that ended the last attempt; None where none is on disk."""
    if not os.path.lexists(folder / "error.json"):
        return None
    return str(read_object(folder / "error.json").get("error") or "error.json cannot be read")
