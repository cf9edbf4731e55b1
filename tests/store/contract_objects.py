"""The contract: what was put is what is read, under any key, in any range."""

import hashlib
import os

import pytest

from objfs.errors import NotFound, PreconditionFailed
from objfs.types import ETag, Expect, Headers
from tests.store.kit import MIB, Bucket, file_range, met

ODD_KEYS = {
    "space": "a b c",
    "leading space": " a",
    "ampersand": "a&b=c;d",
    "query": "a?b",
    "percent": "a%2Fb%zz%",
    "hash": "a#b",
    "plus": "a+b c",
    "quotes": "a\"b'c`d",
    "angles": "<a>&lt;/b",
    "backslash": "a\\b",
    "latin": "größe-é",
    "decomposed": "e\u0301",
    "composed": "\u00e9",
    "cjk": "目录/文件",
    "emoji": "🎉/🧪.txt",
    "empty component": "a//b",
    "leading slash": "/lead",
    "only slash": "/",
    "dot": "d/./f",
    "dots": "d/../g",
    "only dots": "..",
    "folder": "dir/",
    "two slashes": "dir//",
    "control": "a\x01b",
    "newline": "a\nb\r\nc",
    "tab": "a\tb",
    "delete": "a\x7fb",
    "long": "/".join(["x" * 200] * 4 + ["y" * 96]),
    "long unicode": "/".join(["é" * 100] * 4 + ["ü" * 48]),
}


