"""The bytes: immutable files, written in a folder of this process and moved once committed.

How a write goes, and what is left when the process dies between two steps:

1. The blob is written to sessions/SESSION/ID and is durable there (file and folder fsynced).
   Died before 2: no `moves` note names it, so the next process that opens the store removes it.
2. One durable transaction checks the condition, writes the row, and notes ID in `moves`, and the
   blob that it replaces in `garbage`. Died after: the next process moves it where it belongs.
3. The file is renamed to blobs/xx/ID; the replaced blob is removed; both notes go with some later
   transaction. Died after: acting on a note a second time finds nothing to do.

INVARIANT: a blob moves only from its session's folder to its final place, in one rename. Whoever
looks for it, to read or to remove it, looks in the session's folder *before* the final place.

A session lives while its process holds the flock on its `alive` file; the kernel drops that with
the process, however it ends. Relied on: a rename is atomic over a power cut, as on ext4, XFS and
Btrfs.
"""

import errno
import fcntl
import hashlib
import itertools
import logging
import os
import secrets
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from objfs.errors import Corrupt, ObjfsError
from objfs.store.base import Body
from objfs.store.file.index import Index, Row
from objfs.store.file.layout import BLOBS, LOCK, SESSIONS, sync_folder

CHUNK: Final = 2**20
"""Bytes read or written in one call."""
_log = logging.getLogger(__name__)
_ALIVE: Final = "alive"
_NO_CLONE: Final = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EMLINK}
)
"""What a file system answers that cannot link, or copy inside itself."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A blob that is durable, and in no row yet; "" is the blob of an empty object."""

    blob: str
    size: int
    md5: str


