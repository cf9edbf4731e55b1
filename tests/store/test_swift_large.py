"""Large objects on Swift: read, overwritten, copied and deleted with their segments, no orphans.

What other tools made is made here by a plain client; what objfs leaves behind is looked at by it.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from objfs.errors import NoSuchUpload, NotFound, PreconditionFailed
from objfs.store.swift.driver import SwiftStore
from objfs.types import ABSENT, ETag, Expect, Headers, Part
from tests.servers import Server
from tests.store.kit import Bucket
from tests.swift import Plain, new_container, plain, store_on

BODIES = [b"a" * 3000, b"b" * 2000, b"c" * 10]
WHOLE = b"".join(BODIES)


@dataclass
class Here:
    """A container, a driver on it, and a client that is not ours."""

    container: str
    driver: SwiftStore
    bucket: Bucket
    plain: Plain

    def segments(self) -> list[str]:
        """All names in the container of the segments."""
        return self.plain.names(f"{self.container}_segments")

    def upload(self, key: str, bodies: list[bytes], headers: Headers | None = None) -> ETag:
        """An object in parts, by objfs."""
        headers = headers or Headers("text/large", {"k": "v"})
        upload = self.driver.start_parts(key, headers)
        parts = [self.driver.put_part(key, upload, n, b) for n, b in enumerate(bodies, 1)]
        return self.driver.finish_parts(key, upload, parts).etag


@pytest.fixture
def here(swift_server: Server) -> Iterator[Here]:
    """An empty container."""
    container = new_container(swift_server)
    driver = store_on(swift_server, container)
    driver.check()
    yield Here(container, driver, Bucket(driver), plain(swift_server))
    driver.close()


Make = Callable[[Here, str], None]


def by_objfs(here: Here, key: str) -> None:
    """As objfs writes it."""
    here.upload(key, BODIES)


def static(here: Here, key: str) -> None:
    """As `swift upload --use-slo` writes it."""
    here.plain.put_slo(here.container, key, BODIES)


def dynamic(here: Here, key: str) -> None:
    """As `swift upload -S` writes it."""
    here.plain.put_dlo(here.container, key, BODIES)


makers = pytest.mark.parametrize("make", [by_objfs, static, dynamic])


@makers
def test_read(here: Here, make: Make) -> None:
    """Size, ranges over the seams and the whole; a wrong version is refused before a byte."""
    make(here, "d/x")
    head = here.bucket.head("d/x")
    assert head.size == len(WHOLE)
    assert here.bucket.get("d/x") == WHOLE
    right = Expect(etag=head.etag)
    assert here.bucket.read("d/x", 2999, 5001, right) == WHOLE[2999:5001]
    for wrong in (ETag("0" * 32), ETag("0" * 32 + "-slo"), ETag("0" * 32 + "-dlo")):
        with pytest.raises(PreconditionFailed, match="d/x"):
            here.bucket.read("d/x", 0, 5, Expect(etag=wrong))


@makers
def test_listed_as_it_is(here: Here, make: Make) -> None:
    """A listing tells the size and the etag that a HEAD tells, the second time too."""
    make(here, "d/x")
    here.bucket.put("d/empty")
    here.bucket.put("d/plain", b"12")
    for _ in range(2):
        for delimiter in ("", "/"):
            found = {info.key: info for info in here.bucket.page("d/", delimiter=delimiter).objects}
            assert {key: info.size for key, info in found.items()} == {
                "d/empty": 0,
                "d/plain": 2,
                "d/x": len(WHOLE),
            }
            assert all(info.etag == here.bucket.head(key).etag for key, info in found.items())


@makers
def test_an_etag_that_is_no_md5_is_not_taken_for_one(here: Here, make: Make) -> None:
    """The etag is the MD5 of other things than the bytes, and says so."""
    make(here, "x")
    assert here.bucket.head("x").etag[-4:] in {"-slo", "-dlo"}


@makers
def test_overwritten_with_its_segments(here: Here, make: Make) -> None:
    """By a plain object, and by another large one: what was there leaves nothing."""
    make(here, "x")
    here.bucket.put("x", b"small")
    assert here.bucket.get("x") == b"small"
    assert here.segments() == []
    make(here, "x")
    here.upload("x", [b"1" * 100, b"2" * 50])
    assert here.bucket.get("x") == b"1" * 100 + b"2" * 50
    assert len(here.segments()) == 2


@makers
def test_deleted_with_its_segments(here: Here, make: Make) -> None:
    """One by one, and many at once; a neighbour whose name goes on stays whole."""
    for key in ("x", "x2", "x/y", "z"):
        make(here, key)
    here.driver.delete("x")
    assert here.driver.delete_many(["z", "x2"]) == {}
    assert here.bucket.names(here.bucket.pages()) == ["x/y"]
    assert here.bucket.get("x/y") == WHOLE
    here.driver.delete("x/y")
    assert here.segments() == []


@makers
def test_renamed_with_its_segments(here: Here, make: Make) -> None:
    """A copy, then the source's end: the copy has all bytes and headers, and no one's segments."""
    make(here, "x")
    source = here.bucket.head("x")
    here.bucket.copy("x", "d/y", size=source.size)
    here.driver.delete("x")
    target = here.bucket.head("d/y")
    assert (target.size, target.content_type, target.metadata) == (
        source.size,
        source.content_type,
        source.metadata,
    )
    assert here.bucket.get("d/y") == WHOLE
    here.driver.delete("d/y")
    assert here.segments() == []


@makers
def test_renamed_onto_a_large_object(here: Here, make: Make) -> None:
    """The segments of what was there go, those of the copy stay."""
    make(here, "x")
    here.upload("y", [b"old" * 100, b"er"])
    here.bucket.copy("x", "y", size=len(WHOLE))
    assert here.bucket.get("y") == WHOLE == here.bucket.get("x")
    here.bucket.put("x", b"plain")
    here.bucket.copy("x", "y", size=5)
    assert here.bucket.get("y") == b"plain"
    assert here.segments() == []


@makers
def test_new_headers_move_no_byte(here: Here, make: Make) -> None:
    """A copy onto itself keeps the etag and the segments, and replaces the headers."""
    make(here, "x")
    before, segments = here.bucket.head("x"), here.segments()
    info = here.bucket.copy("x", "x", size=before.size, headers=Headers("text/new", {"n": "1"}))
    after = here.bucket.head("x")
    assert (after.content_type, dict(after.metadata or {})) == ("text/new", {"n": "1"})
    assert (after.etag, after.size, info.etag) == (before.etag, before.size, before.etag)
    assert here.segments() == segments
    assert here.bucket.get("x") == WHOLE
    here.driver.delete("x")
    assert here.segments() == []


def test_a_copy_of_a_version(here: Here) -> None:
    """Where the store keeps to a version, a copy of another one leaves nothing behind."""
    etag = here.upload("x", BODIES)
    if not here.driver.capabilities.copy_if_match:
        pytest.skip("radosgw checks no condition")
    segments = here.segments()
    with pytest.raises(PreconditionFailed, match="x"):
        here.bucket.copy("x", "y", expect=Expect(etag=ETag("0" * 32 + "-slo")))
    assert here.segments() == segments
    here.bucket.copy("x", "y", size=len(WHOLE), expect=Expect(etag=etag))
    assert here.bucket.get("y") == WHOLE


def test_readers_find_old_or_new(here: Here) -> None:
    """While a large object is overwritten by large and small ones, a HEAD always finds one."""
    here.upload("x", BODIES)
    over = threading.Event()
    sizes: set[int] = set()

    def look() -> None:
        while not over.is_set():
            sizes.add(here.bucket.head("x").size)

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for _ in range(4):
            here.upload("x", [b"1" * 100, b"2"])
            here.bucket.put("x", b"small")
    finally:
        over.set()
        reader.join()
    assert sizes <= {len(WHOLE), 101, 5}
    assert here.segments() == []


def test_an_upload_that_fails_leaves_the_old_object(here: Here) -> None:
    """A manifest that is refused changes nothing; abort takes the parts, and the upload itself."""
    here.upload("x", BODIES)
    before = here.segments()
    upload = here.driver.start_parts("x", Headers())
    sent = here.driver.put_part("x", upload, 1, b"1" * 100)
    with pytest.raises(Exception, match="FINISH x"):
        here.driver.finish_parts("x", upload, [sent, Part(2, ETag("1" * 32), 9)])
    assert here.bucket.get("x") == WHOLE
    here.driver.abort_parts("x", upload)
    assert here.segments() == before


def test_an_abort_after_the_finish_takes_nothing(here: Here) -> None:
    """Whoever did not hear that the manifest has landed, and aborts, does no harm."""
    upload = here.driver.start_parts("x", Headers())
    parts = [here.driver.put_part("x", upload, n, b) for n, b in enumerate(BODIES, 1)]
    here.driver.finish_parts("x", upload, parts)
    here.driver.abort_parts("x", upload)
    assert here.bucket.get("x") == WHOLE


def test_surplus_parts_are_removed(here: Here) -> None:
    """Parts that a finish leaves out are no part of the object, and no orphans."""
    upload = here.driver.start_parts("x", Headers())
    parts = [here.driver.put_part("x", upload, n, b"%d" % n * 10) for n in (1, 2, 3)]
    here.driver.finish_parts("x", upload, [parts[0], parts[2]])
    assert here.bucket.get("x") == b"1" * 10 + b"3" * 10
    assert len(here.segments()) == 2


def test_a_refused_create_leaves_no_change(here: Here) -> None:
    """An upload that wants no object leaves the one that is there, with its segments."""
    if not here.driver.capabilities.finish_if_absent:
        pytest.skip("radosgw checks no condition")
    here.upload("x", BODIES)
    upload = here.driver.start_parts("x", Headers())
    part = here.driver.put_part("x", upload, 1, b"new")
    with pytest.raises(PreconditionFailed):
        here.driver.finish_parts("x", upload, [part], expect=ABSENT)
    here.driver.abort_parts("x", upload)
    assert here.bucket.get("x") == WHOLE
    assert len(here.segments()) == 3


def test_a_new_process_goes_on_with_an_upload(here: Here, swift_server: Server) -> None:
    """What an upload is stands in the store: another driver finds, completes and finishes it."""
    upload = here.driver.start_parts("x", Headers("text/resumed", {"k": "v"}))
    first = here.driver.put_part("x", upload, 1, b"1" * 100)
    other = store_on(swift_server, here.container)
    second = other.put_part("x", upload, 2, b"2")
    assert other.list_parts("x", upload) == [first, second]
    other.finish_parts("x", upload, [first, second])
    with pytest.raises(NoSuchUpload):
        other.list_parts("x", upload)
    other.close()
    head = here.bucket.head("x")
    assert (head.content_type, dict(head.metadata or {})) == ("text/resumed", {"k": "v"})
    assert here.bucket.get("x") == b"1" * 100 + b"2"


def test_segments_that_are_files_stay(here: Here) -> None:
    """A large object put together of objects that people see is deleted without them."""
    if here.driver.capabilities.put_if_absent:
        here.plain.put_slo(here.container, "x", BODIES, here.container)
    else:  # radosgw deletes what a manifest names, wherever it is: there it is told by a prefix
        here.plain.put_dlo(here.container, "x", BODIES, here.container)
    files = here.bucket.names(here.bucket.pages("x/"))
    assert len(files) == 3
    here.bucket.put("x", b"")
    here.driver.delete("x")
    assert here.bucket.names(here.bucket.pages()) == files


def test_a_long_key_has_segments(here: Here) -> None:
    """A key as long as may be leaves no room for its name in the segments' names."""
    key = "é" * 512
    here.upload(key, BODIES)
    assert here.bucket.get(key) == WHOLE
    here.driver.delete(key)
    assert here.segments() == []
    with pytest.raises(NotFound):
        here.bucket.head(key)


