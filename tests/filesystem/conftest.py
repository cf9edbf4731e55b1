"""What the random runs share."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def refusals() -> Iterator[None]:
    """Refused uploads of files that nobody has open are logged; random runs provoke many."""
    logging.getLogger("objfs.filesystem").setLevel(logging.ERROR)
    yield
    logging.getLogger("objfs.filesystem").setLevel(logging.NOTSET)
