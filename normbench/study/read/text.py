"""Text out of a record as it may be shown: none of its characters acts where it is shown."""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what a sweep prints is text too, and it has no need of pandas
    import pandas as pd

# Control codes, among them the escape that starts a terminal's commands; what ends a line; what
# turns the direction of the letters around it; halves of characters that no encoding can write.
_ACTIVE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_text(text: str) -> str:
    """One line of text with its control codes written out: an escape is the four letters \\x1b."""
    return _ACTIVE.sub(_written_out, text)


def as_lines(text: str) -> str:
    """The same for text of several lines, which stay lines."""
    return "\n".join(map(as_text, text.split("\n")))


def as_label(text: str) -> str:
    """The same for matplotlib, which takes what stands between two dollars for mathematics."""
    return as_text(text).replace("$", r"\$")


def as_cells(table: "pd.DataFrame") -> "pd.DataFrame":
    """A table for CSV, no cell of which a spreadsheet takes for a formula; numbers stay numbers."""
    from pandas.api.types import is_numeric_dtype

    words = [name for name in table if not is_numeric_dtype(table[name])]
    safe = table.assign(**{str(name): table[name].map(_as_cell) for name in words})
    return safe.rename(columns=_as_cell)


def _as_cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _written_out(found: "re.Match[str]") -> str:
    return found.group().encode("unicode_escape").decode()
