"""How each norm looks in every figure: its colour, marker, line and name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import matplotlib
from matplotlib.colors import to_hex

LineStyle = Literal["", "-", "--", ":"] | tuple[float, Sequence[float]]  # matplotlib's


@dataclass(frozen=True)
class Look:
    """Colour, marker and line each tell a norm: print and colour-blind eyes lose nothing."""

    color: str
    marker: str
    line: LineStyle
    name: str  # as written in a legend


# Okabe & Ito's colours. BN blue, GN red as in the GN paper.
_BLUE, _RED, _GREEN, _ORANGE = "#0072b2", "#d55e00", "#009e73", "#e69f00"
# Their yellow is too light for a line: this one is darker.
_SKY, _PURPLE, _BLACK, _YELLOW = "#56b4e9", "#cc79a7", "#000000", "#b5a600"
_SOLID: LineStyle = "-"
_DOT: LineStyle = ":"
_DASH = (0, (4.0, 1.5))
_LONG, _DOTDASH, _SHORT = (0, (7.0, 2.0)), (0, (5.0, 1.5, 1.0, 1.5)), (0, (1.8, 1.2))

# A family shares a colour; marker and line tell its members apart.
_LOOKS = {
    "bn": Look(_BLUE, "o", _SOLID, "BN"),
    "gn": Look(_RED, "s", _SOLID, "GN"),
    "ln": Look(_GREEN, "^", _LONG, "LN"),
    "in": Look(_PURPLE, "v", _DOTDASH, "IN"),
    "syncbn": Look(_SKY, ">", _LONG, "SyncBN"),
    "frozen": Look(_SKY, "P", _DOT, "frozen BN"),
    "none": Look(_BLACK, "x", _DOT, "no norm"),
    "brn": Look(_ORANGE, "D", _DASH, "Batch Renorm"),
    "cbn": Look(_BLACK, "*", _SOLID, "CBN"),
    "cbn_naive": Look(_SKY, "X", _SHORT, "naive CBN"),
    "cmbn": Look(_BLACK, "p", _DOTDASH, "CmBN"),
    "mabn": Look(_PURPLE, "h", _SOLID, "MABN"),
    "powernorm": Look(_PURPLE, "<", _DOT, "PowerNorm"),
    "frn": Look(_GREEN, "P", _DOTDASH, "FRN"),
    "evonorm_b0": Look(_YELLOW, "<", _SHORT, "EvoNorm-B0"),
    "evonorm_s0": Look(_YELLOW, "d", _SOLID, "EvoNorm-S0"),
    "sn": Look(_ORANGE, "p", _SOLID, "Switchable"),
    "bcn": Look(_SKY, "H", _SOLID, "BCN"),
    "bgn": Look(_RED, "h", _DOTDASH, "Batch Group"),
    "group_batch": Look(_RED, "X", _DASH, "group batch"),
    "ebn": Look(_BLUE, "d", _DOTDASH, "Extended BN"),
    "bn_ws": Look(_BLUE, "8", _DASH, "BN + WS"),
    "gn_ws": Look(_RED, "8", _SHORT, "GN + WS"),
    "ln_ws": Look(_GREEN, "<", _SHORT, "LN + WS"),
    "in_ws": Look(_PURPLE, ">", _SHORT, "IN + WS"),
    "wn": Look(_ORANGE, ">", _DOT, "Weight Norm"),
    "scn": Look(_YELLOW, "8", _LONG, "scaled WS"),
    "lrn": Look(_BLACK, "1", _LONG, "LRN"),
}
_SPARE_COLORS = (_GREEN, _ORANGE, _PURPLE, _SKY, _YELLOW, _BLACK)
_SPARE_MARKERS = ("p", ">", "<", "H", "8", "1", "2")
_SHADE_MARKERS = ("o", "s", "^", "D", "v", "P")
_SHADE_LINES: tuple[LineStyle, ...] = (_SOLID, _DASH, _DOTDASH, _SHORT, _DOT, _LONG)


def looks_of(labels: list[str], marks: Mapping[str, str] | None = None) -> dict[str, Look]:
    """The look of each norm label.

    A label without a look of its own (gn-groups8, a new norm) gets a spare one, by its place among
    such labels in alphabetical order. marks: what follows the names of some, as origin.marks has
    it.
    """
    found: dict[str, Look] = {}
    strangers = sorted({label for label in labels if label not in _LOOKS})
    for place, label in enumerate(strangers):
        name, _, options = label.partition("-")
        known = _LOOKS[name].name if name in _LOOKS else name
        color = _SPARE_COLORS[place % len(_SPARE_COLORS)]
        marker = _SPARE_MARKERS[place % len(_SPARE_MARKERS)]
        found[label] = Look(color, marker, _DOTDASH, f"{known} {options}".strip())
    looks = {label: _LOOKS[label] if label in _LOOKS else found[label] for label in labels}
    marked = {label: mark for label, mark in (marks or {}).items() if label in looks}
    return looks | {label: replace(looks[label], name=looks[label].name + mark) for label, mark in marked.items()}


def look_of(label: str) -> Look:
    """The look of one norm label among no others."""
    return looks_of([label])[label]


def shades(names: list[str]) -> list[Look]:
    """Looks from dark to light, which print keeps, for what has an order, as batch sizes."""
    scale = matplotlib.colormaps["cividis"]
    # Up to 0.8 alone: the yellow end of the scale is too pale.
    colors = [to_hex(scale(0.8 * i / max(len(names) - 1, 1))) for i in range(len(names))]
    n = len(_SHADE_LINES)
    return [
        Look(color, _SHADE_MARKERS[i % n], _SHADE_LINES[i % n], name)
        for i, (color, name) in enumerate(zip(colors, names, strict=True))
    ]
