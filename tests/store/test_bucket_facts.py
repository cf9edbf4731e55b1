"""What the bucket makes of facts that only some stores have: a sum beside the etag, odd names."""

import tempfile
from dataclasses import replace

import pytest

from objfs.store.base import Capabilities, FileRange
from objfs.store.bucket import Bucket
from objfs.store.memory import MemoryStore
from objfs.types import ETag, Headers


@pytest.mark.parametrize("same", [True, False])
async def test_a_sum_beside_the_etag_spares_the_reading(same):
    """Where the store tells an MD5, equal bytes are known as such, and others too, unread."""
    bucket = Bucket(MemoryStore(Capabilities(etag_is_md5=False)))
    stored = await bucket.put("x", b"mine" if same else b"else", Headers())
    info = replace(stored, etag=ETag("version-1"), md5=stored.etag)
    assert bucket.md5_of(info) == stored.etag
    with tempfile.TemporaryFile() as file:
        file.write(b"mine")
        file.flush()
        assert await bucket.is_same(info, FileRange(file.fileno(), 0, 4)) is same
    assert "get" not in bucket.requests


async def test_an_etag_that_is_no_sum_tells_nothing():
    """Without one the bytes are read, and compared."""
    bucket = Bucket(MemoryStore(Capabilities(etag_is_md5=False)))
    info = await bucket.put("x", b"mine", Headers())
    assert bucket.md5_of(info) == ""
    with tempfile.TemporaryFile() as file:
        file.write(b"else")
        file.flush()
        assert not await bucket.is_same(info, FileRange(file.fileno(), 0, 4))
    assert bucket.requests["get"] == 1


def test_names_that_a_store_would_change():
    """The driver's rule is asked with the key below the mount's prefix, and gives its reason."""
    rule = Capabilities(mangles=r"\\|\.(/|$)", mangles_why="no dot at the end")
    bucket = Bucket(MemoryStore(rule), prefix="p/")
    assert bucket.mangled("a./b") == bucket.mangled("b\\c") == "no dot at the end"
    assert bucket.mangled("a.b/c") == ""
    assert Bucket(MemoryStore()).mangled("a./b") == ""
