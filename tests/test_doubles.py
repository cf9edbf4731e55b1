"""The doubles do what a test plans."""

import pytest

from objfs.errors import Unavailable
from objfs.store.memory import MemoryStore
from objfs.types import Headers
from tests.doubles import FaultyDriver, RecordingDriver


def test_late_failure_is_applied_and_raised():
    """A put that succeeds late is in the store, and the next one is served."""
    driver = FaultyDriver(MemoryStore())
    driver.plan("put", Unavailable("late"), late=True)
    with pytest.raises(Unavailable):
        driver.put("a", b"x", Headers())
    assert driver.head("a").size == 1
    driver.put("a", b"xy", Headers())


def test_nth_request_fails_and_bodies_are_bent():
    """Faults count per operation."""
    driver = FaultyDriver(MemoryStore())
    driver.put("a", b"abc", Headers())
    driver.plan("head", Unavailable("second"), skip=1)
    driver.head("a")
    with pytest.raises(Unavailable):
        driver.head("a")
    driver.plan("get", body=lambda data: data[:-1])
    data = bytearray()
    driver.get("a", data.extend, start=0, stop=3)
    assert data == b"ab"


def test_recording():
    """Every request, in order."""
    driver = RecordingDriver(MemoryStore())
    driver.put("a", b"", Headers())
    driver.list_page("")
    assert driver.calls == [("put", "a"), ("list", "")]
