"""The house as its files show it: who imports whom, what needs no torch, how long files are.

The imports are read, not run, so one inside a function counts as one at the top does. An import of
`normbench.norms.base` is one of that file, not of the package above it, which Python loads first.
"""

import ast
import io
import re
import statistics
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "normbench"
FILES = sorted(PACKAGE.rglob("*.py"))
LEVEL = {  # a part imports from its own level and below
    "version": 0, "config": 0, "grids": 0, "hints": 0, "paths": 0, "slurm": 0, "files": 0, "lock": 0, "records": 0, "measured": 0,
    "stopping": 0, "bars": 0,
    "plugins": 1, "facts": 1, "class_folders": 1, "typed": 1, "ranges": 1, "checks": 1, "complaints": 1, "runs": 1,
    "settle": 1, "run_checks": 1,
    "compose": 1, "recorded": 1, "study": 1,
    "parallel": 2,
    "kernels": 3,
    "norms": 4, "data": 4,
    "models": 5,
    "train": 6,
    "environment": 7, "tensorboard": 6, "tracker": 7, "progress": 7, "testing": 7,
    "execute": 8, "usage": 8, "launch": 8, "ray_launcher": 8, "plan": 8, "cells": 8, "following": 8, "opened": 8,
    "command": 9, "watch": 9, "sweeps": 9, "confusion": 9, "named": 9, "profile": 9, "dry": 9, "prune": 9,
    "collect": 10, "figures": 10, "tables": 10, "report": 10, "show": 10, "cli": 10,
    "__init__": 11, "__main__": 11,
}  # fmt: skip
TORCH_FREE = [
    "version",
    "config",
    "grids",
    "hints",
    "paths",
    "slurm",
    "files",
    "lock",
    "records",
    "stopping",
    "measured",
    "plugins",
    "facts",
    "class_folders",
    "typed",
    "ranges",
    "named",
    "checks",
]
TORCH_FREE += [
    "complaints",
    "runs",
    "settle",
    "run_checks",
    "compose",
    "study",
    "usage",
    "plan",
    "cells",
    "following",
    "watch",
    "sweeps",
    "ray_launcher",
]
TORCH_FREE += ["command", "dry", "collect", "figures", "tables", "report", "bars", "recorded", "confusion", "show"]
ROOMS = {"read": set(), "figures": {"read"}, "claims": {"read"}, "tables": {"read", "figures", "claims"}}
ROOMS["report"] = {"read", "figures", "tables"}
LONGEST_FILE, MEDIAN_FILE, PROSE_COLUMNS = 300, 110, 100


def named(path: Path) -> str:
    """How a file is called in a test's name, e.g. norms/gn.py."""
    return str(path.relative_to(PACKAGE))


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def files(*parts: str) -> list[Path]:
    return [path for path in FILES if part(path) in parts]


# ------------------------------------------------------------------ reading imports


def module(path: Path) -> str:
    """The dotted name under which a file is imported: normbench.norms for norms/__init__.py."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path) for path in FILES}


@cache
def imports(path: Path, types: bool = True) -> frozenset[str]:
    """The modules of normbench that a file imports. types: also those only for type checkers."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if types else _loaded(tree)
    return frozenset(name for node in nodes for name in _imported(node) if name.split(".")[0] == "normbench")


def _loaded(node: ast.AST) -> Iterator[ast.AST]:
    """As ast.walk, without what stands under `if TYPE_CHECKING`."""
    yield node
    typing = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    for child in node.orelse if typing else ast.iter_child_nodes(node):
        yield from _loaded(child)


