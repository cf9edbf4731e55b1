"""The spool: drafts, the precious local files. Nothing here is ever evicted.

A draft is the content of one file that is newer than, or not yet, in the store. Its fate is decided
elsewhere: `objfs.filesystem.contents` uploads it and drops it once the store has it.

INVARIANT: a draft that is being uploaded (`sealed`) does not change; who wants to write meanwhile
gets a copy.
Semantics: once the folder is removed no draft is made and none is promised, even if there is a new
folder of that name: it has neither our lock nor our journal, and may be another daemon's. Drafts
that are open go on, so that they can still be uploaded.

INVARIANT: the shelf's `dirty` is the sum of the sizes of all drafts.

Writes go straight from the event loop into the page cache: some 30 us for 128 KiB, where a thread
hop alone costs 60 to 100 us. fsync and copying, which do wait for the disk, run in threads.
"""

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import trio

from objfs.cache.policy import Shelf
from objfs.cache.ranges import Ranges
from objfs.errors import CacheGone, NoSpace
from objfs.store.base import FileRange
from objfs.store.pieces import Derived
from objfs.types import ETag, ObjectInfo

log = logging.getLogger(__name__)

_FICLONE = 0x40049409  # ioctl_ficlone(2): share the blocks, where the file system can
_PIECE = 64 * 2**20


class Draft:
    """One draft; made by `Spool` only."""

    def __init__(self, path: Path, shelf: Shelf, *, found: bool = False) -> None:
        """A new file at `path`, or the one that was `found` there after a restart."""
        flags = os.O_RDWR | os.O_CLOEXEC | (0 if found else os.O_CREAT | os.O_EXCL)
        self.path = path
        self.number = int(path.name)
        self.fd = os.open(path, flags, 0o600)
        self.size = os.fstat(self.fd).st_size if found else 0
        self.durable = self.size
        """Bytes from its start that the last fsync has put on the disk."""
        self.frozen = found
        """Whether it was promised: it does not change any more, who writes gets a copy."""
        self.dirty = True
        """Whether it holds anything that the store does not."""
        self.sealed = 0
        """How many uploads read it now."""
        self.promised = found
        """Whether the journal has a row for it."""
        self.tried = found
        """Whether an upload of it was ever begun: the store may have it."""
        self.ours: frozenset[ETag] = frozenset()
        """ETags of what the store may have of the drafts that this one superseded."""
        self.sent: ETag | None = None
        """The ETag that the store gave, or would give, to these bytes when they were last sent."""
        self._base: ObjectInfo | None = None
        self._changed = Ranges()
        """Where it is not as its base."""
        self.withdrawn = False
        """Whether a newer draft is about to take its place: its upload must not begin any more."""
        self.gone = False
        self._shelf = shelf

    def read(self, start: int, size: int) -> bytes:
        """Up to `size` bytes from `start`; fewer only at the end."""
        return os.pread(self.fd, max(0, min(size, self.size - start)), start)

    def write(self, start: int, data: bytes | memoryview) -> None:
        """Put bytes anywhere; a gap before them reads as zeros. Raises `NoSpace`."""
        assert not self.fixed
        stop = start + len(data)
        growth = max(0, stop - self.size)
        self._shelf.write(growth)
        self._change(min(self.size, start), stop)  # also when only a part of it gets there
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self.fd, view, start)
                view, start = view[written:], start + written
        except OSError as error:
            self._shelf.write(-growth)
            raise _full(error, self.path) from error
        self.size += growth
        self.dirty = True

    def truncate(self, size: int) -> None:
        """Cut it, or extend it by zeros. Raises `NoSpace`."""
        assert not self.fixed
        self._shelf.write(size - self.size)
        try:
            os.ftruncate(self.fd, size)
        except OSError as error:
            self._shelf.write(self.size - size)
            raise _full(error, self.path) from error
        self._change(min(self.size, size), max(self.size, size))
        self.size = size
        self.dirty = True

    def _change(self, start: int, stop: int) -> None:
        self._changed.add(start, stop)
        self.sent = None

    def derives_from(self, info: ObjectInfo) -> None:
        """It holds, at this moment, exactly the bytes of this version."""
        self._base = info
        self._changed.clear()

    def inherit(self, draft: "Draft") -> None:
        """It holds, at this moment, exactly the bytes of the other one, which does not change."""
        self._base, self._changed = draft._base, draft._changed.copy()  # noqa: SLF001  # its kind

    @property
    def derived(self) -> Derived | None:
        """What it has of an older version, for the store to copy."""
        if self._base is None:
            return None
        return Derived(self._base.etag, self._base.size, self._changed.within(self.size))

    @property
    def fixed(self) -> bool:
        """Whether nobody may write to it: it is being uploaded, or was promised."""
        return self.frozen or bool(self.sealed)

    async def fsync(self) -> None:
        """Have its bytes, and then its name, durable on the local disk.

        Raises `NoSpace`, and `CacheGone` where it has no name any more.
        """
        size = self.size  # what is written from now on may come too late for it
        try:
            with self.in_thread() as fd:
                await trio.to_thread.run_sync(_fsync, fd, self.path.parent)
        except OSError as error:
            raise _full(error, self.path) from error
        self.durable = size

    @contextmanager
    def in_thread(self) -> Iterator[int]:
        """A descriptor that a thread may use although the draft is discarded meanwhile."""
        fd = os.dup(self.fd)
        try:
            yield fd
        finally:
            os.close(fd)

    def body(self) -> FileRange:
        """All of it, for an upload; seal it first."""
        return FileRange(self.fd, 0, self.size)

    def hand_over(self, path: Path) -> int:
        """Give the file away, to lie at `path`; its descriptor, now the caller's to close.

        Raises `OSError`, and then still has the file.
        """
        assert not self.sealed
        assert not self.gone
        self.path.rename(path)
        self.gone = True
        self._shelf.write(-self.size)
        return self.fd

    def discard(self) -> None:
        """Remove it; not while it is sealed."""
        assert not self.sealed
        if not self.gone:
            self.gone = True
            self._shelf.write(-self.size)
            os.close(self.fd)
            try:
                self.path.unlink(missing_ok=True)
            except OSError as error:  # the disk fails; nobody needs the draft any more
                log.warning("%s stays until the next mount: %s", self.path, error)


