"""The journal on the disk."""

import sqlite3
from pathlib import Path

import pytest

from objfs.cache.journal import Entry, State
from objfs.cache.ledger import Ledger
from objfs.errors import JournalUnreadable, OtherStore
from objfs.types import ETag

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
    db.execute("PRAGMA user_version = 2")
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
