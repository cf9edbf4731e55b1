"""All buckets as one driver: the contract inside a bucket, and what the top is."""

# ruff: noqa: ARG002  # doubles take what the protocol gives

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from objfs.errors import (
    CrossDevice,
    Exists,
    Forbidden,
    NoSuchBucket,
    NotEmpty,
    NotFound,
    PreconditionFailed,
    Unsupported,
)
from objfs.store.account import AllBuckets, BucketInfo, moved_elsewhere
from objfs.store.base import Body, Capabilities, Driver, Sink, Usage
from objfs.store.file.account import FileAccount
from objfs.store.memory import MemoryStore
from objfs.types import ABSENT, ANYTHING, ETag, Expect, Headers, ObjectInfo, Page, Part
from tests.doubles import Wrapped
from tests.store.contract import DriverContract
from tests.store.kit import Bucket

T = TypeVar("T")
PLAIN = Headers()


class Shared(MemoryStore):
    """A bucket of which the objects may not be listed."""

    def list_page(self, *_: object, **__: object):
        """Refused."""
        raise Forbidden("LIST: access denied")


class MemoryAccount:
    """Buckets in memory; those in `hidden` are not listed. It cannot copy between them."""

    def __init__(self) -> None:
        self.stores: dict[str, MemoryStore] = {}
        self.hidden: set[str] = set()

    @property
    def capabilities(self) -> Capabilities:
        """As one bucket's."""
        return Capabilities(min_part=1)

    def check(self) -> None:
        """Always well."""

    def buckets(self) -> Sequence[BucketInfo]:
        """But the hidden ones."""
        return [BucketInfo(name) for name in self.stores if name not in self.hidden]

    def create_bucket(self, name: str) -> None:
        """A new one."""
        if name in self.stores:
            raise Exists(name)
        self.stores[name] = MemoryStore()

    def remove_bucket(self, name: str) -> None:
        """An empty one."""
        if name in self.stores and self.stores[name].usage().objects:
            raise NotEmpty(name)
        self.stores.pop(name, None)

    def open_bucket(self, name: str) -> Driver:
        """The store itself, or one that answers as S3 does where there is none."""
        return self.stores.get(name) or Missing()

    def copy(
        self,
        source: tuple[str, str],
        target: tuple[str, str],
        *,
        size: int,
        expect: Expect,
        headers: Headers | None,
    ) -> ObjectInfo:
        """Not offered."""
        raise moved_elsewhere(source, target)

    def usage(self) -> Usage | None:
        """Not known."""
        return None

    def close(self) -> None:
        """Nothing to give back."""


class Missing(MemoryStore):
    """No such bucket."""

    def list_page(self, *_: object, **__: object):
        """As the others."""
        raise NoSuchBucket("no such bucket")

    def head(self, key: str) -> ObjectInfo:
        """As the others."""
        raise NoSuchBucket("no such bucket")


