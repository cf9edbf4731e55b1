"""Random operations, foreign changes included, compared with the model after every step.

`tests/filesystem/test_model_s3.py` does the same on real servers: together over 2,000 operations.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from objfs.store.base import Driver
from objfs.store.file import FileStore
from objfs.store.memory import MemoryStore
from tests.filesystem.runs import LENGTH, TIMES, count_operations

MEMORY, FILE = 25, 8
"""Examples."""


@contextmanager
def memory() -> Iterator[Driver]:
    """A store in memory."""
    yield MemoryStore()


@contextmanager
def file() -> Iterator[Driver]:
    """An embedded store."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        store = FileStore(Path(folder) / "store")
        yield store
        store.close()


@pytest.mark.usefixtures("refusals")
def test_memory():
    """Over the store in memory: at least 1,000 operations."""
    assert count_operations(memory, MEMORY) >= MEMORY * LENGTH * TIMES


@pytest.mark.usefixtures("refusals")
def test_file():
    """Over the embedded store: at least 320 operations."""
    assert count_operations(file, FILE) >= FILE * LENGTH * TIMES
