"""All buckets of one account as one driver: a bucket is a directory at the top.

The key `photos/2024/a.jpg` is the object `2024/a.jpg` in the bucket `photos`, and the marker
`photos/` is the bucket itself: to put it makes the bucket, to delete it removes an empty one. So
everything above (tree, caches, journal) works as it does for one bucket, and every key of every
bucket has its path.

Semantics:
- A bucket that the account's listing does not show is reachable by its name all the same, so a
  listing of the top is never believed to be all there is (`Page.partial`). A bucket of which the
  objects may not be listed is a directory whose objects are reachable by their names.
- The top holds buckets and nothing else (`Capabilities.top_level_objects`).
- An object goes from bucket to bucket inside the store where the account can; where it cannot,
  rename(2) answers EXDEV, and mv(1) then copies by itself. A bucket has no other name.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final, Protocol

from objfs.errors import (
    CrossDevice,
    Exists,
    Forbidden,
    NoSuchBucket,
    NotFound,
    ObjfsError,
    PreconditionFailed,
    Unsupported,
)
from objfs.store.base import Body, Capabilities, Driver, Sink, Usage
from objfs.types import ANYTHING, DELIMITER, ETag, Expect, Headers, ObjectInfo, Page, Part

_FIRST: Final = "first"
"""The token of a page that has shown the bucket's marker and nothing else."""
_INNER: Final = "inner:"
"""In front of a token of the bucket's own listing."""
_SHORTEST: Final = 4
"""Bytes of the shortest bucket's name (S3: three) and the delimiter."""


@dataclass(frozen=True, slots=True)
class BucketInfo:
    """A bucket as the account lists it; `born_ns` is 0 where the store does not tell."""

    name: str
    born_ns: int = 0


class Account(Protocol):
    """The buckets of one user of one store. Methods block, and are called from many threads."""

    @property
    def capabilities(self) -> Capabilities:
        """What its buckets honour, as far as is known."""

    def check(self) -> None:
        """One cheap request that fails as the mount would: no access, no connection."""

    def buckets(self) -> Sequence[BucketInfo]:
        """All that the account lists. Raises `Forbidden` where it may not."""

    def create_bucket(self, name: str) -> None:
        """Raises `Exists` when the name is taken, also by this account, and `InvalidName`."""

    def remove_bucket(self, name: str) -> None:
        """Raises `NotEmpty`; one that is not there is no error."""

    def open_bucket(self, name: str) -> Driver:
        """Its driver; no request is made."""

    def copy(
        self,
        source: tuple[str, str],
        target: tuple[str, str],
        *,
        size: int,
        expect: Expect,
        headers: Headers | None,
    ) -> ObjectInfo:
        """Copy from bucket to bucket inside the store. Raises `CrossDevice` where it cannot."""

    def usage(self) -> Usage | None:
        """Totals of the account; None where the store has none."""

    def close(self) -> None:
        """Give back what the buckets share."""


