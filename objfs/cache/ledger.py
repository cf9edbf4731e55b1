"""The journal on the disk: what survives a crash of the daemon, or of the machine.

A SQLite table in WAL mode with `synchronous = FULL`: a transaction is on the disk when its commit
returns (https://www.sqlite.org/pragma.html#pragma_synchronous). A log of our own was weighed: the
commit costs the same one fsync, and SQLite has been crash-tested by more people than we are.

The order that makes a promise true; each step only begins when the one before is on the disk:

    1  fsync of the draft          its bytes
    2  fsync of the spool folder   its name
    3  commit of its row           what is to become of it
       -- now close(2) or fsync(2) may return 0 --
    4  the store has answered
    5  commit of the row's removal
    6  removal of the draft

A crash before 3 leaves a draft without a row: nobody was promised anything, and recovery removes
it. A crash between 4 and 5 leaves a row whose bytes the store has: the upload is tried again, is
refused by its condition, and the store's checksum shows that it was ours. A crash between 5 and 6
leaves a draft without a row again.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from objfs.cache.journal import Entry, State
from objfs.errors import JournalUnreadable, NoSpace, OtherStore
from objfs.types import ETag, Upload

FORMAT = 2
_DRAFT = {
    "number": "INTEGER PRIMARY KEY",
    "key": "TEXT NOT NULL",
    "base": "TEXT",
    "size": "INTEGER NOT NULL",
    "state": "TEXT NOT NULL",
    "mtime_ns": "INTEGER NOT NULL",
    "tries": "INTEGER NOT NULL",
    "error": "TEXT NOT NULL",
    "due_ns": "INTEGER NOT NULL",
    "ours": "TEXT NOT NULL DEFAULT ''",
}
"""The columns of a row of `draft`, in their order."""
_TABLES = (
    f"CREATE TABLE IF NOT EXISTS draft ({', '.join(map(' '.join, _DRAFT.items()))})",
    """
    CREATE TABLE IF NOT EXISTS rename (source TEXT PRIMARY KEY, target TEXT NOT NULL) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS leftover (key TEXT PRIMARY KEY, etag TEXT NOT NULL) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS owner (one INTEGER PRIMARY KEY CHECK (one = 1), store TEXT NOT NULL)
    """,
    """
    CREATE TABLE IF NOT EXISTS upload (
        key TEXT NOT NULL, id TEXT NOT NULL, draft INTEGER NOT NULL, part_size INTEGER NOT NULL,
        PRIMARY KEY (key, id)) WITHOUT ROWID
    """,
)
_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})
"""What a disk without room gives, also where the log's index cannot grow."""
_NONE: Mapping[str, ETag] = {}


