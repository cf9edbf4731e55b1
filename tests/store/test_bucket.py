"""The bucket above every driver: prefix, parts, retries, time-outs, verification, conditions."""

import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from objfs.errors import (
    Corrupt,
    NotFound,
    PreconditionFailed,
    StoreError,
    TimedOut,
    Unavailable,
    Unsupported,
)
from objfs.store import requests as module
from objfs.store.base import Capabilities, FileRange
from objfs.store.bucket import Bucket
from objfs.store.memory import MemoryStore
from objfs.store.multipart import MIB, PART_FROM, PART_SIZE
from objfs.types import ABSENT, ETag, Expect, Headers
from tests.doubles import FaultyDriver, RecordingDriver

T = TypeVar("T")
PLAIN = Headers()


class Store:
    """A memory store that remembers requests and fails as planned."""

    def __init__(self, capabilities: Capabilities | None = None) -> None:
        self.memory = MemoryStore(capabilities)
        self.seen = RecordingDriver(self.memory)
        self.faults = FaultyDriver(self.seen)

    def bucket(self, prefix: str = "", timeout: float = 60.0) -> Bucket:
        """What is tested."""
        return Bucket(self.faults, prefix=prefix, timeout=timeout)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty one; a pause before a retry is short."""
    monkeypatch.setattr(module, "PAUSE", 0.001)
    return Store()


@pytest.fixture
def large() -> Iterator[FileRange]:
    """A sparse file that is just too large for one request."""
    with tempfile.TemporaryFile() as file:
        file.truncate(PART_FROM + 1)
        yield FileRange(file.fileno(), 0, PART_FROM + 1)


async def test_prefix_is_nobody_elses_business(store):
    """Callers see keys without it, in answers, listings and failures; the driver sees all."""
    bucket = store.bucket("p/")
    stored = await bucket.put("d/a", b"one", PLAIN)
    assert stored.key == "d/a"
    assert store.memory.head("p/d/a").size == 3
    page = await bucket.list_page("")
    assert (page.objects, page.prefixes) == ((), ("d/",))
    assert [info.key for info in (await bucket.list_page("d/")).objects] == ["d/a"]
    assert (await bucket.copy(stored, "b")).key == "b"
    assert (await bucket.head("b")).key == "b"
    assert await bucket.delete_many(["b", "d/a"]) == {}
    assert store.memory.list_page("").objects == ()
    assert bucket.max_key == 1022


async def test_large_body_goes_up_in_parts(store, large):
    """One byte above the threshold; at it, in one request."""
    bucket = store.bucket()
    await bucket.put("a", FileRange(large.fd, 0, PART_FROM), PLAIN)
    assert store.seen.count() == {"put": 1}
    await bucket.put("b", large, PLAIN, expect=ABSENT)
    assert store.seen.count() == {"put": 1, "start_parts": 1, "put_part": 3, "finish_parts": 1}
    assert store.memory.head("b").size == PART_FROM + 1
    assert bucket.bytes["out"] == 2 * PART_FROM + 1
    assert PART_SIZE == 8 * MIB


@pytest.mark.parametrize("operation", ["put_part", "finish_parts"])
async def test_failed_upload_is_aborted(store, large, operation):
    """The first error is the one that is raised, and no object appears."""
    store.faults.plan(operation, StoreError("broken"))
    with pytest.raises(StoreError, match="broken"):
        await store.bucket().put("a", large, PLAIN)
    assert store.seen.count()["abort_parts"] == 1
    with pytest.raises(NotFound):
        store.memory.head("a")


async def test_reads_are_retried_and_writes_are_not(store):
    """Three tries where the error may pass, one where it will not."""
    bucket = store.bucket()
    await bucket.put("a", b"one", PLAIN)
    store.faults.plan("head", Unavailable("down"), times=2)
    assert (await bucket.head("a")).size == 3
    store.faults.plan("head", Unavailable("down"), times=3)
    with pytest.raises(Unavailable):
        await bucket.head("a")
    assert bucket.requests["head"] == 6
    store.faults.plan("list", StoreError("broken"))
    with pytest.raises(StoreError):
        await bucket.list_page("")
    store.faults.plan("put", Unavailable("down"))
    with pytest.raises(Unavailable):
        await bucket.put("a", b"two", PLAIN)
    assert (bucket.requests["list"], bucket.requests["put"]) == (1, 2)


@pytest.mark.parametrize("operation", ["head", "get"])
async def test_silence_is_a_time_out(store, operation):
    """The message says for how long was waited, and what to do."""
    bucket = store.bucket(timeout=0.05)
    info = await bucket.put("a", b"one", PLAIN)
    gate = threading.Event()
    store.faults.plan(operation, stall=gate)

    async def ask() -> None:
        if operation == "head":
            await bucket.head("a")
        else:
            await bucket.get(info, 0, 3, lambda _: None)

    try:
        with pytest.raises(TimedOut, match=r"0\.05 s.*--timeout"):
            await ask()
    finally:
        gate.set()


@pytest.mark.parametrize("bent", [b"on", b"ones"])
async def test_body_of_another_length_is_corrupt(store, bent):
    """Short or long, whatever the headers said."""
    bucket = store.bucket()
    info = await bucket.put("a", b"one", PLAIN)
    store.faults.plan("get", body=lambda _: bent)
    with pytest.raises(Corrupt):
        await bucket.get(info, 0, 3, lambda _: None)


async def test_requests_and_bytes_are_counted(store):
    """By operation, and by direction."""
    bucket = store.bucket()
    info = await bucket.put("a", b"four", PLAIN)
    got = bytearray()
    await bucket.get(info, 1, 3, got.extend)
    assert got == b"ou"
    assert bucket.requests == {"put": 1, "get": 1}
    assert bucket.bytes == {"out": 4, "in": 2}


async def test_head_stands_in_where_the_store_checks_nothing():
    """The same refusals, at the price of one more request."""
    store = Store(Capabilities(put_if_absent=False, put_if_match=False, copy_if_match=False))
    bucket = store.bucket()
    first = await bucket.put("a", b"one", PLAIN, expect=ABSENT)
    with pytest.raises(PreconditionFailed):
        await bucket.put("a", b"two", PLAIN, expect=ABSENT)
    other = Expect(etag=ETag("other"))
    for key in ("a", "none"):
        with pytest.raises(PreconditionFailed):
            await bucket.put(key, b"two", PLAIN, expect=other)
    second = await bucket.put("a", b"two", PLAIN, expect=Expect(etag=first.etag))
    with pytest.raises(PreconditionFailed):
        await bucket.copy(first, "b")
    assert (await bucket.copy(second, "b")).size == 3
    assert bucket.requests == {"head": 7, "put": 2, "copy": 1}


class Unwilling(RecordingDriver):
    """Refuses the first condition, and knows from then on that it takes none."""

    @property
    def capabilities(self) -> Capabilities:
        """What it has learned."""
        able = not self.calls
        return Capabilities(put_if_absent=able, put_if_match=able)

    def around(self, operation: str, key: str, call: Callable[[], T]) -> T:
        """Refuse the first request."""
        first = not self.calls
        super().around(operation, key, lambda: None)
        if first:
            raise Unsupported("conditions are not implemented")
        return call()


async def test_condition_that_the_store_turns_out_not_to_take():
    """It is stood in for at once, and the caller hears nothing of it."""
    driver = Unwilling(MemoryStore())
    await Bucket(driver).put("a", b"one", PLAIN, expect=ABSENT)
    assert driver.count() == {"put": 2, "head": 1}
    with pytest.raises(PreconditionFailed):
        await Bucket(driver).put("a", b"two", PLAIN, expect=ABSENT)