class ObjectContract:
    """Objects by themselves."""

    def test_check(self, bucket: Bucket) -> None:
        """A bucket that is there is fine."""
        bucket.driver.check()

    @pytest.mark.parametrize("size", [0, 1, 70_000, 5 * MIB + 3])
    def test_round_trip(self, bucket: Bucket, size: int) -> None:
        """Bytes, size and etag come back as they were put."""
        body = os.urandom(size)
        put = bucket.put("x", body)
        head = bucket.head("x")
        assert (
            (put.key, put.size, put.etag)
            == (head.key, head.size, head.etag)
            == (
                "x",
                size,
                put.etag,
            )
        )
        assert put.etag
        assert '"' not in put.etag
        if bucket.driver.capabilities.etag_is_md5:
            assert put.etag == hashlib.md5(body).hexdigest()
        assert bucket.get("x") == body

    def test_file_body(self, bucket: Bucket) -> None:
        """A range of an open file is stored, and nothing from around it."""
        body = os.urandom(300_000)
        with file_range(b"before", body, b"behind") as source:
            info = bucket.put("x", source)
            empty = bucket.put("empty", type(source)(source.fd, 3, 0))
        assert (info.size, empty.size) == (len(body), 0)
        assert bucket.get("x") == body

    def test_headers(self, bucket: Bucket) -> None:
        """Content type and metadata are kept, and replaced by the next put."""
        bucket.put("x", b"1", Headers("text/x-objfs", {"mode": "0644", "mtime": "12.5"}))
        head = bucket.head("x")
        assert head.content_type == "text/x-objfs"
        assert dict(head.metadata or {}) == {"mode": "0644", "mtime": "12.5"}
        bucket.put("x", b"1", Headers("text/y"))
        head = bucket.head("x")
        assert (head.content_type, dict(head.metadata or {})) == ("text/y", {})

    def test_mtime_is_of_the_put(self, bucket: Bucket) -> None:
        """The time of an object never goes back when it is replaced, and is in nanoseconds."""
        bucket.put("x", b"1")
        first = bucket.head("x").mtime_ns
        bucket.put("x", b"2")
        second = bucket.head("x").mtime_ns
        assert 1.6e18 < first <= second < 4e18

    @pytest.mark.parametrize("name", ODD_KEYS)
    def test_odd_keys(self, bucket: Bucket, name: str, request: pytest.FixtureRequest) -> None:
        """Every legal key is reachable, listed as itself, copied and deleted."""
        met(request, bucket.quirks.refused_keys.get(name, ""))
        key = ODD_KEYS[name]
        bucket.put(key, b"body")
        bucket.put("other", b"o")
        assert bucket.get(key) == b"body"
        assert bucket.head(key).key == key
        assert sorted(bucket.names(bucket.pages())) == sorted([key, "other"])
        bucket.copy(key, "other", size=4)
        bucket.copy("other", key, size=4)
        assert bucket.get("other") == b"body"
        assert bucket.driver.delete_many([key]) == {}
        assert bucket.names(bucket.pages()) == ["other"]
        bucket.put(key, b"again")
        bucket.driver.delete(key)
        with pytest.raises(NotFound):
            bucket.head(key)

    def test_odd_keys_apart(self, bucket: Bucket) -> None:
        """Keys that a file system would merge are different objects."""
        names = [n for n in ODD_KEYS if n not in bucket.quirks.refused_keys]
        keys = [ODD_KEYS[name] for name in names]
        for key in keys:
            bucket.put(key, key.encode())
        assert sorted(bucket.names(bucket.pages(limit=7))) == sorted(keys)
        assert [bucket.get(key) for key in keys] == [key.encode() for key in keys]

    def test_file_beside_what_is_below_it(self, bucket: Bucket) -> None:
        """`a` and `a/b` are two objects, whichever came first, and each may go."""
        for first, second in (("a", "a/b"), ("c/d", "c")):
            bucket.put(first, b"first")
            bucket.put(second, b"second")
            assert (bucket.get(first), bucket.get(second)) == (b"first", b"second")
            bucket.driver.delete(first)
            assert bucket.get(second) == b"second"

    def test_file_and_folder_of_one_name(
        self, bucket: Bucket, request: pytest.FixtureRequest
    ) -> None:
        """`a`, `a/` and `a/b` are three objects."""
        met(request, bucket.quirks.no_marker_beside_file)
        for key in ("a", "a/", "a/b"):
            bucket.put(key, f"of {key}".encode())
        assert [bucket.get(key) for key in ("a", "a/", "a/b")] == [b"of a", b"of a/", b"of a/b"]
        bucket.driver.delete("a/")
        assert bucket.names(bucket.pages()) == ["a", "a/b"]
        bucket.driver.delete("a")
        assert bucket.get("a/b") == b"of a/b"

    def test_ranges(self, bucket: Bucket) -> None:
        """Any range within the object, both ends included."""
        body = os.urandom(100_000)
        bucket.put("x", body)
        for start, stop in [(0, 1), (99_999, 100_000), (0, 100_000), (5, 10), (65_535, 65_537)]:
            assert bucket.read("x", start, stop) == body[start:stop]

    def test_get_tells_the_version(self, bucket: Bucket) -> None:
        """A get answers with the facts of the version whose bytes it fed."""
        put = bucket.put("x", b"0123456789")
        info = bucket.driver.get("x", lambda _: None, start=2, stop=4)
        assert (info.key, info.size, info.etag) == ("x", 10, put.etag)

    def test_get_expecting(self, bucket: Bucket) -> None:
        """The right etag reads, a wrong one is refused before a byte is fed."""
        etag = bucket.put("x", b"one").etag
        assert bucket.read("x", 0, 3, Expect(etag=etag)) == b"one"
        fed: list[bytes] = []
        bucket.put("x", b"two")
        with pytest.raises(PreconditionFailed, match="x"):
            bucket.driver.get(
                "x", lambda v: fed.append(bytes(v)), start=0, stop=3, expect=Expect(etag=etag)
            )
        assert fed == []

    def test_missing(self, bucket: Bucket) -> None:
        """What is not there is NotFound, and the message names the key."""
        with pytest.raises(NotFound, match="nobody"):
            bucket.head("nobody")
        with pytest.raises(NotFound, match="nobody"):
            bucket.read("nobody", 0, 1)
        with pytest.raises(NotFound):
            bucket.read("nobody", 0, 1, Expect(etag=ETag("0" * 32)))
        with pytest.raises(NotFound):
            bucket.copy("nobody", "x")
        bucket.put("dir/file", b"1")
        with pytest.raises(NotFound):
            bucket.head("dir")

    def test_sink_raises(self, bucket: Bucket) -> None:
        """What a sink raises comes out as it is, and the driver goes on working."""
        bucket.put("x", bytes(MIB))

        def full(view: memoryview) -> None:
            raise OSError(28, "the cache is full")

        for _ in range(3):
            with pytest.raises(OSError, match="the cache is full"):
                bucket.driver.get("x", full, start=0, stop=MIB)
        assert bucket.read("x", 0, 1) == b"\0"