class Spool:
    """The folder of drafts."""

    def __init__(self, folder: Path, shelf: Shelf) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._identity = _identity(folder)
        self._shelf = shelf
        self._last = max(
            (int(path.name) for path in folder.iterdir() if path.name.isdigit()), default=0
        )

    def create(self) -> Draft:
        """A new empty draft. Raises `NoSpace`, `CacheGone`."""
        if _identity(self._folder) != self._identity:
            raise _gone(self._folder)
        self._last += 1
        path = self._folder / str(self._last)
        try:
            return Draft(path, self._shelf)
        except OSError as error:
            raise _full(error, path) from error

    def find(self, number: int, promised: int) -> Draft | None:
        """The draft that an earlier daemon left, or None. It counts, whatever the limit is now.

        Semantics: it is cut to the `promised` bytes. After a power loss what was written behind
        them, and never fsynced, may have its length on the disk, and zeros for its bytes.
        """
        path = self._folder / str(number)
        try:
            if path.stat().st_size > promised:
                os.truncate(path, promised)
            draft = Draft(path, self._shelf, found=True)
        except FileNotFoundError:
            return None
        self._shelf.dirty += draft.size
        return draft

    def orphans(self, wanted: set[int]) -> list[Path]:
        """Files in the folder that are none of these drafts."""
        return [path for path in self._folder.iterdir() if path.name not in map(str, wanted)]

    async def copy(self, draft: Draft) -> Draft:
        """A new draft with the same bytes; the old one may be sealed. Raises `NoSpace`."""
        copy = self.create()
        try:
            self._shelf.write(draft.size)
            copy.size = draft.size
            with draft.in_thread() as fd:
                await trio.to_thread.run_sync(partial(_copy, fd, copy.fd, draft.size))
            copy.inherit(draft)
        except OSError as error:
            copy.discard()
            raise _full(error, copy.path) from error
        except BaseException:
            copy.discard()
            raise
        return copy


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _fsync(fd: int, folder: Path) -> None:
    if not os.fstat(fd).st_nlink:
        raise FileNotFoundError(errno.ENOENT, "the draft was removed")
    os.fsync(fd)
    folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder_fd)
    finally:
        os.close(folder_fd)


def _copy(source: int, target: int, size: int) -> None:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY}:
            raise
    else:
        return
    at = 0
    while at < size:
        count = os.copy_file_range(source, target, min(_PIECE, size - at), at, at)
        if not count:
            break
        at += count
    os.ftruncate(target, size)


def _full(error: OSError, path: Path) -> Exception:
    """A full disk and a removed folder have a class; anything else stays what it is."""
    if error.errno == errno.ENOENT:
        return _gone(path.parent)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return NoSpace(f"the disk that holds {path.parent} is full", remedy="Make room there")
    return error


def _gone(folder: Path) -> CacheGone:
    return CacheGone(
        f"the cache folder {folder.parent} was removed while it was in use, so nothing can be kept",
        remedy="Unmount, which uploads what is open, and mount again",
    )