class Blobs:
    """The blob files of one store, and this process's session in it."""

    def __init__(self, folder: Path, index: Index) -> None:
        self._root = folder
        self._index = index
        self._session = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._alive = -1

    def join(self) -> None:
        """Clean up after dead processes, and be known as a living one.

        INVARIANT: both under the store's lock, so that nobody takes a session for dead that has no
        flock *yet*, and no two clean the same one.
        """
        with locked(self._root):
            (self._root / BLOBS).mkdir(exist_ok=True)
            (self._root / SESSIONS).mkdir(exist_ok=True)
            for folder in list((self._root / SESSIONS).iterdir()):
                self._bury(folder)
            self._sweep()
            mine = self._root / SESSIONS / self._session
            mine.mkdir()
            self._alive = os.open(mine / _ALIVE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
            fcntl.flock(self._alive, fcntl.LOCK_EX)
            sync_folder(self._root / SESSIONS)

    def leave(self) -> None:
        """Be known as dead, and clean up after oneself."""
        if self._alive < 0:
            return
        alive, self._alive = self._alive, -1
        try:
            with locked(self._root):
                # Only under the lock: else somebody who joins buries this session at the same time.
                fcntl.flock(alive, fcntl.LOCK_UN)
                self._bury(self._root / SESSIONS / self._session)
        finally:
            os.close(alive)

    @contextmanager
    def staged(self, body: Body) -> Iterator[Staged]:
        """Write a blob and hold it while the block commits it; see `_holding`."""
        if not (len(body) if isinstance(body, bytes) else body.size):
            yield Staged("", 0, hashlib.md5(b"", usedforsecurity=False).hexdigest())
            return
        blob, path = self._new()
        with self._holding(blob):
            with self._writable(path) as fd:
                size, md5 = _write(fd, body)
            yield Staged(blob, size, md5)

    @contextmanager
    def staged_copy(self, sources: Sequence[str]) -> Iterator[str]:
        """The same for a blob that is other blobs in a row, without reading them where possible.

        Raises `FileNotFoundError` when a source is gone. One source becomes a hard link: a blob
        never changes, so two names may share its bytes.
        """
        wanted = [blob for blob in sources if blob]
        if not wanted:
            yield ""
            return
        blob, path = self._new()
        with self._holding(blob):
            if len(wanted) > 1 or not self._link(wanted[0], path):
                with self._writable(path) as fd:
                    for source in wanted:
                        self._append(source, fd)
            else:
                sync_folder(path.parent)
            yield blob

    def open(self, blob: str) -> int:
        """A file descriptor to read it. Raises `FileNotFoundError` when it was removed."""
        # The final place first is only for speed: the order that counts is the second and third.
        for path in (self._final(blob), self._early(blob), self._final(blob)):
            with suppress(FileNotFoundError):
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        raise FileNotFoundError(errno.ENOENT, "no such blob", blob)

    def remove(self, blobs: Sequence[str]) -> None:
        """Remove what a committed transaction has dropped; what cannot be removed is left noted."""
        for blob in blobs:
            try:
                self._early(blob).unlink(missing_ok=True)
                self._final(blob).unlink(missing_ok=True)
            except OSError as error:
                _log.warning("the dropped blob %s of %s stays: %s", blob, self._root, error)
            else:
                self._index.removed(blob)

    def _new(self) -> tuple[str, Path]:
        blob = f"{self._session}-{next(self._numbers):x}"
        return blob, self._early(blob)

    @contextmanager
    def _holding(self, blob: str) -> Iterator[None]:
        """Move the blob when the block commits; remove it when the block decides against it.

        After any other failure of the commit it is not known on which side of the disk's cache the
        transaction was: the file stays until the session is buried, when the index is the judge.
        """
        try:
            yield
        except (ObjfsError, OSError):
            self._early(blob).unlink(missing_ok=True)
            raise
        try:
            self._move(blob)
        except OSError as error:
            # It is committed, and readers find it where it is; burying the session moves it.
            _log.warning("the blob %s of %s stays where it is: %s", blob, self._root, error)

    def _move(self, blob: str) -> None:
        early, final = self._early(blob), self._final(blob)
        try:
            early.rename(final)
        except FileNotFoundError:
            # Either the fan-out folder is new, or somebody has dropped the blob already.
            final.parent.mkdir(exist_ok=True)
            with suppress(FileNotFoundError):
                early.rename(final)
        self._index.moved(blob)

    @contextmanager
    def _writable(self, path: Path) -> Iterator[int]:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666)
        try:
            yield fd
            os.fsync(fd)
        finally:
            os.close(fd)
        sync_folder(path.parent)

    def _link(self, source: str, path: Path) -> bool:
        for place in (self._final(source), self._early(source), self._final(source)):
            try:
                os.link(place, path)
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno in _NO_CLONE:
                    return False
                raise
            return True
        raise FileNotFoundError(errno.ENOENT, "no such blob", source)

    def _append(self, source: str, target: int) -> None:
        fd = self.open(source)
        try:
            left = os.fstat(fd).st_size
            try:
                while left and (done := os.copy_file_range(fd, target, left)):
                    left -= done
            except OSError as error:
                if error.errno not in _NO_CLONE:
                    raise
                while chunk := os.read(fd, CHUNK):
                    _write_all(target, memoryview(chunk))
        finally:
            os.close(fd)

    def _bury(self, folder: Path) -> None:
        """Move what a dead session had committed, remove the rest of it."""
        with suppress(FileNotFoundError):
            fd = os.open(folder / _ALIVE, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            finally:
                os.close(fd)
        with self._index.writing() as transaction:
            notes = transaction.db.execute(
                "DELETE FROM moves WHERE blob >= ? AND blob < ? RETURNING blob",
                (f"{folder.name}-", f"{folder.name}."),
            ).fetchall()
            # Before the commit: should this process die here, the notes are still there.
            for (blob,) in notes:
                self._move(blob)
        shutil.rmtree(folder)

    def _sweep(self) -> None:
        with self._index.reading() as db:
            dropped = db.execute("SELECT blob FROM garbage").fetchall()
        self.remove([blob for (blob,) in dropped])

    def _early(self, blob: str) -> Path:
        return self._root / SESSIONS / blob.partition("-")[0] / blob

    def _final(self, blob: str) -> Path:
        return self._root / BLOBS / f"{zlib.crc32(blob.encode()) & 0xFF:02x}" / blob


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the store's lock; it is waited for, and held for milliseconds."""
    fd = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def lost(row: Row, path: Path) -> Corrupt:
    """The error for a row whose blob is nowhere, although nobody replaced it."""
    return Corrupt(
        f"read {row.key.decode()!r}: the blob {row.blob} is missing from {path / BLOBS}",
        remedy="Restore the store's folder from a backup, or delete the object.",
    )


def _write(fd: int, body: Body) -> tuple[int, str]:
    digest = hashlib.md5(usedforsecurity=False)
    if isinstance(body, bytes):
        digest.update(body)
        _write_all(fd, memoryview(body))
        return len(body), digest.hexdigest()
    at, stop = body.start, body.start + body.size
    while at < stop:
        chunk = os.pread(body.fd, min(CHUNK, stop - at), at)
        if not chunk:
            raise Corrupt(f"store a body: its file ends at {at}, {stop - at} bytes early")
        digest.update(chunk)
        _write_all(fd, memoryview(chunk))
        at += len(chunk)
    return body.size, digest.hexdigest()


def _write_all(fd: int, view: memoryview) -> None:
    while view:
        view = view[os.write(fd, view) :]
