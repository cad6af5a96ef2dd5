"""What an error message is made of: one line, and what to type instead."""

import difflib
from collections.abc import Iterable


def nearest(typed: str, choices: Iterable[str]) -> str:
    """' (did you mean x?)', ready to stand in a message, or '' where nothing is near."""
    lowered = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(typed.lower(), lowered, n=1, cutoff=0.5)
    return f" (did you mean {lowered[found[0]]}?)" if found else ""


def divisors(number: int) -> str:
    """1, 2, 4: what divides a number, for the message that something does not."""
    return ", ".join(str(n) for n in range(1, number + 1) if number % n == 0)


def one_line(error: BaseException) -> str:
    """All that an error says, on one line; the name of its class where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line that is not blank: libraries go on with advice that is not ours."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def again(error: OSError) -> str:
    """The line for what the machine refused: a full disk, a folder that cannot be written."""
    return f"{one_line(error)}; nothing was finished, and the same command tries again"