class Ledger:
    """The rows. Methods block for an fsync: call them from a thread."""

    def __init__(self, folder: Path) -> None:
        """Open or make `journal.db`. Raises `JournalUnreadable`."""
        self._folder = folder
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "journal.db"
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            spool = folder / "spool"
            if not found and spool.is_dir() and any(spool.iterdir()):
                # SQLite takes a file cut to less than a page for a new one
                raise self._unreadable("is missing or empty, although there are drafts")
            if found > FORMAT:
                raise self._unreadable(f"has the format {found} of a newer objfs")
            if self._db.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                raise self._unreadable("is damaged")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            if found < FORMAT:
                with self._transaction():
                    self._migrate()
        except sqlite3.DatabaseError as error:
            raise self._unreadable(f"is damaged ({error})") from error

    def _migrate(self) -> None:
        """Make the tables, or bring those of an older objfs up to this format.

        Format 1 had no `upload`; its first journals had no column `ours`, either.
        """
        columns = [row[1] for row in self._db.execute("PRAGMA table_info(draft)")]
        if columns and "ours" not in columns:
            self._db.execute(f"ALTER TABLE draft ADD COLUMN ours {_DRAFT['ours']}")
            columns.append("ours")
        if columns not in ([], list(_DRAFT)):
            raise self._unreadable(f"has other columns than an objfs makes ({', '.join(columns)})")
        for table in _TABLES:
            self._db.execute(table)
        self._db.execute(f"PRAGMA user_version = {FORMAT}")

    def belong(self, store: str) -> bool:
        """From now on the folder is this store's; whether it was another's, or nobody's, before.

        Raises `OtherStore` while it owes another store anything: keys are relative to the mount,
        and bytes meant for one bucket must not get into another.
        """
        row = self._db.execute("SELECT store FROM owner").fetchone()
        if row and row[0] == store:
            return False
        owed = self._db.execute(
            "SELECT (SELECT count(*) FROM draft),"
            " (SELECT count(*) FROM rename) + (SELECT count(*) FROM leftover)"
            " + (SELECT count(*) FROM upload)"
        ).fetchone()
        if row and any(owed):
            raise OtherStore(
                f"the cache folder {self._folder} owes {owed[0]} files and {owed[1]} directory"
                f" renames or unfinished uploads to {row[0]}, not to {store}",
                remedy="Mount that one with it until all is stored, or save the files by `objfs"
                f" export --all DEST --cache-dir {self._folder}`; or choose another --cache-dir",
            )
        with self._lock, self._transaction():
            self._db.execute("REPLACE INTO owner VALUES (1, ?)", (store,))
        return True

    def entries(self) -> list[Entry]:
        """All rows, in the order of their drafts."""
        rows = self._db.execute("SELECT * FROM draft ORDER BY number").fetchall()
        return [
            Entry(number, key, ETag(base) if base else None, size, State(state), *rest)
            for number, key, base, size, state, *rest in rows
        ]

    def write(self, entries: Iterable[Entry], gone: Iterable[int] = ()) -> None:
        """Put rows in and take rows out, in one transaction that is on the disk on return."""
        rows = [
            (
                *(e.number, e.key, e.base, e.size, e.state.value),
                *(e.mtime_ns, e.tries, e.error, e.due_ns, e.ours),
            )
            for e in entries
        ]
        with self._lock, self._transaction():
            self._db.executemany("DELETE FROM draft WHERE number = ?", [(n,) for n in gone])
            self._db.executemany("REPLACE INTO draft VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def renames(self) -> list[tuple[str, str]]:
        """Directory renames that were begun and not ended: source and target prefix."""
        return self._db.execute("SELECT source, target FROM rename").fetchall()

    def begin_rename(self, source: str, target: str) -> None:
        """From now on the rename will be finished, whatever happens."""
        with self._lock, self._transaction():
            self._db.execute("REPLACE INTO rename VALUES (?, ?)", (source, target))

    def end_rename(self, source: str, left: Mapping[str, ETag] = _NONE) -> None:
        """The rename is done, or was taken back; `left` are originals that are still to go."""
        with self._lock, self._transaction():
            self._db.execute("DELETE FROM rename WHERE source = ?", (source,))
            self._db.executemany("REPLACE INTO leftover VALUES (?, ?)", left.items())

    def leftovers(self) -> dict[str, ETag]:
        """Originals whose copy was made and which could not be removed, by key."""
        rows = self._db.execute("SELECT key, etag FROM leftover").fetchall()
        return {key: ETag(etag) for key, etag in rows}

    def cleared(self, keys: Iterable[str]) -> None:
        """These leftovers are gone, or are another object by now."""
        with self._lock, self._transaction():
            self._db.executemany("DELETE FROM leftover WHERE key = ?", [(key,) for key in keys])

    def uploads(self) -> list[tuple[Upload, int]]:
        """Multipart uploads that were begun and not ended, and the numbers of their drafts."""
        rows = self._db.execute("SELECT key, id, part_size, draft FROM upload").fetchall()
        return [(Upload(key, name, part_size), draft) for key, name, part_size, draft in rows]

    def begin_upload(self, upload: Upload, draft: int) -> None:
        """From now on it will be finished or aborted, whatever happens."""
        row = (upload.key, upload.id, draft, upload.part_size)
        with self._lock, self._transaction():
            self._db.execute("REPLACE INTO upload VALUES (?, ?, ?, ?)", row)

    def end_uploads(self, uploads: Iterable[Upload]) -> None:
        """The store knows them no more."""
        rows = [(upload.key, upload.id) for upload in uploads]
        with self._lock, self._transaction():
            self._db.executemany("DELETE FROM upload WHERE key = ? AND id = ?", rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._db.in_transaction:  # SQLite ends it itself when the disk is full
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            # an extended code has its primary one in the low byte (https://sqlite.org/rescode.html)
            if error.sqlite_errorcode & 0xFF in _FULL:
                raise NoSpace(
                    f"the journal in {self._folder} cannot be written ({error})",
                    remedy="Make room on the disk that holds it",
                ) from error
            raise JournalUnreadable(
                f"the journal in {self._folder} cannot be written ({error})",
                remedy="Look at the folder and its disk; `objfs export --all DEST --cache-dir"
                f" {self._folder}` saves the drafts",
            ) from error

    def _unreadable(self, why: str) -> JournalUnreadable:
        return JournalUnreadable(
            f"the journal {self._folder}/journal.db {why}",
            remedy="Nothing was touched. `objfs export --all DEST --cache-dir"
            f" {self._folder}` saves the drafts; then move the folder away",
        )

    def close(self) -> None:
        """Give the file up."""
        self._db.close()
