"""The journal on the disk."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from objfs.cache.journal import Entry, State
from objfs.cache.ledger import FORMAT, Ledger
from objfs.errors import JournalUnreadable, NoSpace, OtherStore
from objfs.types import ETag, Upload

ROW = Entry(7, "a/b", ETag("e"), 3, State.WAITING, 5, 2, "no network", 11, "x y")


def test_rows_come_back_as_they_were(tmp_path: Path):
    """All fields, in the order of the drafts."""
    ledger = Ledger(tmp_path)
    fresh = Entry(3, "ö\n", None, 0, State.KEPT, 1)
    ledger.write([ROW, fresh])
    ledger.begin_rename("a/", "b/")
    ledger.close()
    again = Ledger(tmp_path)
    assert again.entries() == [fresh, ROW]
    assert again.renames() == [("a/", "b/")]
    again.write([], [7])
    again.end_rename("a/")
    assert again.entries() == [fresh]
    assert again.renames() == []
    again.close()


def test_a_commit_waits_for_the_disk(tmp_path: Path):
    """P2: power loss after the commit does not take the row."""
    ledger = Ledger(tmp_path)
    assert ledger._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert ledger._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    ledger.close()


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_journal_is_no_new_one(tmp_path: Path, content: bytes):
    """Trap: with drafts in the spool, an empty or damaged journal is refused and left alone."""
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool/1").write_bytes(b"precious")
    path = tmp_path / "journal.db"
    path.write_bytes(content)
    with pytest.raises(JournalUnreadable, match=str(tmp_path)) as refused:
        Ledger(tmp_path)
    assert "objfs export" in str(refused.value.remedy)
    assert path.read_bytes() == content
    assert (tmp_path / "spool/1").read_bytes() == b"precious"


def test_a_newer_format_is_refused(tmp_path: Path):
    """An older objfs does not guess at what a newer one wrote."""
    Ledger(tmp_path).close()
    db = sqlite3.connect(tmp_path / "journal.db")
    db.execute(f"PRAGMA user_version = {FORMAT + 1}")
    db.close()
    with pytest.raises(JournalUnreadable, match="newer"):
        Ledger(tmp_path)


def test_a_folder_that_owes_files_to_one_store_is_refused_to_another(tmp_path: Path):
    """Bytes meant for one bucket never get into another; an empty folder may change hands."""
    ledger = Ledger(tmp_path)
    assert ledger.belong("s3://a/")
    assert not ledger.belong("s3://a/")
    ledger.write([ROW])
    assert not ledger.belong("s3://a/")
    with pytest.raises(OtherStore, match=r"owes 1 files .* to s3://a/, not to s3://b/") as refused:
        ledger.belong("s3://b/")
    assert "objfs export" in str(refused.value.remedy)
    ledger.write([], [ROW.number])
    assert ledger.belong("s3://b/")
    ledger.begin_rename("x/", "y/")
    with pytest.raises(OtherStore, match="1 directory renames"):
        ledger.belong("s3://a/")
    ledger.close()


FORMAT_1 = """
CREATE TABLE draft (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL, base TEXT, size INTEGER NOT NULL,
    state TEXT NOT NULL, mtime_ns INTEGER NOT NULL, tries INTEGER NOT NULL, error TEXT NOT NULL,
    due_ns INTEGER NOT NULL{ours}
);
CREATE TABLE rename (source TEXT PRIMARY KEY, target TEXT NOT NULL) WITHOUT ROWID;
PRAGMA journal_mode = WAL;
PRAGMA user_version = 1;
INSERT INTO rename VALUES ('a/', 'b/');
INSERT INTO draft VALUES (7, 'a/b', 'e', 3, 'waiting', 5, 2, 'no network', 11{value});
"""


@pytest.mark.parametrize(
    ("ours", "value", "read"), [(", ours TEXT NOT NULL", ", 'x y'", "x y"), ("", "", "")]
)
def test_a_journal_of_format_1_is_taken_up(tmp_path: Path, ours: str, value: str, read: str):
    """With the column `ours` or from before it: nothing owed is lost, all can be written anew."""
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool/7").write_bytes(b"abc")
    db = sqlite3.connect(tmp_path / "journal.db")
    db.executescript(FORMAT_1.format(ours=ours, value=value))
    db.close()
    for _ in range(2):  # migrated, and then opened as it is
        ledger = Ledger(tmp_path)
        assert ledger.entries() == [replace(ROW, ours=read)]
        assert ledger.renames() == [("a/", "b/")]
        assert ledger.uploads() == []
        ledger.write([replace(ROW, ours=read)])
        ledger.close()
    db = sqlite3.connect(tmp_path / "journal.db")
    assert db.execute("PRAGMA user_version").fetchone() == (2,)
    db.close()


def test_a_journal_with_other_columns_is_refused(tmp_path: Path):
    """It says format 1 and is none: left alone, with the way to save the drafts."""
    db = sqlite3.connect(tmp_path / "journal.db")
    db.executescript("CREATE TABLE draft (number, path); PRAGMA user_version = 1;")
    db.close()
    with pytest.raises(JournalUnreadable, match=r"other columns.*number, path.*objfs export"):
        Ledger(tmp_path)
    db = sqlite3.connect(tmp_path / "journal.db")
    assert db.execute("PRAGMA user_version").fetchone() == (1,)
    assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("draft",)]
    db.close()


def test_only_a_full_disk_is_called_full(tmp_path: Path):
    """Trap: a table that does not fit was reported as ENOSPC, with the advice to make room."""
    ledger = Ledger(tmp_path)
    ledger._db.execute("PRAGMA max_page_count = 1")
    with pytest.raises(NoSpace, match="Make room"):
        ledger.write([replace(ROW, key="k" * 100_000)])
    ledger._db.execute("PRAGMA max_page_count = 1000000")
    ledger._db.execute("DROP TABLE draft")
    with pytest.raises(JournalUnreadable, match="no such table"):
        ledger.write([ROW])
    ledger.close()


def test_uploads_are_noted_and_forgotten(tmp_path: Path):
    """Each with its key, its part size and the draft whose bytes it has."""
    first, second = Upload("a", "1", 8), Upload("a", "2", 16)
    ledger = Ledger(tmp_path)
    ledger.begin_upload(first, 3)
    ledger.begin_upload(second, 4)
    ledger.close()
    again = Ledger(tmp_path)
    assert sorted(again.uploads(), key=str) == [(first, 3), (second, 4)]
    again.end_uploads([first, first])
    assert again.uploads() == [(second, 4)]
    again.close()
