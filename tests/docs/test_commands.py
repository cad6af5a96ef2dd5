"""Every command in README.md, CONTRIBUTING.md and docs/ is one that works.

A command that trains is composed to its runs, as --dry does, and not trained; of another, the
arguments are parsed, and the names among them looked up. So what needs a GPU, a cluster, the
network or an hour is checked up to where it would begin. Nothing is looked up in results/.
"""

import argparse
import ast
import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from reading import PAGES, ROOT, Typed, commands, examples

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from normbench import cli, compose, launch, plugins, tables, usage
from normbench.compose import composed, planned, run_of
from normbench.config import ConfigError
from normbench.study.figures.by_name import FIGURES
from normbench.study.read import experiments

NOT_CHECKED = {  # by how they begin, with the reason
    "source ": "changes the reader's shell",
    "eval ": "changes the reader's shell",
    "wandb ": "talks to W&B's server",
    "git ": "fetches the repository",
    ".venv/bin/pre-commit ": "is no dependency of the project",
}
STANDS_FOR = {"experiment=NAME": "experiment=gn_fig1", "norm=NAME": "norm=gn", "figures NAME": "figures gn_fig1"}
TYPED = [typed for page in PAGES for typed in commands(page.read_text(), str(page.relative_to(ROOT)))]
ONCE = list({typed.text: typed for typed in reversed(TYPED)}.values())


class Parsed(Exception):
    """Ends a command behind its parser, and holds what it found."""


@pytest.fixture(autouse=True)
def _stop_behind_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("parse_args", "parse_intermixed_args"):
        monkeypatch.setattr(argparse.ArgumentParser, name, _stopping_behind(getattr(argparse.ArgumentParser, name)))


def _stopping_behind(parse: Callable[..., argparse.Namespace]) -> Callable[..., None]:
    def parse_and_stop(parser: argparse.ArgumentParser, *arguments: Any) -> None:
        raise Parsed(parse(parser, *arguments))

    return parse_and_stop


