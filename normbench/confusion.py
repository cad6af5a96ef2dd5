"""What a network takes for what, on a terminal: all of ten classes, the worst of a thousand."""

from collections.abc import Sequence

import pandas as pd
from rich.table import Table
from rich.text import Text

MATRIX = 16  # classes whose confusions fit side by side on a terminal
WORST = 10  # of more classes: so many of them, and so many pairs
MANY = 0.05  # of a class's images: what is worth a reader's eye


def tables(predictions: pd.DataFrame, classes: Sequence[str]) -> list[Table]:
    """The predictions of a test set, as OpenedRun.predictions has them, in one table or two."""
    if len(classes) <= MATRIX:
        return [matrix(predictions, classes)]
    return [worst_classes(predictions, classes), worst_pairs(predictions, classes)]


def matrix(predictions: pd.DataFrame, classes: Sequence[str]) -> Table:
    """A row a label with its error, a column a prediction; nan where the network answers NaN."""
    found = pd.crosstab(predictions["label"], predictions["predicted"])
    shown = [*range(len(classes)), *([-1] if -1 in found else [])]
    counts = found.reindex(index=range(len(classes)), columns=shown, fill_value=0).to_numpy()
    table = Table(title="label \\ predicted", box=None, pad_edge=False, title_justify="left")
    table.add_column("")
    for label in shown:
        table.add_column(_name(classes, label), justify="right")
    table.add_column("error %", justify="right")
    for label, row in enumerate(counts):
        images = int(row.sum())
        cells = [_cell(int(count), images, right=label == other) for other, count in zip(shown, row, strict=True)]
        table.add_row(_name(classes, label), *cells, _pct(images - int(row[label]), images))
    return table


def worst_classes(predictions: pd.DataFrame, classes: Sequence[str]) -> Table:
    """The classes with the largest errors."""
    wrong = (predictions["predicted"] != predictions["label"]).groupby(predictions["label"])
    found = pd.DataFrame({"wrong": wrong.sum(), "images": wrong.size()})
    found["share"] = found["wrong"] / found["images"]
    table = Table(title="the worst classes", box=None, pad_edge=False, title_justify="left")
    table.add_column("label")
    for heading in ("wrong", "images", "error %"):
        table.add_column(heading, justify="right")
    for label, row in found.sort_values("share", ascending=False, kind="stable").head(WORST).iterrows():
        count, images = int(row["wrong"]), int(row["images"])
        table.add_row(_name(classes, label), str(count), str(images), _pct(count, images))
    return table


def worst_pairs(predictions: pd.DataFrame, classes: Sequence[str]) -> Table:
    """The labels that are taken most often for one other class."""
    wrong = predictions[predictions["predicted"] != predictions["label"]]
    pairs = wrong.groupby(["label", "predicted"]).size()
    images = predictions.groupby("label").size()
    shares = pairs / images.reindex(pairs.index.get_level_values("label")).to_numpy()
    table = Table(title="the worst pairs", box=None, pad_edge=False, title_justify="left")
    table.add_column("label")
    table.add_column("taken for")
    table.add_column("images", justify="right")
    table.add_column("of the label's, %", justify="right")
    for label, predicted in shares.sort_values(ascending=False, kind="stable").head(WORST).index:
        count = int(pairs[label, predicted])
        names = _name(classes, label), _name(classes, predicted)
        table.add_row(*names, str(count), _pct(count, int(images[label])))
    return table


def _cell(count: int, images: int, right: bool) -> Text:
    if right:
        return Text(str(count), style="bold")
    if not count:
        return Text("·", style="dim")
    return Text(str(count), style="red" if count >= MANY * images else "")


def _pct(count: int, images: int) -> str:
    return f"{100 * count / images:.2f}" if images else "-"


def _name(classes: Sequence[str], label: object) -> str:
    return classes[label] if isinstance(label, int) and label >= 0 else "nan"
