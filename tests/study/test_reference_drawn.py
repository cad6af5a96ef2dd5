"""Claims about results/reference: what is committed there is what its runs.csv gives, byte for byte."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import wheel
from PIL import Image

from normbench import figures, tables
from normbench.study.read import reference_files

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "results" / "reference"
KINDS = {"figures": ("png", "svg"), "tables": ("md",)}
LARGEST = 1_000  # bytes of the data for each run


def manifest() -> list[tuple[str, str, list[str]]]:
    """Command, name and filters of everything that scripts/reference.sh draws."""
    found = []
    for line in (REFERENCE / "manifest.txt").read_text().splitlines():
        command, *words = line.split()
        if command in KINDS:
            filters = [word for word in words if "=" in word]
            found += [(command, word, filters) for word in words if "=" not in word]
    return found


def files(command: str, name: str) -> list[str]:
    return [f"{name}.{kind}" for kind in KINDS[command]]


def test_every_committed_figure_and_table_is_in_the_manifest_and_there() -> None:
    listed = {file for command, name, _ in manifest() for file in files(command, name)}
    there = {path.name for path in REFERENCE.iterdir() if path.suffix in (".png", ".svg", ".md")} - {"README.md"}
    assert listed == there
    readme = (REFERENCE / "README.md").read_text()
    assert [name for _, name, _ in manifest() if f"`{name}." not in readme] == []


def test_the_data_are_small_and_of_one_piece() -> None:
    known = reference_files.read_runs(REFERENCE)
    assert reference_files.read_rows(REFERENCE / reference_files.EPOCHS, known).keys() == known.keys()
    probed = {identity for identity, line in known.items() if line.row.get("probe.layer")}
    assert reference_files.read_rows(REFERENCE / reference_files.PROBES, known).keys() == probed
    assert sum((REFERENCE / name).stat().st_size for name in reference_files.FILES) <= LARGEST * len(known)
    assert all(line.about["commit"] for line in known.values())


@pytest.mark.parametrize(("command", "name", "filters"), manifest(), ids=[name for _, name, _ in manifest()])
def test_what_is_committed_is_what_the_data_give(command: str, name: str, filters: list[str], tmp_path: Path) -> None:
    pinned = dict(line.split("==") for line in (REFERENCE / "drawn_with.txt").read_text().split())
    if command == "figures" and version("matplotlib") != pinned["matplotlib"]:
        pytest.skip(f"drawn with matplotlib {pinned['matplotlib']}; {version('matplotlib')} here draws other bytes")
    (tmp_path / "none").mkdir()
    where = ["--with-reference", "--runs", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    {"figures": figures, "tables": tables}[command].main([name, *filters, *where])
    for file in files(command, name):
        drawn, committed = tmp_path / "out" / file, REFERENCE / file
        if file.endswith(".png") and version("pillow") != pinned["pillow"]:  # another packs the same picture otherwise
            with Image.open(drawn) as one, Image.open(committed) as two:
                assert np.array_equal(np.asarray(one), np.asarray(two)), file
        else:
            assert drawn.read_bytes() == committed.read_bytes(), file


def test_the_wheel_has_the_data_and_none_of_the_pictures_and_finds_them(tmp_path: Path) -> None:
    here = tmp_path / "here"
    names = [name for name in wheel.unpacked(here) if name.startswith("normbench/reference/")]
    assert sorted(names) == sorted(f"normbench/reference/{name}" for name in reference_files.FILES)
    find = "from normbench import paths; print(paths.reference())"
    there = {**os.environ, "PYTHONPATH": str(here)}
    found = subprocess.run(
        [sys.executable, "-c", find], cwd=here, env=there, check=True, capture_output=True, text=True
    )
    assert Path(found.stdout.strip()) == here / "normbench" / "reference"