@pytest.mark.parametrize("typed", ONCE, ids=str)
def test_a_documented_command_works(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := next((reason for begin, reason in NOT_CHECKED.items() if typed.text.startswith(begin)), ""):
        pytest.skip(reason)
    check(typed.text, examples((ROOT / typed.page).read_text()))


# ---------------------------------------------------------------------------- one command


def check(text: str, made_up: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Raises for a command that would not work; made_up: names that exist in an example only."""
    for name, one in STANDS_FOR.items():
        text = text.replace(name, one)
    words = shlex.split(re.split(r" [|>;] ?", text)[0], comments=True)
    while re.fullmatch(r"[A-Z_]+=\S+", words[0]):
        words = words[1:]
    program, rest = words[0].removeprefix(".venv/bin/"), words[1:]
    if program == "...":
        sweep = any("," in word or word.startswith("hydra/launcher=") for word in rest)
        check_run([*(["-m"] if sweep and "-m" not in rest else []), *rest], made_up)
    elif program == "normbench":
        check_normbench(rest, made_up)
    elif program == "torchrun":
        check_torchrun(rest, made_up)
    elif program in ("bash", "sbatch"):
        check_script([word for word in rest if program == "bash" or not word.startswith("--")], made_up)
    elif program == "pip":
        check_extras(rest)
    else:
        assert program == "python", f"{program}: what is this?"
        check_python(rest, made_up)


def check_normbench(arguments: list[str], made_up: set[str]) -> None:
    """One of its commands, or a run."""
    if arguments and arguments[0] in cli.COMMANDS:
        check_command(arguments[0], arguments[1:], made_up)
    else:
        check_run(arguments, made_up)


def check_run(arguments: list[str], made_up: set[str]) -> None:
    """Composes what `normbench` would train, or shows what it was asked for."""
    overrides = [word for word in arguments if "=" in word and not word.startswith("-")]
    if any(word.split("=")[1] in made_up for word in overrides):
        overrides = [word for word in overrides if word.split("=")[1] not in made_up and not word.startswith("norm.")]
    if "--help" in arguments:
        assert usage.text(overrides)
    elif any(word in cli.HYDRA_FLAGS for word in arguments):
        cli._check_flags(arguments)
        assert composed([word for word in overrides if not word.startswith("install=")])
    else:
        flags = [word for word in arguments if "=" not in word]
        assert set(flags) <= {"-m", "--multirun", "--dry"}, f"{flags}: no flags of normbench"
        engine = launch.chosen(overrides)
        if "-m" in flags or "--multirun" in flags:
            assert _planned(tuple(word for word in overrides if not re.match(r"\+*hydra[./]", word)))
            with compose.hydra_here():
                assert compose._compose([word for word in overrides if re.match(r"\+*hydra[./]", word)], hydra_too=True)
        else:
            assert engine == "basic", "an engine launches a sweep"
            assert run_of(overrides, files=False)


@cache
def _planned(overrides: tuple[str, ...]) -> bool:
    """Composes a sweep, at one of its seeds: the others differ in nothing that could be wrong."""
    return bool(planned([*(word for word in overrides if not word.startswith("seed=")), "seed=0"], files=False))


def check_torchrun(words: list[str], made_up: set[str]) -> None:
    from torch.distributed.run import get_args_parser

    with pytest.raises(Parsed) as found:
        get_args_parser().parse_args(words)
    options = found.value.args[0]
    assert options.module and options.training_script == "normbench"
    check_run(options.training_script_args, made_up)


def check_script(words: list[str], made_up: set[str]) -> None:
    """A shell script: it is there, bash can read it, and what it hands on works."""
    path, arguments = ROOT / words[0], words[1:]
    subprocess.run(["bash", "-n", str(path)], check=True)
    if path.name == "slurm.sh":
        check_run(["-m", f"experiment={arguments[0]}", "hydra/launcher=slurm", *arguments[1:]], made_up)
    elif path.name == "multi_node.sh":
        check_run(arguments, made_up)
    elif path.name == "test.sh":
        paths = [word for before, word in pairwise(["", *arguments]) if before not in ("-m", "-k") and word[0] != "-"]
        assert all((ROOT / word.split("::")[0]).exists() for word in paths)
    elif path.name == "reference.sh":
        assert len(arguments) <= 1
    elif path.name == "docs.sh":
        assert arguments in ([], ["serve"])
    else:
        assert not arguments, f"{path.name} takes none"


def check_extras(words: list[str]) -> None:
    """pip install: of the project's extras only those that there are."""
    there = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = [
        name for word in words for found in re.findall(r"(?:normbench|\.)\[(.*)\]", word) for name in found.split(",")
    ]
    assert not set(asked) - set(there)


def check_python(words: list[str], made_up: set[str]) -> None:
    if words[0] == "-c":
        imported = [node for node in ast.walk(ast.parse(words[1])) if isinstance(node, ast.ImportFrom)]
        assert all(
            hasattr(importlib.import_module(str(node.module)), name.name) for node in imported for name in node.names
        )
    elif words[0] == "-m" and words[1] == "pip":
        check_extras(words[2:])
    elif words[0] == "-m" and words[1] == "normbench":
        check_normbench(words[2:], made_up)
    elif words[0] == "-m":
        assert words[1].startswith("normbench."), f"{words[1]}: what is this?"
        check_command(words[1].removeprefix("normbench."), words[2:], made_up)
    else:
        path = ROOT / words[0]
        check_arguments(_loaded(path.stem, str(path)), words[1:])


def check_command(name: str, arguments: list[str], made_up: set[str]) -> None:
    """`normbench <name>`: its arguments are parsed, the names among them are there."""
    if name == "norms":
        assert set(arguments) <= {*plugins.builtin(), *made_up}
        return
    options = check_arguments(importlib.import_module(f"normbench.{name}"), arguments)
    names = [word for word in getattr(options, "what", []) if "=" not in word]
    if name == "profile":
        assert _planned(tuple(options.overrides))
    elif name == "collect":
        assert all(experiments.read(word) for word in names)
    else:
        assert set(names) <= set({"figures": FIGURES, "tables": tables.NAMES}.get(name, ()))


def check_arguments(module: ModuleType, arguments: list[str]) -> argparse.Namespace:
    """What a command's own parser makes of them; one without a parser takes none."""
    if "parser(" not in Path(str(module.__file__)).read_text().lower():  # argparse's, or one of command.py
        assert not arguments
        return argparse.Namespace()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Parsed) as found:
        patch.setattr(sys, "argv", [str(module.__file__), *arguments])
        module.main()
    options: argparse.Namespace = found.value.args[0]
    return options


def _loaded(name: str, path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---------------------------------------------------------------------------- that it can fail


def test_every_page_has_commands() -> None:
    pages = {typed.page for typed in TYPED}
    assert {
        "README.md",
        "CONTRIBUTING.md",
        "docs/figures.md",
        "docs/cluster.md",
        "docs/cost.md",
        "docs/norms.md",
    } <= pages


def test_commands_are_found_where_they_stand() -> None:
    text = """
Type `normbench norm=gn` or `... batch=2`, in `python`:

    normbench norm=bn     what it does
        norm=gn
    $ bash scripts/slurm.sh gn_fig1 \\
        batch=2
    a line of output

```
torchrun --nproc_per_node=4 -m normbench
```
```python
python -m this_is_code
```
"""
    found = [
        "normbench norm=bn",
        "bash scripts/slurm.sh gn_fig1 batch=2",
        "torchrun --nproc_per_node=4 -m normbench",
    ]
    assert [typed.text for typed in commands(text)] == [*found, "normbench norm=gn", "... batch=2"]
    assert [typed.line for typed in commands(text)] == [4, 6, 11, 2, 2]


@pytest.mark.parametrize(
    "wrong",
    [
        "normbench nrom=gn",
        "normbench norm=bn,gn",
        "normbench norm=bn hydra/launcher=joblib",
        "normbench -m norm=bn,gx",
        "normbench -m norm=bn hydra/launcher=joblib hydra.launcher.n_job=2",
        "normbench --dri",
        "normbench --cfg jobs",
        "... recipe.epoch=3",
        "torchrun --nproc_per_nodes=4 -m normbench",
        "torchrun --nproc_per_node=4 -m normbench norm=x",
        "bash scripts/demos.sh",
        "bash scripts/slurm.sh gn_fig11",
        "sbatch scripts/multi_node.sh norm=x",
        "normbench figures gn_fig11",
        "normbench figures gn_fig1 --ruins here",
        "normbench tables gn_table9",
        "normbench collect --missing gn_fig11",
        "normbench profile norm=bn,gx",
        "normbench norms gx",
        "normbench figures nothing",
        "python scripts/bench_norms.py --turns 3",
        "python -c 'from normbench.testing import check_nrom'",
        "pip install 'normbench[slrum]'",
    ],
)
def test_a_command_that_would_not_work_is_found(wrong: str) -> None:
    with pytest.raises((ConfigError, AssertionError, ImportError, SystemExit, subprocess.CalledProcessError)):
        check(wrong)
