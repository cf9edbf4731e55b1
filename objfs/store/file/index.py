"""The index: one SQLite database that says which blob is which object.

A connection is used by one thread at a time and then rests in a pool, since the threads that call
a driver come and go. Writers of this process queue at a lock, because SQLite's own waiting
is polling; writers of other processes are waited for by SQLite, for up to `PATIENCE` seconds.

Keys are BLOBs in a WITHOUT ROWID table, so the table itself is in the order of UTF-8 bytes.
"""

import json
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from objfs.store.file.layout import APPLICATION, FORMAT
from objfs.types import ETag, Headers, ObjectInfo

PATIENCE: Final = 60.0
"""Seconds that a writer waits for another process's transaction, which last milliseconds."""

# `moves` names the committed blobs that may still lie in their session's folder, `garbage` those
# that no row needs any more; both are written in the transaction that makes it so, and their rows
# are taken away at leisure (see blobs).
_SCHEMA: Final = """
CREATE TABLE objects(
    key BLOB PRIMARY KEY, size INTEGER NOT NULL, etag TEXT NOT NULL, mtime_ns INTEGER NOT NULL,
    content_type TEXT NOT NULL, metadata TEXT NOT NULL, blob TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE uploads(
    id TEXT PRIMARY KEY, key BLOB NOT NULL, content_type TEXT NOT NULL, metadata TEXT NOT NULL,
    started_ns INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE parts(
    upload TEXT NOT NULL, number INTEGER NOT NULL, etag TEXT NOT NULL, size INTEGER NOT NULL,
    blob TEXT NOT NULL, PRIMARY KEY(upload, number)) STRICT, WITHOUT ROWID;
CREATE TABLE moves(blob TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE garbage(blob TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE totals(bytes INTEGER NOT NULL, objects INTEGER NOT NULL) STRICT;
INSERT INTO totals VALUES(0, 0);
CREATE TRIGGER object_in AFTER INSERT ON objects BEGIN
    UPDATE totals SET bytes = bytes + new.size, objects = objects + 1; END;
CREATE TRIGGER object_new AFTER UPDATE OF size ON objects BEGIN
    UPDATE totals SET bytes = bytes + new.size - old.size; END;
CREATE TRIGGER object_out AFTER DELETE ON objects BEGIN
    UPDATE totals SET bytes = bytes - old.size, objects = objects - 1; END;
"""
COLUMNS: Final = "key, size, etag, mtime_ns, content_type, metadata, blob"


@dataclass(frozen=True, slots=True)
class Row:
    """One object. An empty one has no blob: its `blob` is ""."""

    key: bytes
    size: int
    etag: ETag
    mtime_ns: int
    content_type: str
    metadata: str
    blob: str

    def info(self) -> ObjectInfo:
        """As the protocol wants it."""
        return ObjectInfo(
            self.key.decode(),
            self.size,
            self.etag,
            self.mtime_ns,
            self.content_type,
            json.loads(self.metadata),
        )

    def headers(self) -> Headers:
        """What was stored beside the bytes."""
        return Headers(self.content_type, json.loads(self.metadata))


@dataclass(frozen=True, slots=True)
class PartRow:
    """One part of an upload."""

    number: int
    etag: ETag
    size: int
    blob: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """A write under way: the connection, and the blobs that nobody needs once it is committed."""

    db: sqlite3.Connection
    dropped: list[str] = field(default_factory=list)

    def store(self, row: Row, old: Row | None) -> None:
        """Make `row` the object of its key, in place of `old`."""
        self.db.execute(
            f"INSERT INTO objects({COLUMNS}) VALUES(?, ?, ?, ?, ?, ?, ?) ON CONFLICT(key) DO"
            " UPDATE SET size = excluded.size, etag = excluded.etag, mtime_ns = excluded.mtime_ns,"
            " content_type = excluded.content_type, metadata = excluded.metadata,"
            " blob = excluded.blob",
            (row.key, row.size, row.etag, row.mtime_ns, row.content_type, row.metadata, row.blob),
        )
        self.move(row.blob)
        if old is not None:
            self.drop(old.blob)

    def move(self, blob: str) -> None:
        """From the commit on, this staged blob is precious."""
        if blob:
            self.db.execute("INSERT INTO moves VALUES(?)", (blob,))

    def drop(self, blob: str) -> None:
        """From the commit on, nobody needs this blob."""
        if blob:
            self.db.execute("INSERT OR IGNORE INTO garbage VALUES(?)", (blob,))
            self.dropped.append(blob)

    def remove(self, key: bytes) -> None:
        """Take the object away, if it is there."""
        for (blob,) in self.db.execute("DELETE FROM objects WHERE key = ? RETURNING blob", (key,)):
            self.drop(blob)

    def remove_upload(self, upload: str) -> None:
        """Take the upload and its parts away, if it is there."""
        self.db.execute("DELETE FROM uploads WHERE id = ?", (upload,))
        gone = self.db.execute("DELETE FROM parts WHERE upload = ? RETURNING blob", (upload,))
        for (blob,) in gone.fetchall():
            self.drop(blob)


