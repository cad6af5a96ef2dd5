"""Where a progress bar can be drawn: on a terminal, and in a notebook."""

import os
import sys
from typing import Any

from rich.console import Console
from rich.jupyter import JupyterMixin


def on_terminal() -> bool:
    """Whether what this process prints comes to a terminal, and is not asked to be lines."""
    return sys.stdout.isatty() and not os.environ.get("NORMBENCH_PLAIN")


def in_notebook() -> bool:
    """Whether it comes to a notebook, likewise."""
    return Console().is_jupyter and not os.environ.get("NORMBENCH_PLAIN")


class NotebookBar:
    """One place in a notebook's output, whose content is replaced.

    rich's own, Live, needs ipywidgets for it, and swallows what is printed meanwhile.
    """

    def __init__(self) -> None:
        self._place: Any = None  # IPython's handle, once something is shown

    def show(self, content: JupyterMixin) -> None:
        from IPython.display import display  # there is one in every notebook

        if self._place is None:
            self._place = display(content, display_id=True)
        else:
            self._place.update(content)

    def clear(self) -> None:
        """Leaves the place empty."""
        if self._place is not None:
            self._place.update({"text/plain": ""}, raw=True)