class AllBuckets:
    """The driver of a whole account; see the header."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._lock = threading.Lock()
        self._drivers: dict[str, Driver] = {}

    @property
    def capabilities(self) -> Capabilities:
        """The buckets', but for the top level. A key has the bucket's name in front."""
        inner = self._account.capabilities
        return replace(inner, top_level_objects=False, max_key=inner.max_key + _SHORTEST)

    def check(self) -> None:
        """As the account does."""
        self._account.check()

    # --- reading -------------------------------------------------------------------------------

    def list_page(
        self,
        prefix: str,
        *,
        delimiter: str = "",
        after: str = "",
        token: str = "",
        limit: int = 1000,
    ) -> Page:
        """A page of one bucket, or of the buckets themselves."""
        name, slash, rest = prefix.partition(DELIMITER)
        if not slash:
            return self._top(prefix, delimiter=delimiter, after=token or after, limit=limit)
        try:
            return self._inside(
                name, rest, delimiter=delimiter, after=after, token=token, limit=limit
            )
        except NoSuchBucket:
            return Page((), ())
        except Forbidden:
            # the look of a lookup, whether anything is below: this much need not be allowed
            if delimiter or token or limit > 1:
                raise
            return Page(() if rest else (_marker(name),), ())

    def head(self, key: str) -> ObjectInfo:
        """An object's facts; the top has none."""
        name, rest = _split("HEAD", key)
        with _as_directory():
            return _named(name, self._driver(name).head(rest))

    def get(
        self, key: str, sink: Sink, *, start: int, stop: int, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """Feed a range."""
        name, rest = _split("GET", key)
        with _as_directory():
            found = self._driver(name).get(rest, sink, start=start, stop=stop, expect=expect)
        return _named(name, found)

    # --- writing -------------------------------------------------------------------------------

    def put(
        self, key: str, body: Body, headers: Headers, *, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """Store an object, or make a bucket where the key is its marker."""
        if _is_bucket(key):
            name = key[:-1]
            try:
                self._account.create_bucket(name)
            except Exists as error:
                if expect.absent:
                    raise PreconditionFailed(f"{error.message}", remedy=error.remedy) from error
            return _marker(name)
        name, rest = _split("PUT", key)
        return _named(name, self._driver(name).put(rest, body, headers, expect=expect))

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
        """Copy in a bucket, or from one to another. Raises `CrossDevice` where that cannot be."""
        if _is_bucket(source):
            raise Unsupported(
                f"COPY {source}: a bucket cannot be renamed",
                remedy="Make another with mkdir, and move what is in it",
            )
        here, old = _split("COPY", source)
        there, new = _split("COPY to", target)
        if here == there:
            found = self._driver(here).copy(
                *(old, new), size=size, expect=expect, target_expect=target_expect, headers=headers
            )
        else:
            if target_expect != ANYTHING:
                raise Unsupported(f"COPY {source} to {target}: no condition on another bucket")
            found = self._account.copy(
                (here, old), (there, new), size=size, expect=expect, headers=headers
            )
        return _named(there, found)

    def delete(self, key: str) -> None:
        """Remove an object, or an empty bucket by its marker."""
        if _is_bucket(key):
            name = key[:-1]
            self._account.remove_bucket(name)
            with self._lock:
                self._drivers.pop(name, None)
            return
        name, rest = _split("DELETE", key)
        self._driver(name).delete(rest)

    def delete_many(self, keys: Sequence[str]) -> Mapping[str, Exception]:
        """Remove objects of any buckets, and then buckets."""
        failed: dict[str, Exception] = {}
        markers = [key for key in keys if _is_bucket(key)]
        objects = sorted(set(keys) - set(markers))
        for name, group in groupby(objects, key=lambda key: key.partition(DELIMITER)[0]):
            inner = [key[len(name) + 1 :] for key in group]
            answer = self._driver(name).delete_many(inner)
            failed |= {f"{name}/{key}": error for key, error in answer.items()}
        for key in markers:
            try:
                self.delete(key)
            except ObjfsError as error:
                failed[key] = error
        return failed

    def start_parts(self, key: str, headers: Headers) -> str:
        """Begin a multipart upload in its bucket."""
        name, rest = _split("PUT", key)
        return self._driver(name).start_parts(rest, headers)

    def put_part(self, key: str, upload: str, number: int, body: Body) -> Part:
        """Upload one part."""
        name, rest = _split("PUT", key)
        return self._driver(name).put_part(rest, upload, number, body)

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
        """Make a part out of an object of the same bucket."""
        name, rest = _split("COPY to", key)
        here, old = _split("COPY", source)
        if here != name:
            raise Unsupported(f"COPY {source} to {key}: no parts out of another bucket")
        return self._driver(name).copy_part(
            *(rest, upload, number, old), start=start, stop=stop, expect=expect
        )

    def list_parts(self, key: str, upload: str, *, limit: int = 1000) -> Sequence[Part]:
        """The parts of an upload."""
        name, rest = _split("PUT", key)
        return self._driver(name).list_parts(rest, upload, limit=limit)

    def finish_parts(
        self, key: str, upload: str, parts: Sequence[Part], *, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """Make the object of its parts."""
        name, rest = _split("PUT", key)
        return _named(name, self._driver(name).finish_parts(rest, upload, parts, expect=expect))

    def abort_parts(self, key: str, upload: str) -> None:
        """Drop the upload."""
        name, rest = _split("ABORT", key)
        self._driver(name).abort_parts(rest, upload)

    def usage(self) -> Usage | None:
        """The account's totals."""
        return self._account.usage()

    def close(self) -> None:
        """Close every bucket, and the account."""
        with self._lock:
            drivers, self._drivers = list(self._drivers.values()), {}
        for driver in drivers:
            driver.close()
        self._account.close()

    # --- inside --------------------------------------------------------------------------------

    def _driver(self, name: str) -> Driver:
        with self._lock:
            driver = self._drivers.get(name)
            if driver is None:
                driver = self._drivers[name] = self._account.open_bucket(name)
            return driver

    def _top(self, prefix: str, *, delimiter: str, after: str, limit: int) -> Page:
        found = sorted(
            (f"{bucket.name}/", bucket.born_ns)
            for bucket in self._account.buckets()
            if bucket.name.startswith(prefix)
        )
        rest = [entry for entry in found if entry[0].encode() > after.encode()]
        page, token = rest[:limit], rest[limit - 1][0] if len(rest) > limit else ""
        if delimiter:
            return Page((), tuple(name for name, _ in page), token, partial=True)
        # Nobody lists every object of an account in one go: buckets stand for what is in them.
        return Page(tuple(_marker(name[:-1], born) for name, born in page), (), token, partial=True)

    def _inside(
        self, name: str, rest: str, *, delimiter: str, after: str, token: str, limit: int
    ) -> Page:
        driver = self._driver(name)
        first: tuple[ObjectInfo, ...] = ()
        if not rest and not token and not after:
            first = (_marker(name),)
            if limit == 1:
                driver.list_page("", limit=1)  # is there such a bucket?
                return Page(first, (), _FIRST)
        page = driver.list_page(
            rest,
            delimiter=delimiter,
            after=after.removeprefix(f"{name}/") if after.startswith(f"{name}/") else "",
            token=token.removeprefix(_INNER) if token.startswith(_INNER) else "",
            limit=limit - len(first),
        )
        return Page(
            first + tuple(_named(name, info) for info in page.objects),
            tuple(f"{name}/{common}" for common in page.prefixes),
            _INNER + page.token if page.token else "",
        )


class _as_directory:  # noqa: N801  # reads as a statement
    """A bucket is a directory here: one that is not there is a name that is not there."""

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, NoSuchBucket):
            raise NotFound(error.message, remedy=error.remedy) from error


def _split(operation: str, key: str) -> tuple[str, str]:
    """The bucket and the key in it. Raises `NotFound` for what no bucket can hold."""
    name, _, rest = key.partition(DELIMITER)
    if not rest:
        if operation.startswith(("PUT", "COPY to")):
            raise Unsupported(
                f"{operation} {key}: only buckets can be here",
                remedy="Make one with mkdir, and put files into it",
            )
        raise NotFound(f"{operation} {key}: only buckets are here")
    return name, rest


def _is_bucket(key: str) -> bool:
    """Whether a key is a bucket's marker."""
    return key.find(DELIMITER) == len(key) - 1


def _named(name: str, info: ObjectInfo) -> ObjectInfo:
    return replace(info, key=f"{name}/{info.key}")


def _marker(name: str, born_ns: int = 0) -> ObjectInfo:
    return ObjectInfo(f"{name}/", 0, ETag("bucket"), born_ns, content_type="", metadata={})


def moved_elsewhere(source: tuple[str, str], target: tuple[str, str]) -> CrossDevice:
    """The error of an account that cannot copy from bucket to bucket."""
    return CrossDevice(
        f"COPY {'/'.join(source)} to {'/'.join(target)}: this store copies inside a bucket only",
        remedy="mv(1) copies it by itself",
    )
