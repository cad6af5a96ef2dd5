"""The pages as a site, and as what they say of the code: no link leads nowhere, nothing is left out."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from normbench.study.figures.by_name import FIGURES
from normbench.study.tables.by_name import TABLES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
needs_mkdocs = pytest.mark.skipif(
    importlib.util.find_spec("material") is None,
    reason="mkdocs-material is not installed; .ci/run builds the site with the extra docs, as scripts/docs.sh does",
)


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=200)


@needs_mkdocs
def test_the_site_builds_without_a_warning_and_has_every_page_and_picture(tmp_path: Path) -> None:
    built = build(ROOT, tmp_path)
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    for page in DOCS.glob("*.md"):
        html = (tmp_path / page.with_suffix(".html").name).read_text()
        for picture in re.findall(r'<img [^>]*src="([^"]+)"', html):
            assert (tmp_path / picture).is_file(), f"{page.name}: {picture}"
        assert not re.findall(r'(?:src|href)="(?:https?:)?//(?:fonts|cdn|unpkg)', html), "the site asks another server"


@needs_mkdocs
@pytest.mark.parametrize(
    ("page", "added"),
    [
        ("index.md", "[x](nowhere.md)"),
        ("index.md", "[x](design.md#nowhere)"),
        ("index.md", "![x](../results/reference/nowhere.png)"),
        ("index.md", "[x](../results/)"),
        ("../CONTRIBUTING.md", "[x](docs/nowhere.md)"),
        ("stray.md", "# A page that no other names"),
    ],
)
def test_what_leads_nowhere_ends_the_build(page: str, added: str, tmp_path: Path) -> None:
    for name in ("docs", "results/reference"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("mkdocs.yml", "CONTRIBUTING.md", "CHANGELOG.md", "scripts/site_files.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    with open(tmp_path / "docs" / page, "a") as file:
        file.write(f"\n\n{added}\n")
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode != 0
    assert re.search(r"WARNING.*(nowhere|results/|stray)|stray", built.stderr), built.stderr


def test_every_figure_and_table_is_described_and_every_picture_shown() -> None:
    text = (DOCS / "figures.md").read_text()
    assert [name for name in FIGURES if f"\n### {name}\n" not in text] == []
    assert [name for name in TABLES if f"\n| `{name}` |" not in text] == []
    pictures = sorted(path.name for path in (ROOT / "results" / "reference").glob("*.png"))
    assert [name for name in pictures if f"](../results/reference/{name})" not in text] == []


def test_the_page_of_norms_is_what_its_script_writes() -> None:
    spec = importlib.util.spec_from_file_location("norms_page", ROOT / "scripts" / "norms_page.py")
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert (DOCS / "norms.md").read_text() == script.page(), "write it anew: python scripts/norms_page.py"


def test_the_page_of_norms_has_a_formula_and_the_options_of_each() -> None:
    entries = re.split(r"\n## ", (DOCS / "norms.md").read_text())[1:]
    assert [entry.split("\n")[0] for entry in entries] == sorted(
        path.stem for path in (ROOT / "conf" / "norm").glob("*.yaml")
    )
    for entry in entries:
        name = entry.split("\n")[0]
        assert " = " in entry, f"{name}: no formula"
        options = re.findall(r"^(\w+):", (ROOT / "conf" / "norm" / f"{name}.yaml").read_text(), re.MULTILINE)
        shown = re.findall(r"^\| `norm\.(\w+)` \| `[^`]+` \| \S", entry, re.MULTILINE)
        assert shown == [key for key in options if key not in ("name", "batch_free")]
