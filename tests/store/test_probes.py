"""The probes see through a store that is worse than its driver says, and leave nothing behind."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from objfs.errors import Forbidden, NotFound, Unavailable
from objfs.store.base import Body, Capabilities, Driver, Sink
from objfs.store.file import FileStore
from objfs.store.guarantees import GUARANTEES, Finding, Verdict, believe, examine
from objfs.store.insight import Silent
from objfs.store.memory import MemoryStore
from objfs.store.scratch import Scratch
from objfs.types import ANYTHING, ETag, Expect, Headers, ObjectInfo, Page, Part
from tests.doubles import FaultyDriver, Wrapped

T = TypeVar("T")
FULL = Capabilities(min_part=1)
CONDITIONS = [one for one in GUARANTEES if one.capability]


class Plain(Wrapped):
    """Hands everything on; a subclass lies about one thing."""

    def around(self, operation: str, key: str, call: Callable[[], T]) -> T:  # noqa: ARG002  # Wrapped's
        """As the inner driver does it."""
        return call()


class Careless(Plain):
    """Says that it honours all conditions, and ignores them."""

    def put(self, key: str, body: Body, headers: Headers, **_: Expect) -> ObjectInfo:
        """Whatever is there."""
        return super().put(key, body, headers)

    def copy(self, source: str, target: str, **how: Any) -> ObjectInfo:
        """Whatever the source is."""
        return super().copy(source, target, **{**how, "expect": ANYTHING})

    def finish_parts(self, key: str, upload: str, parts: Sequence[Part], **_: Expect) -> ObjectInfo:
        """Whatever is there."""
        return super().finish_parts(key, upload, parts)


class Stubborn(Plain):
    """Refuses a put under any etag, also the right one."""

    def put(
        self, key: str, body: Body, headers: Headers, *, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """With an etag that is never there."""
        bent = Expect(etag=ETag("0" * 32)) if expect.etag else expect
        return super().put(key, body, headers, expect=bent)


class LooksFirst(Plain):
    """Honours a create by a look before the write, which lets two at once through."""

    def __init__(self, inner: Driver) -> None:
        super().__init__(inner)
        self._looked = threading.Barrier(2)

    def put(
        self, key: str, body: Body, headers: Headers, *, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """Two that look at the same time wait for each other."""
        if expect.absent and "race0" in key:
            try:
                self.inner.head(key)
            except NotFound:
                try:
                    self._looked.wait(5)
                except threading.BrokenBarrierError:
                    return super().put(key, body, headers, expect=expect)
                return super().put(key, body, headers)
        return super().put(key, body, headers, expect=expect)


class Torn(Plain):
    """Gives readers half of the next version."""

    def get(
        self, key: str, sink: Sink, *, start: int, stop: int, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """The second half is another's."""
        body = bytearray()
        info = self.inner.get(key, body.extend, start=start, stop=stop, expect=expect)
        if key.endswith("/atomic"):
            body[len(body) // 2 :] = b"!" * (len(body) - len(body) // 2)
        sink(memoryview(body))
        return info


class Late(Plain):
    """Lists an object only after a second listing."""

    def __init__(self, inner: Driver) -> None:
        super().__init__(inner)
        self._seen: set[str] = set()

    def list_page(self, prefix: str, **how: Any) -> Page:
        """Without what was never asked for before."""
        page = super().list_page(prefix, **how)
        old = tuple(info for info in page.objects if info.key in self._seen)
        self._seen |= {info.key for info in page.objects}
        return replace(page, objects=old)


class Backwards(Plain):
    """Lists the other way round."""

    def list_page(self, prefix: str, **how: Any) -> Page:
        """The last first."""
        page = super().list_page(prefix, **how)
        return replace(page, objects=page.objects[::-1])


class Slow(Plain):
    """Has a clock that is two minutes ahead."""

    def head(self, key: str) -> ObjectInfo:
        """With the time of that clock."""
        info = super().head(key)
        return replace(info, mtime_ns=info.mtime_ns + 120 * 10**9)


class Merging(Plain):
    """Makes one slash of two, as a file system does."""

    def put(
        self, key: str, body: Body, headers: Headers, *, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """Under the cleaned name."""
        return super().put(key.replace("//", "/"), body, headers, expect=expect)


class FalseSum(Silent):
    """Of a store that does, or does not, look at checksums."""

    def __init__(self, driver: Driver, *, looks: bool) -> None:
        super().__init__(local=True)
        self._driver = driver
        self._looks = looks

    def put_corrupt(self, key: str) -> bool:
        """Stored, or refused."""
        if not self._looks:
            self._driver.put(key, b"these bytes", Headers())
        return self._looks


def tried(driver: Driver, insight: Silent | None = None) -> dict[str, Finding]:
    """The findings by name; the store must be empty afterwards."""
    with Scratch(driver, "below/") as scratch:
        findings = examine(scratch, insight or Silent(local=True))
    assert not scratch.left
    assert not driver.list_page("").objects
    return {finding.guarantee.name: finding for finding in findings}


def missing(findings: dict[str, Finding]) -> set[str]:
    """The names of those that do not hold."""
    return {name for name, one in findings.items() if one.verdict is Verdict.NO}


@pytest.mark.parametrize("store", ["memory", "embedded"])
def test_a_good_store_lacks_nothing(store, tmp_path):
    """All hold but the checksum, which these drivers have no way to send wrong."""
    driver: Driver = MemoryStore() if store == "memory" else FileStore(tmp_path)
    findings = tried(driver)
    driver.close()
    assert {n: f.verdict for n, f in findings.items() if f.verdict is not Verdict.YES} == {
        "checksum": Verdict.UNKNOWN
    }
    assert list(findings) == [one.name for one in GUARANTEES]


@pytest.mark.parametrize("guarantee", CONDITIONS, ids=lambda one: one.name)
def test_what_the_driver_knows_to_lack_is_missing(guarantee):
    """Each capability alone, before anything is written and after it was tried."""
    lacking: dict[str, Any] = {guarantee.capability: False}
    caps = replace(FULL, **lacking)
    told = {one.guarantee.name: one.verdict for one in believe(caps)}
    assert told.pop(guarantee.name) is Verdict.NO
    assert set(told.values()) == {Verdict.UNKNOWN}
    if guarantee.name != "order":  # which MemoryStore keeps whatever it is told
        found = tried(MemoryStore(caps))
        race = {"create_race"} if guarantee.capability == "put_if_absent" else set()
        expected = {guarantee.name} | race
        assert missing(found) == expected
        assert found[guarantee.name].means == guarantee.missing


def test_a_store_that_ignores_conditions_is_found_out():
    """The driver is sure, the store does not care: that is worse, and said so."""
    found = tried(Careless(MemoryStore()))
    conditional = {
        *("create_exclusive", "create_race", "replace_conditional"),
        *("parts_exclusive", "parts_conditional", "copy_source"),
    }
    assert missing(found) == conditional
    for name in conditional - {"create_race"}:
        assert found[name].detail == "ignored; objfs relies on it here: please report this store"


@pytest.mark.parametrize(
    ("lie", "name"),
    [
        (Stubborn, "replace_conditional"),
        (LooksFirst, "create_race"),
        (Torn, "atomic"),
        (Backwards, "order"),
        (Slow, "clock"),
        (Merging, "keys"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_each_lie_is_found_by_its_own_probe(lie, name):
    """One thing is wrong, one guarantee is missing."""
    assert missing(tried(lie(MemoryStore()))) == {name}


def test_a_listing_that_lags_is_found():
    """A new object that its listing does not show at once."""
    driver = MemoryStore()
    scratch = Scratch(Late(driver), "")
    found = {one.guarantee.name: one for one in examine(scratch, Silent(local=True))}
    scratch.driver = driver
    scratch.remove()
    assert found["listing"].detail == "a new object is not listed at once"
    assert not driver.list_page("").objects


@pytest.mark.parametrize(("looks", "verdict"), [(True, Verdict.YES), (False, Verdict.NO)])
def test_the_checksum_is_tried_where_there_is_a_way(looks, verdict):
    """A store that takes bytes under a false checksum does not verify it."""
    driver = MemoryStore()
    assert tried(driver, FalseSum(driver, looks=looks))["checksum"].verdict is verdict


def test_an_error_is_not_an_answer():
    """A probe that the store interrupts says so; the others go on."""
    driver = FaultyDriver(MemoryStore())
    driver.plan("copy", Unavailable("copy: busy"), times=100)
    found = tried(driver)
    assert found["copy_source"] == Finding(
        next(one for one in GUARANTEES if one.name == "copy_source"),
        Verdict.UNKNOWN,
        "copy: busy",
    )
    assert not missing(found)


def test_a_bucket_that_takes_no_writes_is_told_once():
    """The first refusal ends it: nothing else can be known."""
    driver = FaultyDriver(MemoryStore())
    driver.plan("put", Forbidden("put: not allowed"), times=1000)
    found = tried(driver)
    assert missing(found) == {"write"}
    assert [f.verdict for f in found.values()].count(Verdict.UNKNOWN) == len(GUARANTEES) - 1


@pytest.mark.parametrize("late", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize(
    ("operation", "skip"),  # to the first that is served well
    [("put", 1), ("get", 2), ("list", 2), ("put_part", 2), ("finish_parts", 2), ("copy", 1)],
)
def test_an_interrupt_leaves_nothing_behind(operation, skip, late):
    """Ctrl-C while a request is sent, or behind it: objects and uploads are gone."""
    inner = MemoryStore()
    driver = FaultyDriver(inner)
    interrupt: Any = KeyboardInterrupt()
    fault = driver.plan(operation, interrupt, late=late, skip=skip)
    with pytest.raises(KeyboardInterrupt), Scratch(driver, "") as scratch:
        examine(scratch, Silent(local=True))
    assert not fault.times
    assert not inner.list_page("").objects
    assert not inner.uploads()


def test_what_cannot_be_removed_is_told():
    """A store that refuses deletes: every key that stays, and no others."""
    inner = MemoryStore()
    driver = FaultyDriver(inner)
    driver.plan("delete_many", Forbidden("delete: not allowed"), times=100)
    with Scratch(driver, "") as scratch:
        scratch.put("a", b"x")
        scratch.key("never made")
    assert scratch.left == [scratch.prefix + "a"]
    assert [info.key for info in inner.list_page("").objects] == scratch.left
