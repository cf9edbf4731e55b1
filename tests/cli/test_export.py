"""Drafts out of cache folders in every state, without a daemon."""

import fcntl
import json
import os
import sqlite3
from pathlib import Path

import pytest

from objfs.cache import salvage
from objfs.cache.journal import Entry, State
from objfs.cache.ledger import Ledger
from objfs.cli import export
from objfs.cli.main import run
from objfs.cli.places import Place
from objfs.runtime import Record, start_time

DRAFTS = {1: ("a", b"old"), 2: ("a", b"new"), 3: ("d//..\\/../x", b"odd"), 4: ("d/b", b"bee")}


@pytest.fixture
def cache(tmp_path):
    """A dead daemon's folder: two drafts of one key, an odd key, and a draft without a row."""
    folder = tmp_path / "cache"
    (folder / "spool").mkdir(parents=True)
    ledger = Ledger(folder)
    for number, (key, data) in DRAFTS.items():
        (folder / "spool" / str(number)).write_bytes(data)
        ledger.write([Entry(number, key, None, len(data), State.OWED, 10**18)])
    ledger.close()
    (folder / "spool/5").write_bytes(b"half")
    (folder / "spool/6").write_bytes(b"")
    return folder


def exported(cache: Path, *words: str, capsys: pytest.CaptureFixture[str]) -> dict[str, bytes]:
    """What `objfs export` made of it, by path below the new folder."""
    out = cache.parent / "out"
    code = run(["export", *words, str(out), "--cache-dir", str(cache), "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is (code == 0)
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_everything_under_its_own_path(cache, capsys):
    """The newest draft of each key; no key leads out of the folder; the folder is as it was."""
    before = {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()}
    found = exported(cache, "--all", capsys=capsys)
    odd = "d/%empty/..\\/%dotdot/x"
    assert found == {"a": b"new", odd: b"odd", "d/b": b"bee", "draft-5": b"half"}
    assert (cache.parent / "out/a").stat().st_mtime_ns == 10**18
    assert {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()} == before


def test_one_directory(cache, capsys):
    """What is below PATH, under its path from there."""
    assert exported(cache, "/d", capsys=capsys) == {"%empty/..\\/%dotdot/x": b"odd", "b": b"bee"}


def test_nothing_at_that_path(cache, tmp_path, capsys):
    """A path that owes nothing is a failure: somebody hopes for it."""
    assert run(["export", "/none", str(tmp_path / "o"), "--cache-dir", str(cache)]) == 1
    assert "/none has nothing in" in capsys.readouterr().err


def test_a_journal_that_is_none(cache, capsys):
    """Bytes by number; every one of them, since nobody can tell which were promised."""
    (cache / "journal.db").write_bytes(b"x" * 4096)
    found = exported(cache, "--all", capsys=capsys)
    assert {found[f"draft-{n}"] for n in DRAFTS} == {data for _, data in DRAFTS.values()}


def test_a_journal_that_is_gone(cache, capsys):
    """The same."""
    (cache / "journal.db").unlink()
    assert "draft-4" in exported(cache, "--all", capsys=capsys)


def test_a_journal_of_a_newer_objfs(cache, capsys):
    """Its rows are read where they still have a key."""
    with sqlite3.connect(cache / "journal.db") as db:
        db.execute("PRAGMA user_version = 99")
        db.execute("ALTER TABLE draft ADD COLUMN more TEXT")
    db.close()
    assert exported(cache, "--all", capsys=capsys)["a"] == b"new"


def test_a_damaged_page_costs_its_rows_only(cache, capsys):
    """Rows on other pages keep their names."""
    ledger = Ledger(cache)
    many = [Entry(n, f"k{n:0200}", None, 1, State.OWED, 0) for n in range(100, 300)]
    for entry in many:
        (cache / "spool" / str(entry.number)).write_bytes(b"x")
    ledger.write(many)
    ledger.close()
    data = bytearray((cache / "journal.db").read_bytes())
    data[-4096:] = b"\xff" * 4096
    (cache / "journal.db").write_bytes(data)
    found = exported(cache, "--all", capsys=capsys)
    assert len(found) == len(many) + 5
    assert any(name.startswith("k") for name in found)
    assert any(name.startswith(("draft-1", "draft-2")) for name in found)


def test_a_live_daemon_is_not_disturbed(cache):
    """Its lock is not taken, its log is read in place, and what it writes now is not offered."""
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with salvage.opened(cache) as found:
            assert found.live
            assert {draft.key for draft in found.drafts} >= {"a", "d/b"}
    (cache / "lock").touch()
    with salvage.opened(cache) as found, (cache / "lock").open("r") as lock:
        assert not found.live
        with pytest.raises(BlockingIOError):  # no daemon begins while the drafts are copied
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_copy_that_fails_leaves_nothing(cache, tmp_path, capsys):
    """A name that is taken by a folder, or a folder's by a file, is told; the rest is saved."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "d").touch()
    assert run(["export", "--all", str(out), "--cache-dir", str(cache)]) == 1
    err = capsys.readouterr().err
    assert f"{out}/d/b is not saved: " in err
    assert (out / "a").read_bytes() == b"new"


def test_the_folder_of_the_one_daemon_that_died_is_meant(cache, tmp_path, capsys, monkeypatch):
    """Other mounts live, or left nothing; two that owe drafts are a question."""
    living, empty = tmp_path / "living", tmp_path / "empty"
    for folder in (living, empty):
        (folder / "spool").mkdir(parents=True)
    (living / "spool/1").write_bytes(b"not meant")
    dead = 2**22 + 1

    def place(folder: Path, pid: int) -> Place:
        record = Record(pid, start_time(pid) if pid != dead else 0, "/m", "s3://b", str(folder), "")
        return Place("/m", record, tmp_path / "sock", mounted=True)

    found = [place(living, os.getpid()), place(empty, dead), place(cache, dead)]
    monkeypatch.setattr(export, "every_place", lambda **_: found)
    out = tmp_path / "out"
    assert run(["export", "--all", str(out)]) == 0
    assert (out / "a").read_bytes() == b"new"
    (empty / "spool/1").write_bytes(b"owed")
    assert run(["export", "--all", str(out)]) == 2
    assert str(cache) in capsys.readouterr().err
