"""The embedded store as a driver: rows from the index, bytes from the blobs."""

import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from objfs.errors import (
    InvalidArgument,
    InvalidName,
    InvalidRange,
    NameTooLong,
    NoSuchBucket,
    NoSuchUpload,
    NotFound,
    PreconditionFailed,
    StoreError,
)
from objfs.store.base import Body, Capabilities, FileRange, Sink, Usage
from objfs.store.file import layout, scan
from objfs.store.file.blobs import CHUNK, Blobs, locked, lost
from objfs.store.file.index import (
    Index,
    Row,
    Transaction,
    find,
    find_parts,
    find_upload,
)
from objfs.types import ANYTHING, ETag, Expect, Headers, ObjectInfo, Page, Part

MANY: Final = 1000
"""Keys that one `delete_many` takes, as S3's does."""
_ATTEMPTS: Final = 100
"""How often a reader goes after an object that is replaced between its row and its blob."""
_UNLIMITED: Final = 2**62


class FileStore:
    """A bucket in a local folder, shared by all threads and processes that open it.

    Raises `UsageError` for a folder that holds something else or a newer format, `NoSuchBucket`
    if there is none and `create` is off, `Forbidden` and `NoSpace`. Make it after any fork: an
    SQLite connection does not survive one.
    """

    def __init__(self, folder: Path, *, create: bool = True) -> None:
        self._folder = folder.absolute()
        self._index = Index(self._folder / layout.INDEX)
        self._blobs = Blobs(self._folder, self._index)
        with layout.failing("open the store in", str(folder), folder):
            if not layout.admit(self._folder, create=create):
                self._folder.mkdir(parents=True, exist_ok=True)
                with locked(self._folder):
                    # Another process may have made it while this one waited for the lock.
                    if not layout.admit(self._folder, create=create):
                        self._index.create()
                        layout.sync_folder(self._folder)
            self._blobs.join()

    @staticmethod
    def is_store(folder: Path) -> bool:
        """Whether the folder itself is one."""
        with layout.failing("look for a store at", str(folder), folder):
            return bool(layout.format_of(folder))

    @staticmethod
    def locate(path: Path) -> tuple[Path, str]:
        """The folder of the store that `path` is in, and the key prefix of the rest of it."""
        with layout.failing("look for a store at", str(path), path):
            return layout.locate(path)

    ABILITIES: Final = Capabilities(max_key=4096, max_put=_UNLIMITED, min_part=1)
    """Everything, at any size; keys may be as long as a path of Linux may (PATH_MAX)."""

    @property
    def capabilities(self) -> Capabilities:
        """`ABILITIES`."""
        return self.ABILITIES

    def check(self) -> None:
        """See that the folder is still there, and still this store."""
        with layout.failing("check the store in", str(self._folder), self._folder):
            if not layout.format_of(self._folder):
                raise NoSuchBucket(f"check the store in {self._folder}: it is gone")
            with self._index.reading() as db:
                db.execute("SELECT bytes FROM totals").fetchone()

    def list_page(
        self,
        prefix: str,
        *,
        delimiter: str = "",
        after: str = "",
        token: str = "",
        limit: int = 1000,
    ) -> Page:
        """One page, a snapshot; see `objfs.store.file.scan` for its cost."""
        with self._failing("list", prefix), self._index.reading() as db:
            return scan.page(db, prefix, delimiter=delimiter, after=after, token=token, limit=limit)

    def head(self, key: str) -> ObjectInfo:
        """The object's facts."""
        with self._failing("head", key):
            return self._find("head", key).info()

    def get(
        self, key: str, sink: Sink, *, start: int, stop: int, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """Feed the range; the bytes are of one version whoever replaces it meanwhile."""
        with self._failing("get", key):
            row, fd = self._open(key, expect, start, stop)
        try:
            at = start
            while at < stop:
                # The sink's errors are its own: an ENOSPC of the cache is not the store's.
                with self._failing("get", key):
                    chunk = os.pread(fd, min(CHUNK, stop - at), at)
                if not chunk:
                    raise lost(row, self._folder)
                sink(memoryview(chunk))
                at += len(chunk)
        finally:
            os.close(fd)
        return row.info()

    def put(
        self, key: str, body: Body, headers: Headers, *, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """Store it, durably. The MD5 is made of the bytes as they are written."""
        name = self._name("put", key)
        with self._failing("put", key), self._blobs.staged(body) as staged:
            row = _row(name, staged.size, ETag(staged.md5), headers, staged.blob)
            self._commit("put", row, expect)
        return row.info()

    def copy(
        self,
        source: str,
        target: str,
        *,
        size: int,  # noqa: ARG002 - the protocol's; one link copies any size
        expect: Expect = ANYTHING,
        target_expect: Expect = ANYTHING,
        headers: Headers | None = None,
    ) -> ObjectInfo:
        """Copy as a hard link where the file system has them; `size` does not matter here."""
        name = self._name("copy to", target)
        with self._failing("copy", source):
            for _ in range(_ATTEMPTS):
                old = self._find("copy", source)
                _met("copy", source, expect, old)
                row = _row(name, old.size, old.etag, headers or old.headers(), "")
                try:
                    with self._blobs.staged_copy([old.blob]) as blob:
                        row = _row(name, old.size, old.etag, headers or old.headers(), blob)
                        self._commit("copy to", row, target_expect)
                except FileNotFoundError:
                    if self._find("copy", source).blob == old.blob:
                        raise lost(old, self._folder) from None
                    continue
                return row.info()
        raise StoreError(f"copy {source!r}: it is replaced faster than it can be opened")

    def delete(self, key: str) -> None:
        """Remove it, durably."""
        self.delete_many([key])

    def delete_many(self, keys: Sequence[str]) -> Mapping[str, Exception]:
        """Remove all of them in one transaction, so nothing fails alone."""
        if len(keys) > MANY:
            raise InvalidArgument(f"delete {len(keys)} keys: one request takes {MANY}")
        names = [self._name("delete", key) for key in keys]
        with self._failing("delete", keys[0] if keys else ""), self._writing() as transaction:
            for name in names:
                transaction.remove(name)
        return {}

    def start_parts(self, key: str, headers: Headers) -> str:
        """Begin a multipart upload; it outlives this process until it is aborted."""
        upload = secrets.token_hex(16)
        name = self._name("start an upload of", key)
        with self._failing("start an upload of", key), self._writing() as transaction:
            transaction.db.execute(
                "INSERT INTO uploads VALUES(?, ?, ?, ?, ?)",
                (upload, name, headers.content_type, _json(headers.metadata), time.time_ns()),
            )
        return upload

    def put_part(self, key: str, upload: str, number: int, body: Body) -> Part:
        """Keep one part, durably; a number that is there already is replaced."""
        name = self._name("put a part of", key)
        if not 1 <= number <= self.capabilities.max_parts:
            raise InvalidArgument(f"put part {number} of {key!r}: numbers start at 1")
        with self._failing("put a part of", key):
            self._find_upload("put a part of", name, upload)
            with self._blobs.staged(body) as staged, self._writing() as transaction:
                if find_upload(transaction.db, upload, name) is None:
                    raise NoSuchUpload(f"put a part of {key!r}: no such upload")
                old = find_parts(transaction.db, upload).get(number)
                transaction.db.execute(
                    "INSERT OR REPLACE INTO parts VALUES(?, ?, ?, ?, ?)",
                    (upload, number, staged.md5, staged.size, staged.blob),
                )
                transaction.move(staged.blob)
                transaction.drop(old.blob if old else "")
        return Part(number, ETag(staged.md5), staged.size)

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
        """A part out of one version of an object, whoever replaces it meanwhile."""
        with self._failing("copy a part of", source):
            _, fd = self._open(source, expect, start, stop)
        try:
            return self.put_part(key, upload, number, FileRange(fd, start, stop - start))
        finally:
            os.close(fd)

    def list_parts(
        self,
        key: str,
        upload: str,
        *,
        limit: int = 1000,  # noqa: ARG002 - the protocol's; one query has them all
    ) -> Sequence[Part]:
        """The parts so far, by number."""
        name = self._name("list the parts of", key)
        with self._failing("list the parts of", key):
            self._find_upload("list the parts of", name, upload)
            with self._index.reading() as db:
                found = find_parts(db, upload)
        return [Part(n, part.etag, part.size) for n, part in sorted(found.items())]

    def finish_parts(
        self, key: str, upload: str, parts: Sequence[Part], *, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """Join the parts. After `PreconditionFailed` the upload is still there, as on S3."""
        name = self._name("finish", key)
        with self._failing("finish", key):
            headers = self._find_upload("finish", name, upload)
            blobs, size = self._chosen(key, upload, parts)
            try:
                with self._blobs.staged_copy(blobs) as blob:
                    row = _row(name, size, _joined(parts), headers, blob)
                    self._commit("finish", row, expect, upload)
            except FileNotFoundError:
                raise NoSuchUpload(f"finish {key!r}: a part went away meanwhile") from None
        return row.info()

    def abort_parts(self, key: str, upload: str) -> None:
        """Drop the upload, if it is there."""
        with self._failing("abort the upload of", key), self._writing() as transaction:
            transaction.remove_upload(upload)

    def usage(self) -> Usage:
        """From running totals; copies count as if they cost room."""
        with self._failing("count", ""), self._index.reading() as db:
            return Usage(*db.execute("SELECT bytes, objects FROM totals").fetchone())

    def open_object(self, key: str, expect: Expect) -> tuple[ObjectInfo, Body, int]:
        """One version, its bytes, and the descriptor behind them (-1 for none) to be closed."""
        with self._failing("get", key):
            row = self._find("get", key)
            _met("get", key, expect, row)
            if not row.size:
                return row.info(), b"", -1
            row, fd = self._open(key, Expect(etag=row.etag), 0, row.size)
            return row.info(), FileRange(fd, 0, row.size), fd

    def close(self) -> None:
        """End the session; the folder is left as if no process had it open."""
        with self._failing("close the store", ""):
            self._blobs.leave()
            self._index.close()

    def _failing(self, operation: str, key: str) -> AbstractContextManager[None]:
        return layout.failing(operation, repr(key), self._folder)

    def _name(self, operation: str, key: str) -> bytes:
        try:
            name = key.encode()
        except UnicodeEncodeError as error:
            raise InvalidName(f"{operation} {key!r}: the key is not UTF-8") from error
        if not 0 < len(name) <= self.capabilities.max_key:
            most = self.capabilities.max_key
            raise NameTooLong(f"{operation} {key!r}: a key has 1 to {most} bytes")
        return name

    def _find(self, operation: str, key: str) -> Row:
        name = self._name(operation, key)
        with self._index.reading() as db:
            row = find(db, name)
        if row is None:
            raise NotFound(f"{operation} {key!r}: no such object")
        return row

    def _find_upload(self, operation: str, name: bytes, upload: str) -> Headers:
        with self._index.reading() as db:
            headers = find_upload(db, upload, name)
        if headers is None:
            raise NoSuchUpload(f"{operation} {name.decode()!r}: no such upload")
        return headers

    def _open(self, key: str, expect: Expect, start: int, stop: int) -> tuple[Row, int]:
        """The row and its open blob; asks again for the row if the blob was just replaced."""
        missing = ""
        for _ in range(_ATTEMPTS):
            row = self._find("get", key)
            _met("get", key, expect, row)
            if not 0 <= start < stop <= row.size:
                raise InvalidRange(f"get {key!r}: [{start}, {stop}) is not in {row.size} bytes")
            if row.blob == missing:
                raise lost(row, self._folder)
            try:
                return row, self._blobs.open(row.blob)
            except FileNotFoundError:
                missing = row.blob
        raise StoreError(f"get {key!r}: it is replaced faster than it can be opened")

    def _chosen(self, key: str, upload: str, parts: Sequence[Part]) -> tuple[list[str], int]:
        numbers = [part.number for part in parts]
        if not parts or numbers != sorted(set(numbers)):
            raise StoreError(f"finish {key!r}: part numbers {numbers} do not go up")
        with self._index.reading() as db:
            have = find_parts(db, upload)
        for part in parts:
            if part.number not in have or have[part.number].etag != part.etag:
                raise StoreError(f"finish {key!r}: part {part.number} was never uploaded so")
        chosen = [have[number] for number in numbers]
        return [part.blob for part in chosen], sum(part.size for part in chosen)

    def _commit(self, operation: str, row: Row, expect: Expect, upload: str = "") -> None:
        """Make `row` the object if the condition holds, in one durable transaction."""
        key = row.key.decode()
        with self._writing() as transaction:
            old = find(transaction.db, row.key)
            if upload and find_upload(transaction.db, upload, row.key) is None:
                raise NoSuchUpload(f"{operation} {key!r}: no such upload")
            _met(operation, key, expect, old)
            transaction.store(row, old)
            if upload:
                transaction.remove_upload(upload)

    @contextmanager
    def _writing(self) -> Iterator[Transaction]:
        with self._index.writing() as transaction:
            yield transaction
        self._blobs.remove(transaction.dropped)


def _row(name: bytes, size: int, etag: ETag, headers: Headers, blob: str) -> Row:
    return Row(
        name, size, etag, time.time_ns(), headers.content_type, _json(headers.metadata), blob
    )


def _json(metadata: Mapping[str, str]) -> str:
    return json.dumps(dict(metadata), separators=(",", ":"))


def _joined(parts: Sequence[Part]) -> ETag:
    digests = b"".join(bytes.fromhex(part.etag) for part in parts)
    return ETag(f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}")


def _met(operation: str, key: str, expect: Expect, found: Row | None) -> None:
    if expect.absent and found is not None:
        raise PreconditionFailed(f"{operation} {key!r}: it exists, and was expected not to")
    if expect.etag is not None and (found is None or found.etag != expect.etag):
        raise PreconditionFailed(f"{operation} {key!r}: it is not version {expect.etag}")
