"""How each norm looks in every figure: its colour, marker, line and name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import matplotlib
from matplotlib.colors import to_hex, to_rgb

LineStyle = Literal["", "-", "--", ":"] | tuple[float, Sequence[float]]  # matplotlib's


@dataclass(frozen=True)
class Look:
    """Colour, marker and line each tell a norm: print and colour-blind eyes lose nothing."""

    color: str
    marker: str
    line: LineStyle
    name: str  # as written in a legend


def shaded(color: str, by: float) -> str:
    """A colour darker by a part; below 0 lighter, by that part of what it lacks of white."""
    red, green, blue = (channel * (1 - by) if by > 0 else channel - by * (1 - channel) for channel in to_rgb(color))
    return to_hex((red, green, blue))


# Okabe & Ito's colours. BN blue, GN red as in the GN paper.
_BLUE, _RED, _GREEN, _ORANGE = "#0072b2", "#d55e00", "#009e73", "#e69f00"
# Their yellow is too light for a line: this one is darker.
_SKY, _PURPLE, _BLACK, _YELLOW = "#56b4e9", "#cc79a7", "#000000", "#a39a00"
_VIOLET, _INDIGO = "#6a3d9a", "#3f51b5"
_SOLID: LineStyle = "-"
_DOT: LineStyle = ":"
_DASH = (0, (4.0, 1.5))
_LONG, _DOTDASH, _SHORT = (0, (7.0, 2.0)), (0, (5.0, 1.5, 1.0, 1.5)), (0, (1.8, 1.2))

# A family has a hue, and each of its members a shade of it; marker and line tell them apart too.
# Every marker has a face, since an open one is of a single seed; a cross is of what diverged.
_LOOKS = {
    "bn": Look(_BLUE, "o", _SOLID, "BN"),
    "gn": Look(_RED, "s", _SOLID, "GN"),
    "ln": Look(_GREEN, "^", _LONG, "LN"),
    "in": Look(_PURPLE, "v", _DOTDASH, "IN"),
    "syncbn": Look(shaded(_SKY, 0.25), ">", _LONG, "SyncBN"),
    "frozen": Look(shaded(_SKY, -0.45), "P", _DOT, "frozen BN"),
    "none": Look("#5a5a5a", "X", _DOT, "no norm"),
    "brn": Look(_ORANGE, "D", _DASH, "Batch Renorm"),
    "cbn": Look(_BLACK, "*", _SOLID, "CBN"),
    "cbn_naive": Look(_SKY, "X", _SHORT, "naive CBN"),
    "cmbn": Look("#3d3d3d", "p", _DOTDASH, "CmBN"),
    "mabn": Look(shaded(_PURPLE, 0.3), "h", _SOLID, "MABN"),
    "powernorm": Look(shaded(_PURPLE, -0.45), "<", _DOT, "PowerNorm"),
    "frn": Look(shaded(_GREEN, 0.4), "P", _DOTDASH, "FRN"),
    "evonorm_b0": Look(shaded(_YELLOW, 0.45), "<", _SHORT, "EvoNorm-B0"),
    "evonorm_s0": Look(_YELLOW, "d", _SOLID, "EvoNorm-S0"),
    "sn": Look(shaded(_ORANGE, 0.3), "p", _SOLID, "Switchable"),
    "bcn": Look(shaded(_SKY, 0.5), "H", _SOLID, "BCN"),
    "bgn": Look(shaded(_RED, -0.3), "h", _DOTDASH, "Batch Group"),
    "group_batch": Look(shaded(_RED, 0.65), "X", _DASH, "group batch"),
    "ebn": Look(_INDIGO, "d", _DOTDASH, "Extended BN"),
    "bn_ws": Look(shaded(_BLUE, 0.65), "8", _DASH, "BN + WS"),
    "gn_ws": Look(shaded(_RED, 0.35), "8", _SHORT, "GN + WS"),
    "ln_ws": Look(shaded(_GREEN, -0.45), "<", _SHORT, "LN + WS"),
    "in_ws": Look(_VIOLET, ">", _SHORT, "IN + WS"),
    "wn": Look(shaded(_ORANGE, -0.45), ">", _DOT, "Weight Norm"),
    "scn": Look(shaded(_YELLOW, -0.25), "8", _LONG, "scaled WS"),
    "lrn": Look("#787878", "D", _LONG, "LRN"),
}
_SPARE_COLORS = (_GREEN, _ORANGE, _PURPLE, _SKY, _YELLOW, _BLACK)
_SPARE_MARKERS = ("p", ">", "<", "H", "8", "D", "^")
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
    """Looks from dark to light, which print keeps, for what has an order, as batch sizes.

    Their hues differ too, from violet over teal to green: shades of grey alone are one colour.
    """
    scale = matplotlib.colormaps["viridis"]
    # Up to 0.85 alone: the yellow end of the scale is too pale.
    colors = [to_hex(scale(0.85 * i / max(len(names) - 1, 1))) for i in range(len(names))]
    n = len(_SHADE_LINES)
    return [
        Look(color, _SHADE_MARKERS[i % n], _SHADE_LINES[i % n], name)
        for i, (color, name) in enumerate(zip(colors, names, strict=True))
    ]
