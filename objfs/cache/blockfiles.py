"""Where cached blocks lie: one sparse file for each version of an object, and an index beside them.

    reads/ab/ab3f...   the blocks, each at its own offset
    reads/packs        small objects, many to a file: see `objfs.cache.packs`
    reads/index.db     which are there, with their checksums (SQLite)

Nothing here is fsynced: a block that a crash tore fails its checksum and is fetched again, and one
that the index does not know is a hole. So the index may lag behind the files, is written in
batches, and one that cannot be written (a full disk) or read costs time but no byte. Files of which
it knows nothing are removed at the start. Removing the folder while nothing is mounted is always
safe.

What was tried against one file for each segment: twice the opens for no easier eviction, since
Linux punches holes (fallocate(2), FALLOC_FL_PUNCH_HOLE).
"""

import ctypes
import ctypes.util
import errno
import hashlib
import logging
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from objfs.cache.blocks import SEGMENT, BlockMap, Segment
from objfs.cache.packs import SCHEMA, Batch, Packs, Row, is_pack
from objfs.cache.policy import Shelf
from objfs.types import ETag

log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS segment (
    file TEXT NOT NULL, number INTEGER NOT NULL, present BLOB NOT NULL, sums BLOB NOT NULL,
    size INTEGER NOT NULL, used INTEGER NOT NULL, PRIMARY KEY (file, number)
) WITHOUT ROWID;
"""
_LOAD = "SELECT file, number, size, used FROM segment ORDER BY used"
_PUNCH = 0x01 | 0x02  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, linux/falloc.h
_libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)


def file_name(key: str, etag: ETag) -> str:
    """The cache's name for one version of an object."""
    text = f"{key}\0{etag}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).hexdigest()


