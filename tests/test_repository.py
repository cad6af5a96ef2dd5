"""What lies at the top level, and that the files which speak of the project say the same."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from normbench.version import VERSION

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
FOLDERS = {"conf", "docs", "normbench", "results", "scripts", "tests", ".ci", ".github"}
FILES = {"pyproject.toml", "mkdocs.yml", ".gitignore", ".pre-commit-config.yaml"}
FILES |= {"README.md", "LICENSE", "CITATION.cff", "CONTRIBUTING.md", "CHANGELOG.md", "constraints.txt"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_at_the_top_level_lies_this_and_nothing_else() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout, so nobody says which files are the project's")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    tops = {line.split("/")[0] + ("/" if "/" in line else "") for line in listed if line and (ROOT / line).exists()}
    assert tops == {*(f"{name}/" for name in FOLDERS), *FILES}


def test_the_citation_has_what_its_format_asks_for_and_the_version_of_the_code() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert str(citation["version"]) == PROJECT["version"] == VERSION
    assert citation["license"] == PROJECT["license"] == "MIT"
    assert citation["authors"] == PROJECT["authors"]
    norms = len(list((ROOT / "conf" / "norm").glob("*.yaml")))
    assert f"with {norms} normalization layers" in citation["abstract"]


def test_the_changelog_names_the_version_of_the_code() -> None:
    assert re.search(
        rf"^## \[?(Unreleased\]: )?{re.escape(VERSION)}", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )


def allowed_pythons() -> list[str]:
    low, high = (int(minor) for minor in re.findall(r"3\.(\d+)", PROJECT["requires-python"]))
    return [f"3.{minor}" for minor in range(low, high)]


def test_every_python_that_the_project_allows_is_tested_and_named() -> None:
    """requires-python, the classifiers, and the workflow's matrix."""
    allowed = allowed_pythons()
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    job = workflow["jobs"]["run"]
    assert job["strategy"]["matrix"]["python"] == allowed
    assert [found.split(":: ")[-1] for found in PROJECT["classifiers"] if ":: 3." in found] == allowed
    assert {"run": "bash .ci/run"} in job["steps"]


def test_the_constraints_pin_every_direct_dependency_within_its_bounds_for_every_python() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    assert not [pin for pin in pins if pin.url or pin.extras], "a name and a version, which any index has"
    texts = [*PROJECT["dependencies"], *(text for extra in PROJECT["optional-dependencies"].values() for text in extra)]
    direct = [wanted for wanted in map(Requirement, texts) if wanted.name != PROJECT["name"]]
    for python in allowed_pythons():
        here = {"python_version": python, "python_full_version": f"{python}.9"}
        found: dict[str, Version] = {}
        for pin in (pin for pin in pins if pin.marker is None or pin.marker.evaluate(here)):
            [one] = pin.specifier
            assert one.operator == "==", pin
            assert pin.name not in found, f"two versions of {pin.name} on Python {python}"
            found[pin.name] = Version(one.version)
            assert found[pin.name].local is None, f"{pin}: a build that not every index has"
        for wanted in direct:
            assert wanted.name.lower() in found, f"{wanted.name} is in no line for Python {python}"
            assert wanted.specifier.contains(found[wanted.name.lower()]), f"{wanted} on Python {python}"


def test_the_hooks_before_a_commit_are_checks_of_ci() -> None:
    ci = (ROOT / ".ci" / "run").read_text().splitlines()
    [repository] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = [" ".join([hook["entry"], *hook.get("args", [])]) for hook in repository["hooks"]]
    assert hooks == [line for line in ci if line.startswith(".venv/bin/python")]


def test_the_package_says_that_it_is_typed_and_what_may_be_done_with_it() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert "py.typed" in data["normbench"]
    assert (ROOT / "normbench" / "py.typed").exists()
    assert PROJECT["license-files"] == ["LICENSE"]
    assert (ROOT / "LICENSE").read_text().startswith("MIT License\n\nCopyright (c) 2026 the normbench authors\n")
