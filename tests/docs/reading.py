"""The commands that the documents tell their readers to type, taken from their text."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# what a command begins with; "... key=value" stands for one that trains
COMMAND = re.compile(
    r"((?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?(?:python|normbench|torchrun|bash|sbatch|pip|source|eval|wandb|git|pre-commit)\s"
    r"|\.\.\. [-\w/.]+=)"
)
CODE = ("python", "yaml", "toml")  # fences without commands


@dataclass(frozen=True)
class Typed:
    """A command, and where it stands."""

    text: str
    page: str
    line: int

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def commands(text: str, page: str = "") -> list[Typed]:
    """The commands of a page: lines of its code blocks, and what stands in backticks.

    A command ends at two spaces, behind which it is explained; a line that ends in a backslash goes
    on in the next. Everything else in a block is taken for output.
    """
    blocks, prose = _parts(text)
    found = []
    for at, line in _whole_lines(blocks):
        if COMMAND.match(typed := re.split(r"\s{2,}", line.strip().removeprefix("$ "))[0] + " "):
            found.append(Typed(typed.strip(), page, at))
    row = 0  # the last line with a "... key=value": what else stands there is the same with other keys
    for span in re.finditer(r"`([^`]+)`", prose):
        typed, at = " ".join(span[1].split()), prose.count("\n", 0, span.start()) + 1
        if at == row and re.match(r"[\w/.]+=\S", typed):
            typed = f"... {typed}"
        if COMMAND.match(typed + " ") and " " in typed:
            found.append(Typed(typed, page, at))
            row = at if typed.startswith("... ") else row
    return found


def _parts(text: str) -> tuple[dict[int, str], str]:
    """The lines of code blocks by number, and the text with those lines empty."""
    code: dict[int, str] = {}
    prose: list[str] = []
    fence, before = "", ""
    for at, line in enumerate(text.splitlines(), 1):
        opens_or_closes = line.lstrip().startswith("```")
        indented = line.startswith("    ") and (not before.strip() or at - 1 in code)
        if opens_or_closes:
            fence = "" if fence else line.strip(" `") or "text"
        elif (fence or indented) and fence not in CODE:
            code[at] = line
        is_prose = not (opens_or_closes or fence or indented)
        prose.append(line if is_prose else "")
        before = line
    return code, "\n".join(prose)


def _whole_lines(blocks: dict[int, str]) -> Iterator[tuple[int, str]]:
    """The lines, those that end in a backslash joined with what follows."""
    begun, start = "", 0
    for at, line in blocks.items():
        start = start if begun else at
        joined = f"{begun}{line.strip() if begun else line}"
        if joined.endswith("\\"):
            begun = joined[:-1]
        else:
            begun = ""
            yield start, joined


def examples(text: str) -> set[str]:
    """The norms, networks and data sets that a page itself makes up, in a package or a yaml.

    They are there once its example is installed, which is another test's business.
    """
    groups = re.findall(r'entry-points\."normbench\.\w+"\]\n((?:\w+ = .*\n)+)', text)
    offered = {name for lines in groups for name in re.findall(r"^(\w+) =", lines, re.MULTILINE)}
    files = re.findall(r"conf/(norm|model|data)/(\w+)\.yaml", text)
    return offered | {name for group, name in files if not (ROOT / "conf" / group / f"{name}.yaml").exists()}
