"""What an error message offers in the place of what was typed."""

import difflib
from collections.abc import Iterable


def nearest(typed: str, choices: Iterable[str]) -> str:
    """' (did you mean x?)', ready to stand in a message, or '' where nothing is near."""
    found = difflib.get_close_matches(typed, list(choices), n=1, cutoff=0.5)
    return f" (did you mean {found[0]}?)" if found else ""


def divisors(number: int) -> str:
    """1, 2, 4: what divides a number, for the message that something does not."""
    return ", ".join(str(n) for n in range(1, number + 1) if number % n == 0)
