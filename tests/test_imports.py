"""The import direction of the house: lower never imports higher, and what needs no torch imports none."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "normbench"
LEVEL = {  # a part imports from its own level and below
    "config": 0, "hints": 0, "paths": 0, "slurm": 0, "records": 0, "checks": 1, "plugins": 1, "compose": 1,
    "study": 1, "parallel": 2, "norms": 3, "data": 3, "models": 4, "train": 5, "tracker": 6, "progress": 6, "testing": 6,
    "execute": 7, "usage": 7, "profile": 7, "dry": 7, "launch": 7, "cli": 8,
}  # fmt: skip
TORCH_FREE = ("config", "hints", "paths", "slurm", "records", "checks", "plugins", "compose", "usage", "dry", "study")


def imports(path: Path) -> set[str]:
    """The parts of normbench that a file imports, at its top or inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{a.name}" if node.module == "normbench" else node.module for a in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("normbench.")}
    return found


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", [f for f in FILES if part(f) in LEVEL], ids=lambda p: str(p.relative_to(PACKAGE)))
def test_lower_never_imports_higher(path: Path) -> None:
    mine = LEVEL[part(path)]
    higher = {name for name in imports(path) if LEVEL.get(name, 9) > mine and name != "__version__"}
    assert not higher


@pytest.mark.parametrize("path", [f for f in FILES if part(f) in TORCH_FREE], ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_torch_where_none_is_needed(path: Path) -> None:
    tree = ast.parse(path.read_text())
    modules = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    modules |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert not [m for m in modules if m.split(".")[0] in ("torch", "torchvision")]


@pytest.mark.parametrize("path", [f for f in FILES if part(f) == "study"], ids=lambda p: p.name)
def test_study_reads_records_and_nothing_that_trains(path: Path) -> None:
    assert imports(path) <= {"config", "paths", "records", "study", "hints"}


def test_norms_know_no_model_models_no_dataset_train_neither_wandb_nor_hydra() -> None:
    for path in FILES:
        text, where = path.read_text(), part(path)
        if where == "train":
            assert "wandb" not in text.replace("knows neither wandb", "").replace("Knows neither wandb", ""), path
            assert "import hydra" not in text, path
        if where == "models":
            assert "data" not in imports(path), path
        if where == "norms":
            assert "models" not in imports(path), path
