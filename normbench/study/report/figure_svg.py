"""Matplotlib's figures inside the report's page, made to follow its light and its dark look.

Neutral colours become mixtures of the page's ink and paper, so that what is black on white by day
is light on dark by night. A norm's colour stays its own, mixed with some ink in the dark.
"""

import io
import re

from markupsafe import Markup, escape
from matplotlib.figure import Figure

from normbench.study.figures import style


def inline(figure: Figure, name: str, alt: str) -> Markup:
    """A figure as an <svg> element; name: told from every other on the page, for the ids inside."""
    buffer = io.StringIO()
    with style.paper():  # the salt and the fonts are read on saving
        style.settle(figure)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    # A heat map's numbers are to be read on its own colours, whatever the page's.
    raster = "<image" in text
    if not raster:
        text = re.sub(r"(?<=[:\s])#[0-9a-f]{6}(?=[;\"\s])", lambda color: themed(color[0]), text)
    text = re.sub(r"""(?<= id=")|(?<=href="#)|(?<=url\(#)""", f"{name}-", text).replace("xlink:href", "href")
    width, height = figure.get_size_inches() * 72
    ink = 'class="light" fill="#000000"' if raster else 'fill="currentColor"'
    head = f'<svg role="img" aria-label="{escape(alt)}" {ink} viewBox="0 0 {width:g} {height:g}">'
    body = text[text.index(">") + 1 :]
    # Safe as it is: matplotlib escapes what it is given.
    return Markup(head + re.sub(r"\s*\n\s*", "\n", body).strip())


def themed(color: str) -> str:
    """A colour #rrggbb as the style sheet's variables have it in the light and in the dark."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    if max(red, green, blue) - min(red, green, blue) > 8:
        return f"color-mix(in srgb, {color} var(--own), var(--ink))"
    ink = round(100 * (1 - (red + green + blue) / 3 / 255))
    return f"color-mix(in srgb, var(--ink) {ink}%, var(--paper))"