class BlockFiles:
    """The files and their index. All methods block briefly (local metadata, no fsync)."""

    def __init__(self, folder: Path, shelf: Shelf) -> None:
        """Open or make the folder; what the index knows is put on the shelf, oldest first."""
        # given
        self._folder = folder
        self._shelf = shelf
        # fixed
        folder.mkdir(parents=True, exist_ok=True)
        self._index = _open_index(folder / "index.db")
        # changes
        self._failing = False
        """Whether the index failed last time: said once, not every two seconds."""
        self._maps: dict[str, BlockMap] = {}
        """The maps of all files that were used in this run; others are still in the index only."""
        self._stale: set[tuple[str, int]] = set()
        """Segments that changed since the index was written."""
        self._use = 0
        self.packs = Packs(folder / "packs", self._index, shelf, self._complain)
        known = set()
        for file, number, size, used in self._index.execute(_LOAD):
            shelf.put((file, number), size)
            self._use = max(self._use, used)
            known.add(file)
        self._sweep(known)
        self.packs.sweep(known)

    def path(self, file: str) -> Path:
        """Where the blocks of a file lie."""
        return self._folder / file[:2] / file

    def map_of(self, file: str, size: int) -> BlockMap:
        """The map of a version of `size` bytes, with what earlier runs left."""
        blocks = self._maps.get(file)
        if blocks is None:
            blocks = self._maps[file] = BlockMap(size)
            for number, present, sums, held in self._rows(
                "SELECT number, present, sums, size FROM segment WHERE file = ?", file
            ):
                blocks.segments[number] = Segment(int.from_bytes(present, "little"), sums, held)
        return blocks

    def place(self, file: str) -> Path:
        """Where to put a file that holds all blocks already."""
        path = self.path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def open(self, file: str) -> int:
        """A descriptor for reading and writing blocks; the file is made where needed."""
        path = self.path(file)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(path, flags, 0o600)

    def landed(self, file: str, block_segment: int, size: int) -> None:
        """So many bytes more are in this segment."""
        self._shelf.put((file, block_segment), size)
        self._stale.add((file, block_segment))

    def shrink(self, file: str, number: int, size: int) -> None:
        """A bad block was given up."""
        self._shelf.put((file, number), -size)
        self._stale.add((file, number))

    def make_room(self, wanted: int) -> None:
        """Evict until `wanted` more bytes fit, as far as nothing is being filled."""
        for file, number in self._shelf.victims(wanted):
            blocks = self._maps.get(file)
            if blocks is None or not blocks.busy(number):
                self._evict(file, number)

    def rename(self, old: str, new: str) -> None:
        """The same bytes are known under another key or etag from now on."""
        if old == new:
            return
        try:
            target = self.path(new)
            target.parent.mkdir(parents=True, exist_ok=True)
            self.path(old).rename(target)
        except FileNotFoundError:
            log.debug("nothing of %s was ever cached", old)
        except OSError as error:  # copies are not worth an error: they are fetched anew
            self._complain(error)
            self.drop(old)
            return
        self.write_index()
        for number in self._numbers(new):
            self._shelf.drop((new, number))
        for number in self._numbers(old):
            size = self._shelf.size((old, number))
            self._shelf.drop((old, number))
            self._shelf.put((new, number), size)
        self._note("DELETE FROM segment WHERE file = ?", [(new,)])
        self._note("UPDATE segment SET file = ? WHERE file = ?", [(new, old)])
        self._maps.pop(new, None)
        if blocks := self._maps.pop(old, None):
            self._maps[new] = blocks

    def drop(self, file: str) -> None:
        """All of one version is given up."""
        for number in self._numbers(file):
            self._evict(file, number)

    def close_map(self, file: str) -> None:
        """Nobody has the version open any more: its map can be read from the index again."""
        if any(stale == file for stale, _ in self._stale):
            self.write_index()
        self._maps.pop(file, None)

    def write_index(self) -> None:
        """Bring the index up to date, in one transaction."""
        stale, self._stale = self._stale, set()
        rows = []
        for file, number in stale:
            blocks = self._maps.get(file)
            segment = blocks.segments.get(number) if blocks else None
            if segment is not None:
                self._use += 1
                bits = segment.present.to_bytes(64, "little")
                sums = segment.sums[: segment.present.bit_length()].tobytes()
                rows.append((file, number, bits, sums, segment.bytes, self._use))
        if rows:
            self._note("REPLACE INTO segment VALUES (?, ?, ?, ?, ?, ?)", rows)

    def next_batch(self) -> Batch | None:
        """Small objects to write to a pack; `packed` must follow."""
        return self.packs.batch(self.make_room)

    def packed(self, batch: Batch, rows: Sequence[Row]) -> None:
        """They are there."""
        self._use += 1
        self.packs.written(batch, rows, self._use)

    def close(self) -> None:
        """Write what is in memory only and give the folder up."""
        try:
            while batch := self.next_batch():
                self.packed(batch, batch.write())
        except OSError as error:  # a full disk: the bytes are in the store
            log.info("small objects are not kept: %s", error)
        self.write_index()
        self._index.close()

    def _numbers(self, file: str) -> list[int]:
        if blocks := self._maps.get(file):
            return list(blocks.segments)
        rows = self._rows("SELECT number FROM segment WHERE file = ?", file)
        return [number for (number,) in rows]

    def _evict(self, file: str, number: int) -> None:
        self._shelf.drop((file, number))
        self._stale.discard((file, number))
        if blocks := self._maps.get(file):
            blocks.drop(number)
        self._note("DELETE FROM segment WHERE file = ? AND number = ?", [(file, number)])
        try:
            if is_pack(file):
                self.packs.evict(file)
            else:
                _punch(self.path(file), number, keep=blocks is not None)
        except OSError as error:
            self._complain(error)

    def _rows(self, query: str, file: str) -> list[Any]:
        try:
            return self._index.execute(query, (file,)).fetchall()
        except sqlite3.Error as error:
            self._complain(error)
            return []

    def _note(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        try:
            with self._index:
                self._index.executemany(statement, rows)
        except sqlite3.Error as error:
            self._complain(error)
        else:
            self._failing = False

    def _complain(self, error: sqlite3.Error | OSError) -> None:
        if not self._failing:
            what = "index of the cache" if isinstance(error, sqlite3.Error) else "cache"
            log.warning("the %s in %s fails: %s", what, self._folder, error)
        self._failing = True

    def _sweep(self, known: set[str]) -> None:
        """Remove the files that no row speaks for: the index was lost, or a crash came first."""
        for path in self._folder.glob("??/*"):
            if path.name not in known:
                path.unlink()


def _punch(path: Path, number: int, *, keep: bool) -> None:
    """Give the segment's bytes back to the file system; an empty file goes, unless it is open."""
    with suppress(FileNotFoundError):
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            start = ctypes.c_long(number * SEGMENT)
            if _libc.fallocate(fd, _PUNCH, start, ctypes.c_long(SEGMENT)) != 0:
                _truncate_instead(fd, number, ctypes.get_errno())
            empty = os.fstat(fd).st_blocks == 0
        finally:
            os.close(fd)
        if empty and not keep:
            path.unlink()


def _truncate_instead(fd: int, number: int, error: int) -> None:
    """For file systems without holes: only the end of a file can be given back."""
    if error != errno.EOPNOTSUPP:
        raise OSError(error, os.strerror(error))
    if os.fstat(fd).st_size <= (number + 1) * SEGMENT:
        os.ftruncate(fd, number * SEGMENT)


def _open_index(path: Path) -> sqlite3.Connection:
    """The index; one that is damaged or of another make is begun anew, for it only saves work."""
    for attempt in range(2):
        index = sqlite3.connect(path, check_same_thread=False)
        try:
            index.execute("PRAGMA journal_mode = WAL")
            index.execute("PRAGMA synchronous = OFF")
            index.executescript(_SCHEMA + SCHEMA)
            index.execute("SELECT present, sums FROM segment LIMIT 1")
            index.execute("SELECT total(at + size), max(sum), max(pack), max(file) FROM packed")
            for _ in index.execute(_LOAD):  # a page that a power cut tore shows up here, or above
                pass
        except sqlite3.DatabaseError:
            index.close()
            if attempt:
                raise
            for name in _sides(path):
                Path(name).unlink(missing_ok=True)
        else:
            return index
    raise AssertionError("unreachable")


def _sides(path: Path) -> Iterable[str]:
    return (f"{path}{suffix}" for suffix in ("", "-wal", "-shm"))
