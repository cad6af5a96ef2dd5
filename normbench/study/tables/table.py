"""A table: its numbers for programs, its text for readers, and how both are written."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from normbench.study.read.text import as_cells, as_text

_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "≥": r"$\geq$", "†": r"\dag{}", "−": "$-$",
}  # fmt: skip
ONE_COLUMN = 45  # letters
SENTENCE = r"p{7cm}"
FITTED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%" + "\n"


@dataclass(frozen=True)
class Table:
    """One row for each thing compared.

    text: as written, its index the first column. numbers: the same, unrounded but for the tail of a
    binary difference. shown: the part of the text that a terminal shows, where it is not all.
    """

    name: str
    text: pd.DataFrame
    numbers: pd.DataFrame
    caption: str
    experiment: str  # that fills what is missing
    missing: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    of: list[str] = field(default_factory=list)  # what the runs in it are of, as it is typed
    sentences: tuple[str, ...] = ()  # columns of prose: to the left, and in lines of several
    fill: dict[str, list[str]] = field(default_factory=dict)  # by row, commands for what it lacks
    shown: pd.DataFrame | None = None

    def write(self, folder: Path) -> list[Path]:
        """<name>.md, .csv and .tex: the same numbers, the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        texts = {"md": self.markdown(), "csv": _csv(self.numbers), "tex": self.latex()}
        written = []
        for kind, text in texts.items():
            path = folder / f"{self.name}.{kind}"
            path.write_text(text, encoding="utf-8")
            written.append(path)
        return written

    def markdown(self) -> str:
        sides = ["---" if head in self.sentences else "---:" for head in self.text]
        rows = [[str(self.text.index.name), *map(str, self.text.columns)], ["---", *sides]]
        rows += [[str(at), *map(str, texts)] for at, texts in self._rows()]
        body = "".join("| " + " | ".join(_md(text) for text in row) + " |\n" for row in rows)
        fill = "".join(f"- {_md(row)}: `{line}`\n" for row, lines in self.fill.items() for line in lines)
        return f"{body}\n{self.caption}\n" + (f"\nWhat trains the rest:\n\n{fill}" if fill else "")

    def latex(self) -> str:
        """No wider than its line, or across both columns; needs booktabs and graphicx."""
        letters = [[len(str(text)) for text in (head, *self.text[head])] for head in self.text]
        wide = sum(map(max, letters)) + max(map(len, map(str, self.text.index)), default=0) > ONE_COLUMN
        escaped = pd.DataFrame(
            [[tex(text) for text in texts] for _, texts in self._rows()],
            index=pd.Index([tex(at) for at in self.text.index], name=tex(self.text.index.name)),
            columns=[tex(column) for column in self.text.columns],
        ).reset_index()
        body: str = escaped.style.hide(axis="index").to_latex(
            hrules=True, column_format="l" + "".join(map(self._side, self.text)), caption=tex(self.caption),
            label=f"tab:{self.name}", position="t", position_float="centering", environment="table*" if wide else "table",
        )  # fmt: skip
        return body.replace(r"\begin{tabular}", FITTED + r"\begin{tabular}").replace(
            r"\end{tabular}", r"\end{tabular}}"
        )

    def _side(self, head: object) -> str:
        return SENTENCE if head in self.sentences else "r"

    def _rows(self) -> list[tuple[object, tuple[object, ...]]]:
        return list(zip(self.text.index, self.text.itertuples(index=False, name=None), strict=True))


def tex(text: object) -> str:
    """Text with LaTeX's own characters escaped; a row may begin with [ or *, which \\\\ would
    take."""
    escaped = re.sub("|".join(map(re.escape, _TEX)), lambda found: _TEX[found.group()], as_text(str(text)))
    return "{}" + escaped if escaped.startswith(("[", "*")) else escaped


def _md(text: str) -> str:
    """Text in a cell of Markdown, where HTML would be HTML."""
    return as_text(text).replace("|", r"\|").replace("<", "&lt;")


def _csv(numbers: pd.DataFrame) -> str:
    text: str = as_cells(numbers.round(9)).to_csv(index=False)
    return text