class Inside(Wrapped):
    """One bucket of an account: its name comes in front of every key, and off every answer."""

    def around(self, operation: str, key: str, call: Callable[[], T]) -> T:
        """As it is."""
        return call()

    def _off(self, info: ObjectInfo) -> ObjectInfo:
        return replace(info, key=info.key.removeprefix("b/"))

    def list_page(
        self,
        prefix: str,
        *,
        delimiter: str = "",
        after: str = "",
        token: str = "",
        limit: int = 1000,
    ) -> Page:
        """Without the bucket's own marker."""
        behind = f"b/{after}" if after else ""
        limit += not (prefix or behind or token)
        page = self.inner.list_page(
            f"b/{prefix}", delimiter=delimiter, after=behind, token=token, limit=limit
        )
        return Page(
            tuple(self._off(info) for info in page.objects if info.key != "b/"),
            tuple(common.removeprefix("b/") for common in page.prefixes),
            page.token,
        )

    def head(self, key: str) -> ObjectInfo:
        """See `Driver`; so are all the others."""
        return self._off(self.inner.head(f"b/{key}"))

    def get(
        self, key: str, sink: Sink, *, start: int, stop: int, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """See `Driver`."""
        return self._off(self.inner.get(f"b/{key}", sink, start=start, stop=stop, expect=expect))

    def put(
        self, key: str, body: Body, headers: Headers, *, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """See `Driver`."""
        return self._off(self.inner.put(f"b/{key}", body, headers, expect=expect))

    def copy(
        self,
        source: str,
        target: str,
        *,
        size: int,
        expect: Expect = ANYTHING,
        target_expect: Expect = ANYTHING,
        headers: Headers | None = None,
    ) -> ObjectInfo:
        """See `Driver`."""
        return self._off(
            self.inner.copy(
                *(f"b/{source}", f"b/{target}"),
                size=size,
                expect=expect,
                target_expect=target_expect,
                headers=headers,
            )
        )

    def delete(self, key: str) -> None:
        """See `Driver`."""
        self.inner.delete(f"b/{key}")

    def delete_many(self, keys: Sequence[str]) -> Mapping[str, Exception]:
        """See `Driver`."""
        failed = self.inner.delete_many([f"b/{key}" for key in keys])
        return {key.removeprefix("b/"): error for key, error in failed.items()}

    def start_parts(self, key: str, headers: Headers) -> str:
        """See `Driver`."""
        return self.inner.start_parts(f"b/{key}", headers)

    def put_part(self, key: str, upload: str, number: int, body: Body) -> Part:
        """See `Driver`."""
        return self.inner.put_part(f"b/{key}", upload, number, body)

    def finish_parts(
        self, key: str, upload: str, parts: Sequence[Part], *, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """See `Driver`."""
        return self._off(self.inner.finish_parts(f"b/{key}", upload, parts, expect=expect))

    def abort_parts(self, key: str, upload: str) -> None:
        """See `Driver`."""
        self.inner.abort_parts(f"b/{key}", upload)

    def list_parts(self, key: str, upload: str, *, limit: int = 1000) -> Sequence[Part]:
        """See `Driver`."""
        return self.inner.list_parts(f"b/{key}", upload, limit=limit)

    def copy_part(
        self,
        key: str,
        upload: str,
        number: int,
        source: str,
        *,
        start: int,
        stop: int,
        expect: Expect = ANYTHING,
    ) -> Part:
        """See `Driver`."""
        return self.inner.copy_part(
            f"b/{key}", upload, number, f"b/{source}", start=start, stop=stop, expect=expect
        )


class TestInsideABucket(DriverContract):
    """Keys below a bucket keep every rule of the contract."""

    @pytest.fixture
    def bucket(self) -> Bucket:
        """One bucket of a new account, seen from inside."""
        driver = AllBuckets(MemoryAccount())
        driver.put("b/", b"", PLAIN)
        return Bucket(Inside(driver))


@pytest.fixture
def account() -> MemoryAccount:
    """An account with one bucket, that has one object."""
    account = MemoryAccount()
    account.create_bucket("photos")
    account.stores["photos"].put("2024/a.jpg", b"jpeg", PLAIN)
    return account


@pytest.fixture
def top(account: MemoryAccount) -> AllBuckets:
    """Its driver."""
    return AllBuckets(account)


def test_the_top_lists_buckets_in_pages(account, top):
    """Each is a prefix; what is not listed may exist all the same."""
    for name in ("a", "b", "c"):
        account.create_bucket(name)
    page = top.list_page("", delimiter="/", limit=3)
    assert (page.prefixes, page.partial) == (("a/", "b/", "c/"), True)
    last = top.list_page("", delimiter="/", limit=3, token=page.token)
    assert (last.prefixes, last.token) == (("photos/",), "")


def test_a_bucket_is_made_and_removed_by_its_marker(account, top):
    """Making one that exists is a failed condition; a full one stays."""
    top.put("new/", b"", PLAIN, expect=ABSENT)
    assert "new" in account.stores
    with pytest.raises(PreconditionFailed):
        top.put("new/", b"", PLAIN, expect=ABSENT)
    top.put("new/", b"", PLAIN)
    with pytest.raises(NotEmpty):
        top.delete("photos/")
    top.delete("new/")
    top.delete("new/")
    assert set(account.stores) == {"photos"}
    assert set(top.delete_many(["photos/", "photos/2024/a.jpg"])) == set()
    assert not account.stores


def test_an_empty_bucket_is_there(account, top):
    """The look for one key below it finds its marker; below none there is nothing."""
    account.create_bucket("empty")
    assert [info.key for info in top.list_page("empty/", limit=1).objects] == ["empty/"]
    page = top.list_page("photos/", delimiter="/")
    assert [info.key for info in page.objects] == ["photos/"]
    assert page.prefixes == ("photos/2024/",)
    assert not top.list_page("none/", limit=1).objects
    with pytest.raises(NotFound):
        top.head("none/a")


def test_a_hidden_bucket_is_reached_by_name(account, top):
    """It is not listed, and all of it works."""
    account.hidden.add("photos")
    assert top.list_page("", delimiter="/").prefixes == ()
    assert top.head("photos/2024/a.jpg").size == 4
    assert top.list_page("photos/2024/").objects


def test_objects_of_an_unlistable_bucket_are_reached_by_name(account, top):
    """A look finds the bucket and nothing below it; a real listing is refused."""
    account.stores["shared"] = Shared()
    account.stores["shared"].put("a", b"1", PLAIN)
    assert [info.key for info in top.list_page("shared/", limit=1).objects] == ["shared/"]
    assert not top.list_page("shared/a/", limit=1).objects
    assert top.head("shared/a").size == 1
    with pytest.raises(Forbidden):
        top.list_page("shared/", delimiter="/")


def test_the_top_holds_no_objects(top):
    """Neither stored nor found."""
    assert not top.capabilities.top_level_objects
    with pytest.raises(Unsupported, match="only buckets"):
        top.put("file", b"", PLAIN)
    with pytest.raises(Unsupported, match="only buckets"):
        top.copy("photos/2024/a.jpg", "file", size=4)
    with pytest.raises(NotFound):
        top.head("file")


def test_what_cannot_be_copied(account, top):
    """From bucket to bucket where the account cannot; a bucket itself nowhere."""
    account.create_bucket("other")
    with pytest.raises(CrossDevice, match="mv"):
        top.copy("photos/2024/a.jpg", "other/a.jpg", size=4)
    with pytest.raises(Unsupported, match="cannot be renamed"):
        top.copy("photos/", "pictures/", size=0)


# --- the embedded store ------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[AllBuckets]:
    """A folder of stores."""
    driver = AllBuckets(FileAccount(tmp_path / "stores"))
    yield driver
    driver.close()


def test_embedded_buckets(folder, tmp_path):
    """Made, listed, counted, copied between, and removed from the disk."""
    folder.put("a/", b"", PLAIN)
    folder.put("b/", b"", PLAIN)
    (tmp_path / "stores" / "other").mkdir()
    assert folder.list_page("", delimiter="/").prefixes == ("a/", "b/")
    stored = folder.put("a/x", b"12345", Headers("text/plain", {"k": "v"}))
    assert folder.copy("a/x", "b/y", size=5, expect=Expect(etag=stored.etag)).key == "b/y"
    found = folder.head("b/y")
    assert (found.etag, found.content_type, found.metadata) == (
        *(stored.etag, "text/plain"),
        {"k": "v"},
    )
    with pytest.raises(PreconditionFailed):
        folder.copy("a/x", "b/z", size=5, expect=Expect(etag=ETag("other")))
    assert folder.usage() == Usage(10, 2)
    with pytest.raises(NotEmpty):
        folder.delete("a/")
    folder.delete("a/x")
    folder.delete("a/")
    assert not (tmp_path / "stores" / "a").exists()
    with pytest.raises(NotFound):
        folder.head("a/x")
    assert folder.copy("b/y", "b/w", size=5, expect=ANYTHING).key == "b/w"