@pytest.mark.parametrize("key", ["a b%20c", "ü/🎉", "q?x&y=z#f", "../up", "a\nb", "pl+us"])
def test_odd_names_of_large_objects(here: Here, key: str) -> None:
    """Whatever a name holds, its segments are found by it."""
    here.upload(key, BODIES)
    assert here.bucket.get(key) == WHOLE
    here.bucket.copy(key, "other " + key, size=len(WHOLE))
    here.driver.delete(key)
    assert here.bucket.get("other " + key) == WHOLE
    here.driver.delete("other " + key)
    assert here.segments() == []


def test_ranges_of_segments_are_copied_as_they_read(here: Here) -> None:
    """A manifest of ranges, of one segment twice, and of another manifest, copied and deleted."""
    if not here.driver.capabilities.put_if_absent:
        pytest.skip("radosgw knows no ranges in manifests")
    store = f"{here.container}_segments"
    here.plain.put_slo(here.container, "inner", BODIES, store)
    inner, segment = f"/{here.container}/inner", f"/{store}/inner/slo/1.0/00000000"
    rows = [{"path": segment, "range": "0-9"}, {"path": inner}, {"path": segment}]
    here.plain.ask("PUT", f"{here.container}/x", "?multipart-manifest=put", json=rows)
    right = BODIES[0][:10] + WHOLE + BODIES[0]
    assert here.bucket.get("x") == right
    here.bucket.copy("x", "y", size=len(right))
    assert here.bucket.get("y") == right
    before = here.segments()
    here.driver.delete("y")
    assert len(here.segments()) < len(before)
    assert here.bucket.get("x") == right
