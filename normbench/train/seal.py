"""The seal of a checkpoint: a SHA-256 of the whole file, in the comment that ends a zip archive.

torch.save writes a zip archive and torch.load reads one with a comment, so a sealed file is read by
whoever reads checkpoints. No torch.
"""

import hashlib
import io
import os
import re
import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

MARK = b"normbench step=%012d sha256="
LENGTH = len(MARK % 0) + 64
SEALED = re.compile(rb"normbench step=(\d{12}) sha256=([0-9a-f]{64})")


def put(f: BinaryIO, step: int) -> None:
    """Seals the archive in a file open for reading and writing. step: of its epoch; 0 at an end."""
    f.seek(-2, os.SEEK_END)  # of an archive without a comment: the comment's length
    assert f.read() == b"\0\0"
    f.seek(-2, os.SEEK_END)
    f.write(struct.pack("<H", LENGTH) + MARK % step)
    f.seek(0)
    digest = hashlib.sha256()
    while piece := f.read(1 << 20):
        digest.update(piece)
    f.write(digest.hexdigest().encode())


def is_sealed(content: bytes) -> bool:
    return SEALED.fullmatch(content[-LENGTH:]) is not None


def broken(content: bytes) -> bool:
    """Whether what was written is not what is there.

    A file of earlier code has no seal: there the archive's own sums speak, one for each tensor.
    """
    if is_sealed(content):
        return hashlib.sha256(memoryview(content)[:-64]).hexdigest().encode() != content[-64:]
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.testzip() is not None
    except Exception:  # noqa: BLE001 - a damaged directory of an archive ends in errors of any kind
        return content.startswith(b"PK")


def step(path: Path) -> int | None:
    """The step that a file was sealed with; None where it has no seal."""
    try:
        with open(path, "rb") as f:
            f.seek(-LENGTH, os.SEEK_END)
            found = SEALED.fullmatch(f.read())
    except OSError:
        return None
    return int(found[1]) if found else None
