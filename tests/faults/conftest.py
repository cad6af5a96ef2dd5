"""What the tests of this folder share."""

from collections.abc import Iterator

import pytest
from forking import Server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Starts launches in a moment."""
    with Server() as started:
        yield started
