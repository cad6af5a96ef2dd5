"""What pip would have left of a package: a folder with it and its .dist-info, for PYTHONPATH."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def install(
    site: Path, files: dict[str, str], entry_points: dict[str, str], name: str, group: str = "normbench.norms"
) -> None:
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
    info = site / f"{name}-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    lines = [f"{key} = {value}" for key, value in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))


def python(site: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(command, env=env, cwd=cwd or site, capture_output=True, text=True, timeout=200)


def code(site: Path, text: str) -> str:
    done = python(site, "-c", text)
    assert done.returncode == 0, done.stderr
    return done.stdout


def complaint(site: Path, *overrides: str) -> str:
    """What `normbench` says about these overrides; one line, before torch is imported."""
    script = "import sys; from normbench.cli import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    done = python(site, "-c", script, *overrides)
    assert done.returncode == 1, done.stdout
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("normbench: ").strip()
