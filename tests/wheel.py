"""The package as a user gets it: its wheel, built from a copy of the tree."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from normbench.study.read import reference_files

ROOT = Path(__file__).parents[1]


def unpacked(here: Path) -> list[str]:
    """Builds the wheel and unpacks it into `here`, as pip would; returns the names of its files."""
    pytest.importorskip("setuptools", minversion="77", reason="the build needs setuptools")
    tree = here.with_name(f"{here.name}-tree")
    shutil.copytree(ROOT / "normbench", tree / "normbench", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conf", "results/published", "results/reference"):
        shutil.copytree(ROOT / name, tree / name)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tree / name)
    for name in reference_files.FILES:
        (tree / "results" / "reference" / name).touch()
    build = "import setuptools.build_meta as build; build.build_wheel('.')"
    subprocess.run([sys.executable, "-c", build], cwd=tree, check=True, capture_output=True)
    (wheel,) = tree.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(here)
        return packed.namelist()