def _imported(node: ast.AST) -> list[str]:
    """What a statement imports: `from a import b` is module a.b where there is one, else a."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    assert node.module and not node.level, f"line {node.lineno}: imports are absolute"
    inner = [f"{node.module}.{alias.name}" for alias in node.names]
    return [name if name in MODULES else node.module for name in inner]


def parts_imported(path: Path) -> set[str]:
    """The parts of normbench that a file imports."""
    return {name.split(".")[1] for name in imports(path) if "." in name}


# ------------------------------------------------------------------ the direction of imports


def test_every_part_has_a_level() -> None:
    parts = {part(path) for path in FILES}
    assert not parts - set(LEVEL), "give these a level"
    assert not set(LEVEL) - parts, "these are gone"


def test_the_page_of_the_design_has_every_part_at_its_level() -> None:
    text = (PACKAGE.parent / "docs" / "design.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", text, re.MULTILINE)
    told = {part: int(level) for level, parts in rows for part in re.findall(r"`(\w+)`", parts)}
    assert told == {part: level for part, level in LEVEL.items() if not part.startswith("__")}


@pytest.mark.parametrize("path", files(*LEVEL), ids=named)
def test_lower_never_imports_higher(path: Path) -> None:
    mine = LEVEL[part(path)]
    higher = {name for name in parts_imported(path) if LEVEL.get(name, 99) > mine}
    assert not higher


@pytest.mark.parametrize("path", FILES, ids=named)
def test_no_file_is_in_a_circle_of_imports(path: Path) -> None:
    circle = _circle(module(path))
    assert not circle, " -> ".join(circle)


def _circle(start: str) -> list[str]:
    """The shortest way from a module back to itself, [] where there is none."""
    below = {module(path): sorted(imports(path, types=False) & MODULES) for path in FILES}
    ways, seen = [[start]], {start}
    for way in ways:  # grows: the shorter ways come first
        for name in below[way[-1]]:
            if name == start:
                return [*way, name]
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []


@pytest.mark.parametrize("path", files(*TORCH_FREE), ids=named)
def test_no_torch_where_none_is_needed(path: Path) -> None:
    tree = ast.parse(path.read_text())
    modules = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    modules |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert not [m for m in modules if m.split(".")[0] in ("torch", "torchvision")]


@pytest.mark.parametrize("path", files("study"), ids=named)
def test_study_reads_records_and_nothing_that_trains(path: Path) -> None:
    assert parts_imported(path) <= {"config", "grids", "paths", "records", "study", "hints"}


@pytest.mark.parametrize("path", files("study"), ids=named)
def test_the_report_uses_tables_these_figures_and_all_of_them_what_is_read(path: Path) -> None:
    room = _room(module(path))
    assert room in {*ROOMS, ""}, f"study has {', '.join(ROOMS)}: {named(path)} belongs into one of them"
    others = {_room(name) for name in imports(path)} - {room, ""}
    assert others <= ROOMS.get(room, set())


def _room(name: str) -> str:
    """The room of study that a module is in, "" for study itself and what is outside."""
    return name.split(".")[2] if name.startswith("normbench.study.") else ""


def test_norms_know_no_model_models_no_dataset_train_neither_wandb_nor_hydra() -> None:
    for path in FILES:
        text, where = path.read_text(), part(path)
        if where == "train":
            assert "wandb" not in text.replace("knows neither wandb", "").replace("Knows neither wandb", ""), path
            assert "import hydra" not in text, path
        if where == "models":
            assert "data" not in parts_imported(path), path
        if where == "norms":
            assert "models" not in parts_imported(path), path


def test_the_wheel_has_every_folder_of_the_package() -> None:
    project = (PACKAGE.parent / "pyproject.toml").read_text()
    folders = {".".join(path.parent.relative_to(PACKAGE.parent).parts) for path in FILES}
    assert not [name for name in folders if f'"{name}"' not in project]


# ------------------------------------------------------------------ files that fit into a head


@pytest.mark.parametrize("path", FILES, ids=named)
def test_no_file_is_longer_than_a_reader_holds(path: Path) -> None:
    assert _lines(path) <= LONGEST_FILE


def test_half_of_the_files_are_short() -> None:
    assert statistics.median(map(_lines, FILES)) <= MEDIAN_FILE


@pytest.mark.parametrize("path", FILES, ids=named)
def test_docstrings_and_comments_end_at_100_columns(path: Path) -> None:
    """Code may have 120. A line with a URL may be longer, and one whose comment is for a tool."""
    lines = path.read_text().splitlines()
    prose = sorted(_comments(path) | _docstrings(path))
    long = [f"{n}: {lines[n - 1].strip()}" for n in prose if len(lines[n - 1]) > PROSE_COLUMNS]
    assert not [line for line in long if "://" not in line]


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def _comments(path: Path) -> set[int]:
    """The numbers of the lines with a comment for a reader."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    for_tools = ("# type:", "# fmt:", "# noqa")
    return {t.start[0] for t in tokens if t.type == tokenize.COMMENT and not t.string.startswith(for_tools)}


def _docstrings(path: Path) -> set[int]:
    """The numbers of the lines of strings that stand alone, as docstrings do."""
    alone = (n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Expr))
    strings = (n for n in alone if isinstance(n, ast.Constant) and isinstance(n.value, str))
    return {line for n in strings for line in range(n.lineno, (n.end_lineno or n.lineno) + 1)}
