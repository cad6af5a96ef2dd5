"""What a run on class folders is, and what may lie in them without harm: never a wrong picture,
never a wait without end.
"""

import os
import shutil
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pictures import photos
from PIL import Image

from normbench import class_folders, cli
from normbench.compose import run_of
from normbench.config import ConfigError
from normbench.data.folder import UnreadableImage, decode, load
from normbench.runs import science


def identity(root: Path) -> str:
    return run_of(["data=imagenet", f"data.root={root}"]).identity


# ---------------------------------------------------------------------------- which run it is


def test_the_same_images_in_another_folder_are_the_same_run(tmp_path: Path) -> None:
    before = identity(photos(tmp_path / "A"))
    shutil.copytree(tmp_path / "A", tmp_path / "copy")
    (tmp_path / "A").rename(tmp_path / "moved")
    (tmp_path / "linked").symlink_to(tmp_path / "moved")
    assert {identity(tmp_path / name) for name in ("moved", "copy", "linked")} == {before}


def test_other_images_of_as_many_classes_are_another_run(tmp_path: Path) -> None:
    assert identity(photos(tmp_path / "A", seed=0)) != identity(photos(tmp_path / "B", seed=1))


@pytest.mark.parametrize(
    "change",
    [
        lambda root: shutil.copy(root / "train/a/0.png", root / "train/a/9.png"),
        lambda root: shutil.copy(root / "val/a/0.png", root / "val/a/9.png"),
        lambda root: (root / "train/b/1.png").unlink(),
        lambda root: (root / "val/b/2.png").unlink(),
        lambda root: [(root / split / "b").rename(root / split / "c") for split in ("train", "val")],
        lambda root: shutil.move(root / "train/a/0.png", root / "train/b/x.png"),
        lambda root: shutil.copytree(root / "train/a", root / "train/a/more"),
        lambda root: (root / "train/a/new.JPEG").write_bytes(b"12345"),
    ],
)
def test_a_change_of_the_images_is_another_run_in_the_same_process_too(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    before = identity(photos(tmp_path))
    change(tmp_path)
    assert identity(tmp_path) != before


def test_what_is_no_image_makes_no_other_run(tmp_path: Path) -> None:
    before = identity(photos(tmp_path))
    (tmp_path / "train/a/notes.txt").write_text("x")
    (tmp_path / "README").write_text("x")
    os.mkfifo(tmp_path / "train/a/pipe")
    assert identity(tmp_path) == before


def test_the_digest_is_in_no_identity_of_other_data_sets() -> None:
    assert "files" not in science(run_of([]))["data"]
    assert run_of([]).description()["data"]["files"] is None


def test_the_folders_are_walked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identity(photos(tmp_path))
    monkeypatch.setattr(class_folders, "_walk", lambda *_: pytest.fail("walked again"))
    identity(tmp_path)


def test_a_run_on_other_images_than_it_was_asked_for_is_refused(tmp_path: Path) -> None:
    import torch

    data = run_of(["data=imagenet", f"data.root={photos(tmp_path)}"]).data
    (tmp_path / "train/a/0.png").unlink()
    with pytest.raises(ConfigError, match=r"holds other images \(\w+\) than those of this run \(\w+\)"):
        load(data, seed=0, device=torch.device("cpu"), dtype=torch.float32)


def test_the_order_is_that_of_torchvisions_image_folder(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    photos(tmp_path, each=2)
    for name in (
        "a/sub/x.JPG",
        "a/Z.jpeg",
        "a/sub/deep/1.webp",
        "a-b/1.tif",
        "a/sub-1/y.bmp",
        "b/größe.png",
        "B/1.ppm",
    ):
        path = tmp_path / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    found = class_folders.images(tmp_path / "train")
    theirs = ImageFolder(tmp_path / "train")
    assert list(found) == theirs.classes
    assert [(path, at) for at, files in enumerate(found.values()) for path, _ in files] == theirs.samples


# ---------------------------------------------------------------------------- folders that are refused


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as there:
        there.bind(str(path))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a loop": (lambda r: (r / "train/a/up").symlink_to(r / "train/a"), "up: a link to a folder above it"),
    "a wide loop": (lambda r: (r / "train/a/up").symlink_to(r), "a link to a folder above it"),
    "a link to itself": (lambda r: (r / "train/a/x.png").symlink_to(r / "train/a/x.png"), "x.png"),
    "a pipe": (lambda r: os.mkfifo(r / "train/a/x.png"), "x.png: a pipe"),
    "a pipe in val": (lambda r: os.mkfifo(r / "val/b/x.JPEG"), "x.JPEG: a pipe"),
    "a device": (lambda r: (r / "train/a/x.png").symlink_to("/dev/zero"), "x.png: a pipe, socket or device"),
    "a socket": (lambda r: _socket(r / "val/a/x.png"), "x.png: a pipe, socket or device"),
    "a dead link": (
        lambda r: (r / "train/a/x.png").symlink_to("/nowhere"),
        "x.png: a link to a file that is not there",
    ),
    "no val": (lambda r: shutil.rmtree(r / "val"), "no folder"),
    "no train": (lambda r: shutil.rmtree(r / "train"), "no folder"),
    "a file for val": (lambda r: (shutil.rmtree(r / "val"), (r / "val").write_text("")), "no folder"),
    "empty train": (lambda r: (shutil.rmtree(r / "train"), (r / "train").mkdir()), "no class folder in"),
    "empty val": (lambda r: (shutil.rmtree(r / "val"), (r / "val").mkdir()), "no class folder in"),
    "an empty class": (lambda r: (r / "train/c").mkdir(), "Found no valid file for the classes c"),
    "a hidden class": (lambda r: (r / "train/.ipynb_checkpoints").mkdir(), "the classes .ipynb_checkpoints"),
    "a class of texts": (
        lambda r: [p.rename(p.with_suffix(".txt")) for p in (r / "val/a").iterdir()],
        "Found no valid file for the classes a",
    ),
    "a class less": (lambda r: shutil.rmtree(r / "val/b"), "only one of the two has b"),
    "another class": (lambda r: (r / "val/b").rename(r / "val/c"), "only one of the two has b, c"),
    "one class": (lambda r: [shutil.rmtree(r / s / "b") for s in ("train", "val")], "at least 2"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.timeout(30)
def test_a_folder_that_cannot_be_trained_on_is_one_line(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tried: Callable[..., None],
) -> None:
    tried("broken data sets")
    root = photos(tmp_path / "photos")
    damage, said = BROKEN[name]
    damage(root)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    assert cli._guarded(["data=imagenet", f"data.root={root}"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not any(work.iterdir())


# What may lie in any class of any half, under an image's name or as a folder.
ANYWHERE: dict[str, Callable[[Path], object]] = {
    "a loop": lambda at: (at / "up").symlink_to(at),
    "a loop over two": lambda at: ((at / "x").mkdir(), (at / "x" / "y").symlink_to(at.parent.parent)),
    "a link to itself": lambda at: (at / "x.png").symlink_to(at / "x.png"),
    "a pipe": lambda at: os.mkfifo(at / "x.jpg"),
    "a device": lambda at: (at / "x.JPEG").symlink_to("/dev/zero"),
    "a terminal": lambda at: (at / "x.webp").symlink_to("/dev/tty"),
    "a dead link": lambda at: (at / "x.tiff").symlink_to(at / "nowhere"),
    "no image": lambda at: [path.unlink() for path in at.iterdir()],
    "only texts": lambda at: [path.rename(path.with_suffix(".txt")) for path in at.iterdir()],
    "another name": lambda at: at.rename(at.with_name("z")),
    "an empty neighbour": lambda at: (at.parent / "z").mkdir(),
    "a file in its place": lambda at: (shutil.rmtree(at), at.write_text("")),
}


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("name", ["a", "b"])
@pytest.mark.parametrize("what", ANYWHERE)
@pytest.mark.timeout(30)
def test_whatever_lies_in_whichever_class_is_one_line(
    what: str, name: str, split: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], tried: Callable[..., None]
) -> None:
    root = photos(tmp_path / "photos", each=1)
    ANYWHERE[what](root / split / name)
    assert cli._guarded(["data=imagenet", f"data.root={root}", f"out={tmp_path / 'runs'}"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert str(root) in line
    assert not (tmp_path / "runs").exists()
    tried("broken data sets")


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_a_picture_that_ends_early_is_refused_by_name(kind: str, tmp_path: Path, tried: Callable[..., None]) -> None:
    """At any length: a copy that was cut, a disk that was full."""
    path, rng = tmp_path / f"x.{kind}", np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    for length in rng.integers(0, len(whole) - 40, 20):
        path.write_bytes(whole[:length])
        with pytest.raises(UnreadableImage, match=str(path)):
            decode(str(path))
    tried("pictures cut short", 20)


# ---------------------------------------------------------------------------- pixels


GREY = np.arange(256, dtype=np.uint16).reshape(16, 16)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_the_8_bit_picture(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(GREY * 257).save(tmp_path / f"deep.{suffix}")
    Image.fromarray(GREY.astype(np.uint8)).save(tmp_path / "flat.png")
    deep, flat = (np.asarray(decode(str(tmp_path / name))) for name in (f"deep.{suffix}", "flat.png"))
    np.testing.assert_array_equal(deep, flat)
    assert flat.shape == (16, 16, 3)


def png_of_16_bits(path: Path, pixels: np.ndarray) -> None:
    """Written by hand, from the PNG specification: Pillow writes no colour of 16 bits."""
    height, width, channels = pixels.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = (b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4], ids=["grey", "grey, alpha", "colour", "colour, alpha"])
def test_a_png_of_16_bits_is_the_8_bit_picture(channels: int, tmp_path: Path) -> None:
    """Exactly where it was made of 8 bits, and within one level for whatever lies between."""
    path, rng = tmp_path / "deep.png", np.random.default_rng(0)
    flat = rng.integers(0, 256, (9, 7, channels), dtype=np.uint16)
    deep = rng.integers(0, 65536, (9, 7, channels), dtype=np.uint16)
    for pixels, wanted, within in ((flat * 257, flat, 0), (deep, deep / 257, 1)):
        png_of_16_bits(path, pixels)
        colours = wanted[..., :3] if channels > 2 else np.repeat(wanted[..., :1], 3, axis=2)
        assert np.abs(np.asarray(decode(str(path))).astype(float) - colours).max() <= within


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pixels_without_a_white_are_refused_by_name(tmp_path: Path, kind: type) -> None:
    path = tmp_path / "x.tif"
    Image.fromarray(GREY.astype(kind)).save(path)
    with pytest.raises(UnreadableImage, match=r"x\.tif: its pixels are .* whose white is not known"):
        decode(str(path))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_every_8_bit_kind_decodes(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("x.tif" if mode in ("CMYK", "YCbCr") else "x.png")
    Image.fromarray(GREY.astype(np.uint8)).convert("RGB").convert(mode).save(path)
    assert decode(str(path)).mode == "RGB"


def test_a_dry_run_on_folders_that_no_run_takes_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The published numbers are for folders that are not there, not for those that are damaged."""
    for place in ("train/cat", "train/dog", "val/cat"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "1.png").write_bytes(b"1")
    typed = ["data=imagenet", f"data.root={tmp_path}", "--dry"]
    with pytest.raises(ConfigError, match="only one of the two has dog"):
        cli._dispatch(typed)
    assert "assumed" not in capsys.readouterr().out
