"""The page of all norms, docs/norms.md, anew: python scripts/norms_page.py

Formula, symbols and paper are the layers' docstrings, options the yamls of conf/norm, times the
table of docs/cost.md, errors results/reference/summary.md. Norms of installed packages are left
out. A test holds the committed page to what this writes.
"""

import inspect
import re
import sys
from pathlib import Path

from normbench import norms, plugins
from normbench.norms import Norm, RunningNorm
from normbench.norms.__main__ import short
from normbench.study.figures.looks import looks_of

ROOT = Path(__file__).resolve().parents[1]
PAGE, COST, SUMMARY = (
    ROOT / "docs" / "norms.md",
    ROOT / "docs" / "cost.md",
    ROOT / "results" / "reference" / "summary.md",
)
BATCHES = ("32", "2")  # images per worker whose errors are shown
NO_FORMULA = ("Shapes", "Paper", "Raises")  # what the paragraphs after the formula and its symbols begin with

HEAD = """\
<!-- Written by scripts/norms_page.py: change the docstrings, conf/norm, docs/cost.md or results/reference instead. -->
# Norms

`norm=NAME` chooses a layer and `norm.OPTION=VALUE` sets one of its options, everywhere:

    normbench norm=gn norm.groups=8 batch=2          a run
    normbench -m norm=gn norm.groups=1,2,4 batch=2   a sweep over an option
    normbench norms                                  the list, with installed packages' norms
    normbench norms mabn                             one in full: shapes, paper against code

- **time**: forward and backward of the layer with its ReLU on a CPU, as a ratio to `nn.BatchNorm2d` + ReLU, on 32 x 256 x 14 x 14
  images and one thread ([how it was measured](cost.md#what-a-norm-and-the-loop-cost)).
- **error at 32, at 2**: top-1 error in percent at so many images per worker, mean ± sd (number of seeds), of
  [the reference runs](../results/reference/summary.md): {setting}. One small network on one small data set:
  it ranks nothing elsewhere.
- **batch-free**: the output of an image depends on that image alone.

"""


def page() -> str:
    """The whole page."""
    names = plugins.builtin()
    times, errors = _times(), _errors()
    rows = [
        "| norm | one statistic is over | batch-free | time | error at 32 | at 2 |",
        "|---|---|---|---:|---:|---:|",
    ]
    for name in names:
        layer = norms.layer(name)
        free = "yes" if layer.batch_free else ""
        cells = (f"[{name}](#{name}): {_label(name)}", layer.over, free, times[name], *errors[name])
        rows.append(f"| {' | '.join(cells)} |")
    return HEAD.format(setting=_setting()) + "\n".join([*rows, "", *map(_entry, names)])


def _entry(name: str) -> str:
    """One norm: what it is, formula and symbols, options."""
    layer = norms.layer(name)
    first = _paragraphs(layer)[0]
    paper = layer.paper if layer.paper not in first else ""
    title = ", ".join(filter(None, (f"**{_label(name)}**", paper, "batch-free" if layer.batch_free else "")))
    lines = [f"## {name}", "", f"{title}. {first}", ""]
    if formula := _formula(layer):
        lines += ["```text", formula, "```", ""]
    if options := plugins.options(name):
        lines += ["| option | default | meaning |", "|---|---|---|"]
        schema, meanings = plugins.schema(name), plugins.meanings(name)
        lines += [f"| `norm.{key}` | `{short(schema[key])}` | {_cell(' '.join(meanings[key]))} |" for key in options]
        lines.append("")
    return "\n".join(lines)


def _formula(layer: type[Norm]) -> str:
    """The formula with its symbols; of a layer made of others, theirs."""
    own = _body(layer)
    bodies = [own, *(_body(cls) for cls in _made_of(layer) if not _has_formula(own))]
    return "\n\n".join(text for body in bodies if body is own or _has_formula(body) for text in body)


def _made_of(layer: type[Norm]) -> list[type]:
    """Its bases of this package, and the classes that its docstring's first paragraph names."""
    named = (vars(sys.modules[layer.__module__]).get(word) for word in re.findall(r"\w+", _paragraphs(layer)[0]))
    found = [*layer.__mro__[1:], *(cls for cls in named if isinstance(cls, type))]
    ours = (cls for cls in found if cls.__module__.startswith("normbench.") and cls not in (Norm, RunningNorm))
    return list(dict.fromkeys(ours))


def _has_formula(body: list[str]) -> bool:
    return any(text.startswith(" ") for text in body)


def _body(cls: type) -> list[str]:
    """The paragraphs of a docstring behind its first, up to the shapes."""
    found = _paragraphs(cls)[1:]
    ends = (at for at, text in enumerate(found) if text.startswith(NO_FORMULA))
    return found[: next(ends, len(found))]


def _paragraphs(cls: type) -> list[str]:
    return inspect.cleandoc(cls.__doc__ or "").split("\n\n")


def _label(name: str) -> str:
    """As figures and tables write it."""
    return looks_of([name])[name].name


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


# ---------------------------------------------------------------------------- numbers


def _times() -> dict[str, str]:
    """The first column of docs/cost.md's table of norms, by name; a dash where it has none."""
    rows = (line.strip("|").split("|") for line in COST.read_text().splitlines() if line.startswith("|"))
    found = {cells[0].split("(")[0].strip(): cells[1].strip() for cells in rows if len(cells) > 1}
    return {name: found.get(name, "-") for name in plugins.builtin()}


def _errors() -> dict[str, list[str]]:
    """The reference runs' errors at BATCHES by norm; dashes where there is no run."""
    lines = [line.strip("|").split("|") for line in SUMMARY.read_text().splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in cells] for cells in lines]
    at = [rows[0].index(batch) for batch in BATCHES]
    by_label = {cells[0]: [_whole(cells[i]) or "-" for i in at] for cells in rows[2:]}
    return {name: by_label.get(_label(name), ["-"] * len(BATCHES)) for name in plugins.builtin()}


def _whole(text: str) -> str:
    """With spaces at which no line ends, up to the number of seeds."""
    return text.replace(" ± ", "\u00a0±\u00a0").replace(" (", "\u00a0(")


def _setting() -> str:
    """Network, data and SGD batch of the reference runs, as their caption says them."""
    found = re.search(r"images per worker, (.*?), the ", SUMMARY.read_text())
    assert found, f"{SUMMARY} does not say of which runs it is"
    return found[1]


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
