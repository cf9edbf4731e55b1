"""The Google driver keeps the contract on a fake of both APIs, and what only Google has."""

import os
from collections.abc import Iterator

import pytest

from objfs.config import StoreConfig
from objfs.errors import Corrupt, NotEmpty, PreconditionFailed
from objfs.store.account import AllBuckets
from objfs.store.gcs import GcsStore
from objfs.store.gcs.account import GcsAccount
from objfs.types import ABSENT, ETag, Expect, Headers
from tests.store.contract import DriverContract
from tests.store.fake_gcs import FakeGcs, fake_gcs
from tests.store.kit import MIB, Bucket, Quirks, file_range

_REFUSED = "Google takes no line break in a name, and not the names . and .."
QUIRKS = Quirks(refused_keys=dict.fromkeys(("newline", "only dots"), _REFUSED))


def driver(endpoint: str, bucket: str = "b") -> GcsStore:
    """A driver on the fake, without credentials."""
    config = StoreConfig(
        f"gs://{bucket}", "gs", bucket, endpoint_url=endpoint, sign_requests=False, timeout=10.0
    )
    return GcsStore(config)


@pytest.fixture
def fake() -> Iterator[FakeGcs]:
    """Google, empty."""
    with fake_gcs() as fake:
        yield fake


@pytest.fixture
def bucket(fake: FakeGcs) -> Iterator[Bucket]:
    """A driver on it."""
    store = driver(fake.endpoint)
    yield Bucket(store, QUIRKS)
    store.close()


class TestGcs(DriverContract):
    """On the fake."""


def test_the_etag_is_the_generation(bucket: Bucket, fake: FakeGcs) -> None:
    """Conditions are about generations; an etag that is none is no object's."""
    first = bucket.put("x", b"1")
    assert first.etag == str(fake.objects["x"].generation)
    with pytest.raises(PreconditionFailed):
        bucket.put("x", b"2", expect=Expect(etag=ETag("abc")))
    again = bucket.put("x", b"1", expect=Expect(etag=first.etag))
    assert int(again.etag) > int(first.etag)


def test_a_broken_session_goes_on(bucket: Bucket, fake: FakeGcs) -> None:
    """A large put whose connection breaks sends the rest, not everything again."""
    body = os.urandom(3 * MIB)
    fake.cut_sessions_at = MIB + 5
    with file_range(b"in front", body, b"behind") as source:
        info = bucket.put("x", source, expect=ABSENT)
    assert (info.size, bucket.get("x")) == (len(body), body)
    assert sum("upload_id" in request for request in fake.requests) == 2


def test_a_session_keeps_its_condition(bucket: Bucket) -> None:
    """A large put that wants no object does not replace one."""
    bucket.put("x", b"1")
    with file_range(b"", bytes(2 * MIB), b"") as source, pytest.raises(PreconditionFailed):
        bucket.put("x", source, expect=ABSENT)
    assert bucket.get("x") == b"1"


@pytest.mark.parametrize("size", [10, 2 * MIB])
def test_a_put_whose_answer_was_lost(bucket: Bucket, fake: FakeGcs, size: int) -> None:
    """A repeated put that meets its own first try has landed, and nobody is told of a conflict."""
    body = os.urandom(size)
    fake.fail_after = [503] if size < MIB else []
    with file_range(b"", body, b"") as source:
        info = bucket.put("x", source, expect=ABSENT)
    assert info.etag == bucket.head("x").etag
    assert bucket.get("x") == body


def test_a_damaged_download(bucket: Bucket, fake: FakeGcs) -> None:
    """A whole read whose bytes are not those of the CRC32C is refused."""
    bucket.put("x", b"content")
    fake.damage = True
    with pytest.raises(Corrupt, match="CRC32C"):
        bucket.get("x")
    assert bucket.read("x", 0, 3) == bytes(3)  # of a part nothing is known


def test_a_copy_takes_as_many_calls_as_it_needs(bucket: Bucket, fake: FakeGcs) -> None:
    """A rewrite that is not done goes on by its token, conditions and new headers included."""
    etag = bucket.put("x", b"body", Headers("text/x", {"k": "v"})).etag
    made = bucket.copy("x", "y", expect=Expect(etag=etag), headers=Headers("text/y", {"ü": "é"}))
    assert sum("rewriteTo" in request for request in fake.requests) == 2
    head = bucket.head("y")
    assert (made.etag, head.content_type, head.metadata) == (head.etag, "text/y", {"ü": "é"})


def test_what_is_stored_packed_is_not_unpacked(bucket: Bucket, fake: FakeGcs) -> None:
    """Every read takes gzip: else Google sends what a packed object unpacks to, without ranges."""
    bucket.put("x", b"content")
    bucket.get("x")
    reads = [request for request in fake.requests if "alt=media" in request]
    assert reads
    assert all(request.endswith(" gzip") for request in reads)


def test_an_upload_that_was_replaced_at_once(bucket: Bucket, fake: FakeGcs) -> None:
    """Somebody's object in the moment behind a finish is not taken for ours."""
    upload = bucket.driver.start_parts("x", Headers())
    part = bucket.driver.put_part("x", upload, 1, b"ours")
    store = fake.store
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            FakeGcs,
            "store",
            lambda _, name, body, told, etag="": (
                store(name, body, told, etag),
                store(name, b"somebody's", {}),
            )[0],
        )
        with pytest.raises(PreconditionFailed):
            bucket.driver.finish_parts("x", upload, [part])


def test_the_emulator(gcs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """STORAGE_EMULATOR_HOST is enough to store, read, list and delete on somebody else's server."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs)
    store = GcsStore(StoreConfig("gs://objfs", "gs", "objfs"))
    bucket = Bucket(store)
    try:
        store.check()
        for key in ("a b/é", "a b/c/d"):
            bucket.put(key, key.encode(), Headers("text/x", {"mode": "0644"}))
        assert (bucket.get("a b/é"), bucket.head("a b/é").content_type) == (
            "a b/é".encode(),
            "text/x",
        )
        page = bucket.page("a b/", delimiter="/")
        assert ([info.key for info in page.objects], page.prefixes) == (["a b/é"], ("a b/c/",))
        with file_range(b"", bytes(2 * MIB), b"") as source:
            assert bucket.put("large", source).size == 2 * MIB
        bucket.copy("large", "copied")
        assert store.delete_many(["large", "a b/é", "a b/c/d"]) == {}
        assert [info.key for info in bucket.page().objects] == ["copied"]
    finally:
        store.close()


def test_all_buckets(gcs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Buckets of a project are made, listed, copied between and removed, the empty ones only."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "objfs")
    store = AllBuckets(GcsAccount(StoreConfig("gs://", "gs", "")))
    bucket = Bucket(store)
    try:
        store.check()
        for name in ("one-bucket/", "two-bucket/"):
            bucket.put(name, b"", expect=ABSENT)
        with pytest.raises(PreconditionFailed):
            bucket.put("one-bucket/", b"", expect=ABSENT)
        bucket.put("one-bucket/a", b"hello")
        bucket.copy("one-bucket/a", "two-bucket/b")
        assert bucket.get("two-bucket/b") == b"hello"
        assert {"one-bucket/", "two-bucket/"} <= set(bucket.page(delimiter="/").prefixes)
        with pytest.raises(NotEmpty):
            store.delete("one-bucket/")
        store.delete("one-bucket/a")
        store.delete("one-bucket/")
        assert "one-bucket/" not in bucket.page(delimiter="/").prefixes
    finally:
        store.close()
