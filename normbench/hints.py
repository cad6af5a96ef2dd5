"""The nearest thing to what was typed."""

import difflib
from collections.abc import Iterable


def nearest(typed: str, choices: Iterable[str]) -> str:
    """' (did you mean x?)', ready to stand in a message, or '' where nothing is near."""
    found = difflib.get_close_matches(typed, list(choices), n=1, cutoff=0.5)
    return f" (did you mean {found[0]}?)" if found else ""