class Index:
    """The pool of connections to one store's database."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._idle: deque[sqlite3.Connection] = deque()
        self._writer = threading.Lock()
        self._closed = False
        self._moved: deque[tuple[str]] = deque()
        self._removed: deque[tuple[str]] = deque()

    def create(self) -> None:
        """Make the schema; the format's mark comes with the same commit, in the main file.

        INVARIANT: called under the store's lock, and before WAL mode, so that `format_of` reads
        either no mark or the mark of a whole index.
        """
        db = sqlite3.connect(self._file, isolation_level=None)
        try:
            db.execute("PRAGMA page_size = 8192")
            db.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id = {APPLICATION};"
                f" PRAGMA user_version = {FORMAT}; COMMIT;"
            )
        finally:
            db.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one snapshot for as long as it is held; writers do not wait."""
        with self._connection() as db:
            db.execute("BEGIN")
            yield db
            db.execute("COMMIT")

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """The one write under way. It is durable when the block is left without an exception."""
        with self._writer, self._connection() as db:
            db.execute("BEGIN IMMEDIATE")
            moved, removed = list(self._moved), list(self._removed)
            db.executemany("DELETE FROM moves WHERE blob = ?", moved)
            db.executemany("DELETE FROM garbage WHERE blob = ?", removed)
            yield Transaction(db)
            db.execute("COMMIT")
            for _ in moved:
                self._moved.popleft()
            for _ in removed:
                self._removed.popleft()

    def moved(self, blob: str) -> None:
        """Its file is in the final place: the note in `moves` goes with the next transaction."""
        self._moved.append((blob,))

    def removed(self, blob: str) -> None:
        """Its file is removed: the note in `garbage` goes with the next transaction."""
        self._removed.append((blob,))

    def close(self) -> None:
        """Write what is left to note, and give the connections back."""
        if self._moved or self._removed:
            with self.writing():
                pass
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            db = self._idle.pop()
        except IndexError:
            db = self._connect()
        try:
            yield db
        except sqlite3.Error:
            db.close()  # It may be broken; closing always rolls back.
            raise
        except BaseException:
            db.rollback()
            self._give_back(db)
            raise
        self._give_back(db)

    def _give_back(self, db: sqlite3.Connection) -> None:
        if self._closed:
            db.close()
        else:
            self._idle.append(db)

    def _connect(self) -> sqlite3.Connection:
        # mode=rw: a folder that somebody removed must not come back as an empty database.
        # The pool lends a connection to one thread at a time, hence check_same_thread.
        db = sqlite3.connect(
            f"{self._file.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=PATIENCE,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            db.execute("PRAGMA journal_mode = WAL")
            # FULL: a commit in WAL mode is on the disk before it is acknowledged.
            db.execute("PRAGMA synchronous = FULL")
        except BaseException:
            db.close()
            raise
        return db


def find(db: sqlite3.Connection, key: bytes) -> Row | None:
    """The object under `key`."""
    row = db.execute(f"SELECT {COLUMNS} FROM objects WHERE key = ?", (key,)).fetchone()  # noqa: S608 - constant columns
    return None if row is None else Row(*row)


def find_upload(db: sqlite3.Connection, upload: str, key: bytes) -> Headers | None:
    """The headers that the object of this upload will get; None if it is not known."""
    query = "SELECT content_type, metadata FROM uploads WHERE id = ? AND key = ?"
    row = db.execute(query, (upload, key)).fetchone()
    return None if row is None else Headers(row[0], json.loads(row[1]))


def find_parts(db: sqlite3.Connection, upload: str) -> dict[int, PartRow]:
    """The parts that were uploaded so far, by number."""
    query = "SELECT number, etag, size, blob FROM parts WHERE upload = ?"
    return {row[0]: PartRow(*row) for row in db.execute(query, (upload,))}
