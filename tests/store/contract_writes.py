"""The contract: conditions, copies, deletes, and many threads at once."""

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from objfs.errors import NotFound, ObjfsError, PreconditionFailed, Unsupported
from objfs.types import ABSENT, ETag, Expect, Headers
from tests.store.kit import MIB, Bucket

WRONG = Expect(etag=ETag("0123456789abcdef0123456789abcdef"))


def refused(call: Callable[[], object]) -> bool:
    """Whether a conditional request lost; any other failure comes out."""
    try:
        call()
    except PreconditionFailed:
        return True
    return False


def offered(able: bool, call: Callable[[], object]) -> bool:  # noqa: FBT001 - the capability is the subject
    """Make the call where the product honours its condition; else the driver must refuse it."""
    if able:
        call()
    else:
        with pytest.raises(Unsupported):
            call()
    return able


class WriteContract:
    """Writes that meet others."""

    def test_put_absent(self, bucket: Bucket) -> None:
        """A put that wants no object stores once."""
        able = bucket.driver.capabilities.put_if_absent
        if offered(able, lambda: bucket.put("x", b"1", expect=ABSENT)):
            with pytest.raises(PreconditionFailed, match="x"):
                bucket.put("x", b"2", expect=ABSENT)
            assert bucket.get("x") == b"1"

    def test_put_expecting(self, bucket: Bucket) -> None:
        """A put that wants a version stores over that one only, and not where it is gone."""
        etag = bucket.put("x", b"1").etag
        able = bucket.driver.capabilities.put_if_match
        if offered(able, lambda: bucket.put("x", b"2", expect=Expect(etag=etag))):
            with pytest.raises(PreconditionFailed):
                bucket.put("x", b"3", expect=Expect(etag=etag))
            assert bucket.get("x") == b"2"
            bucket.driver.delete("x")
            with pytest.raises(PreconditionFailed):
                bucket.put("x", b"4", expect=Expect(etag=etag))
            with pytest.raises(NotFound):
                bucket.head("x")

    def test_one_absent_put_wins(self, bucket: Bucket) -> None:
        """Eight threads put an absent key at once: one wins, and its bytes are there."""
        if not bucket.driver.capabilities.put_if_absent:
            with pytest.raises(Unsupported):
                bucket.put("x", b"", expect=ABSENT)
            return
        start = threading.Barrier(8)

        def contend(number: int) -> bool:
            start.wait()
            return not refused(lambda: bucket.put("x", b"%d" % number, expect=ABSENT))

        with ThreadPoolExecutor(8) as pool:
            won = [number for number, win in enumerate(pool.map(contend, range(8))) if win]
        assert won
        assert len(won) == 1 or bucket.quirks.racing_creates
        assert bucket.get("x") in [b"%d" % number for number in won]

    def test_one_update_of_a_version_wins(self, bucket: Bucket) -> None:
        """Of several updates of one version at once, exactly one lands."""
        if not bucket.driver.capabilities.put_if_match:
            with pytest.raises(Unsupported):
                bucket.put("x", b"", expect=WRONG)
            return
        etag = bucket.put("x", b"first").etag
        start = threading.Barrier(6)

        def contend(number: int) -> bool:
            start.wait()
            return not refused(lambda: bucket.put("x", b"%d" % number, expect=Expect(etag=etag)))

        with ThreadPoolExecutor(6) as pool:
            won = [number for number, win in enumerate(pool.map(contend, range(6))) if win]
        assert len(won) == 1
        assert bucket.get("x") == b"%d" % won[0]

    def test_copy(self, bucket: Bucket) -> None:
        """A copy has the bytes and headers, and lives on without its source."""
        bucket.put("a", b"body", Headers("text/a", {"k": "v"}))
        info = bucket.copy("a", "b", size=4)
        assert (info.key, info.size, info.etag) == ("b", 4, bucket.head("b").etag)
        bucket.put("a", b"other")
        bucket.driver.delete("a")
        head = bucket.head("b")
        assert bucket.get("b") == b"body"
        assert (head.content_type, dict(head.metadata or {})) == ("text/a", {"k": "v"})

    def test_copy_empty(self, bucket: Bucket) -> None:
        """An object without bytes is copied as well."""
        bucket.put("a", b"", Headers("application/x-directory"))
        bucket.copy("a", "b", size=0)
        assert bucket.head("b").size == 0
        assert bucket.head("b").content_type == "application/x-directory"

    def test_copy_onto_itself(self, bucket: Bucket) -> None:
        """New headers for an object, by a copy onto itself; twice, since the second differs."""
        bucket.put("a", b"body", Headers("text/a", {"k": "v"}))
        for number in ("1", "2"):
            bucket.copy("a", "a", size=4, headers=Headers("text/b", {"n": number}))
            head = bucket.head("a")
            assert (head.content_type, dict(head.metadata or {})) == ("text/b", {"n": number})
            assert bucket.get("a") == b"body"

    def test_copy_of_a_version(self, bucket: Bucket) -> None:
        """A copy that wants a version of its source copies that one only."""
        etag = bucket.put("a", b"1").etag
        able = bucket.driver.capabilities.copy_if_match
        if offered(able, lambda: bucket.copy("a", "b", expect=Expect(etag=etag))):
            assert bucket.get("b") == b"1"
            with pytest.raises(PreconditionFailed):
                bucket.copy("a", "c", expect=WRONG)
            with pytest.raises(NotFound):
                bucket.head("c")

    def test_copy_to_absent(self, bucket: Bucket) -> None:
        """A copy that wants no target does not replace one."""
        bucket.put("a", b"1")
        able = bucket.driver.capabilities.copy_if_absent
        if offered(able, lambda: bucket.copy("a", "b", target_expect=ABSENT)):
            bucket.put("c", b"2")
            with pytest.raises(PreconditionFailed):
                bucket.copy("a", "c", target_expect=ABSENT)
            assert (bucket.get("b"), bucket.get("c")) == (b"1", b"2")

    def test_copy_over_a_version(self, bucket: Bucket) -> None:
        """A copy over a version keeps to it, or the driver says that it cannot; never ignores."""
        bucket.put("a", b"1")
        bucket.put("b", b"2")
        with pytest.raises((PreconditionFailed, Unsupported)):
            bucket.copy("a", "b", target_expect=WRONG)
        assert bucket.get("b") == b"2"

    def test_delete(self, bucket: Bucket) -> None:
        """A delete removes; what is not there is no error."""
        bucket.put("x", b"1")
        bucket.driver.delete("x")
        bucket.driver.delete("x")
        with pytest.raises(NotFound):
            bucket.head("x")
        assert bucket.names(bucket.pages()) == []

    def test_delete_many(self, bucket: Bucket) -> None:
        """Many go at once, absent ones among them; the others stay."""
        for number in range(12):
            bucket.put(f"k{number:02}", b"1")
        gone = [f"k{number:02}" for number in range(10)] + ["never", "nor this"]
        assert bucket.driver.delete_many(gone) == {}
        assert bucket.names(bucket.pages()) == ["k10", "k11"]
        assert bucket.driver.delete_many([]) == {}

    def test_readers_see_no_mix(self, bucket: Bucket) -> None:
        """While writers replace an object, each reader gets one version, whole."""
        size = MIB + 11
        bodies = [bytes([letter]) * size for letter in b"abcd"]
        digests = {hashlib.md5(body).hexdigest() for body in bodies}
        bucket.put("x", bodies[0])
        writing = threading.Event()
        seen: list[str] = []

        def write(body: bytes) -> None:
            for _ in range(4):
                bucket.put("x", body)

        def read() -> None:
            while not writing.is_set() or not seen:
                pieces: list[bytes] = []
                bucket.driver.get("x", lambda v, p=pieces: p.append(bytes(v)), start=0, stop=size)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
                seen.append(hashlib.md5(b"".join(pieces)).hexdigest())

        with ThreadPoolExecutor(5) as pool:
            readers = [pool.submit(read) for _ in range(2)]
            writers = [pool.submit(write, body) for body in bodies[1:]]
            for writer in writers:
                writer.result()
            writing.set()
            for reader in readers:
                reader.result()
        assert set(seen) <= digests

    def test_many_threads(self, bucket: Bucket) -> None:
        """One driver serves many threads; what each of them wrote is there."""

        def work(number: int) -> list[str]:
            for step in range(6):
                bucket.put(f"t{number}/{step}", b"%d" % (number * 100 + step))
            bucket.driver.delete(f"t{number}/0")
            return bucket.names(bucket.pages(f"t{number}/"))

        with ThreadPoolExecutor(8) as pool:
            listed = list(pool.map(work, range(8)))
        assert listed == [[f"t{n}/{step}" for step in range(1, 6)] for n in range(8)]
        assert bucket.get("t7/5") == b"705"

    def test_errors_are_ours(self, bucket: Bucket) -> None:
        """A key that is over the limit is refused by one of our errors, and not as success."""
        with pytest.raises(ObjfsError):
            bucket.put("k" * (bucket.driver.capabilities.max_key + 1), b"1")
