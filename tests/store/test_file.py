"""The embedded store: the contract, and what only it promises.

Several processes at once, `kill -9` at any instant, and a million keys.
"""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given

from objfs.errors import (
    Corrupt,
    InvalidArgument,
    InvalidRange,
    NameTooLong,
    NoSuchUpload,
    NotFound,
    PreconditionFailed,
)
from objfs.store.base import Driver, FileRange, Usage
from objfs.store.file import FileStore, scan
from objfs.types import ABSENT, Headers
from tests.store.contract import DriverContract
from tests.store.contract_listing import Listing, listings
from tests.store.hammer import body_of, check_read
from tests.store.kit import Bucket


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FileStore]:
    """A new store."""
    store = FileStore(tmp_path / "store")
    yield store
    store.close()


class TestFile(DriverContract):
    """The contract."""

    @pytest.fixture
    def bucket(self, store: FileStore) -> Bucket:
        """A new store."""
        driver: Driver = store
        return Bucket(driver)


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileStore]:
    """A store that Hypothesis's examples share; each of them empties it."""
    store = FileStore(tmp_path_factory.mktemp("listed"))
    yield store
    store.close()


@given(listing=listings)
def test_any_listing(listed: FileStore, listing: Listing) -> None:
    """Any listing of any keys is right, page by page."""
    listed.delete_many([info.key for info in listed.list_page("").objects])
    fill(listed, listing.keys)
    listing.check(Bucket(listed))


def fill(store: FileStore, keys: list[str]) -> None:
    """Empty objects in one transaction; a put for each would be a durable commit for each."""
    with store._index.writing() as transaction:
        transaction.db.executemany(
            "INSERT INTO objects VALUES(?, 0, 'e', 1, 't', '{}', '')",
            [(key.encode(),) for key in keys],
        )


def blobs(folder: Path) -> set[str]:
    """The blob files that exist, whichever folder they are in."""
    files = [*folder.glob("blobs/*/*"), *folder.glob("sessions/*/*")]
    return {file.name for file in files if file.name != "alive"}


def check_whole(folder: Path) -> None:
    """Each row has its bytes, each file has its row, the totals are right, no note is left."""
    store = FileStore(folder)
    keys = [info.key for info in store.list_page("").objects]
    total = sum(len(check_read(store, key)) for key in keys)
    assert store.usage() == Usage(total, len(keys))
    store.close()
    with sqlite3.connect(folder / "index.sqlite") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = db.execute("SELECT blob FROM objects UNION SELECT blob FROM parts").fetchall()
        assert db.execute("SELECT * FROM moves UNION SELECT * FROM garbage").fetchall() == []
    db.close()
    assert blobs(folder) == {blob for (blob,) in rows if blob}
    assert list(folder.glob("sessions/*")) == []


def start(folder: Path, name: str, seconds: float, keys: str) -> "subprocess.Popen[bytes]":
    """A working process."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.store.hammer", folder, name, str(seconds), keys],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )


def test_processes_share_a_store(tmp_path: Path) -> None:
    """Two processes and this one work on the same keys; nothing is torn, lost or left over."""
    folder = tmp_path / "store"
    workers = [start(folder, name, 0.4, "shared") for name in ("one", "two")]
    store = FileStore(folder)
    while any(worker.poll() is None for worker in workers):
        for info in store.list_page("").objects:
            try:
                store.copy(info.key, "mine", size=info.size)
                check_read(store, "mine")
            except NotFound:
                continue
    done = [worker.communicate()[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert all(len(lines.splitlines()) > 10 for lines in done)
    store.close()
    check_whole(folder)


def test_kill_at_any_instant(tmp_path: Path) -> None:
    """What was acknowledged before a kill -9 is there; nothing else stays behind."""
    folder = tmp_path / "store"
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it with a failure
    choose = random.Random(seed)
    FileStore(folder).close()
    for round_ in range(3):
        workers = {name: start(folder, f"{name}{round_}", 60, "own") for name in ("a", "b", "c")}
        for worker in workers.values():
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"ready\n"
        for worker in workers.values():
            time.sleep(choose.random() * 0.08)
            worker.send_signal(signal.SIGKILL)
        lines = [
            line for worker in workers.values() for line in worker.communicate()[0].split(b"\n")
        ]
        last: dict[str, int] = {}
        for line in lines:
            if line:
                key, written = line.decode().split()
                last[key] = int(written)
        store = FileStore(folder)
        for key, number in last.items():
            assert check_read(store, key) in (body_of(key, number), body_of(key, number + 5)), key
        for upload, key in store_uploads(store):
            store.abort_parts(key, upload)
        store.close()
        check_whole(folder)


def store_uploads(store: FileStore) -> list[tuple[str, str]]:
    """The unfinished uploads: they belong to their users, so a kill leaves them."""
    with store._index.reading() as db:
        rows = db.execute("SELECT id, key FROM uploads").fetchall()
    return [(upload, key.decode()) for upload, key in rows]


class Died(BaseException):
    """Stands for a death at an instant that a timer seldom meets."""


@pytest.mark.parametrize("overwritten", [False, True])
@pytest.mark.parametrize("instant", ["_move", "remove"])
def test_death_after_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instant: str, *, overwritten: bool
) -> None:
    """Between the commit and the rename, or the removal of the old blob, nothing is lost."""
    folder = tmp_path / "store"
    dying = FileStore(folder)
    dying.put("x", b"old", Headers())
    dying.put("y", b"y", Headers())

    def die(*_: object) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(dying._blobs, instant, die)
        with pytest.raises(Died):
            dying.put("x", b"new", Headers())
    other = FileStore(folder)
    assert check_read(other, "x") == b"new"  # while the owner lives, from its folder
    os.close(dying._blobs._alive)
    dying._blobs._alive = -1
    dying._index.close()
    now = b"newer" if overwritten else b"new"
    if overwritten:
        other.put("x", now, Headers())
        other.put("z", b"with this one goes the note that the old blob is garbage", Headers())
    third = FileStore(folder)
    assert (check_read(other, "x"), check_read(third, "x")) == (now, now)
    other.close()
    third.close()
    check_whole(folder)


def test_late_move_of_a_dropped_blob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A blob that was replaced before its owner moved it, by one who died then, is not kept."""
    folder = tmp_path / "store"
    slow, dying = FileStore(folder), FileStore(folder)
    move = slow._blobs._move

    def die(*_: object) -> None:
        raise Died

    def replaced_meanwhile(blob: str) -> None:
        with pytest.raises(Died):
            dying.put("x", b"newer", Headers())
        move(blob)

    with monkeypatch.context() as patch:
        patch.setattr(dying._blobs, "remove", die)
        patch.setattr(slow._blobs, "_move", replaced_meanwhile)
        slow.put("x", b"old", Headers())
    slow.put("y", b"the notes of the first put go with this one", Headers())
    slow.close()
    dying.close()
    check_whole(folder)


def test_many_open_at_once(tmp_path: Path) -> None:
    """A store that many make, open and close at once takes nobody for dead who lives."""

    def visit(number: int) -> None:
        for step in range(8):
            store = FileStore(tmp_path / "store")
            store.put(f"{number}", b"%d" % step, Headers())
            assert check_read(store, f"{number}") == b"%d" % step
            store.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(visit, range(6)))
    check_whole(tmp_path / "store")


def test_finished_upload_is_gone(store: FileStore, tmp_path: Path) -> None:
    """A finished upload is not known any more, and its parts cost no room."""
    upload = store.start_parts("x", Headers())
    parts = [store.put_part("x", upload, number, b"part") for number in (1, 2)]
    assert len(blobs(tmp_path / "store")) == 2
    store.finish_parts("x", upload, parts)
    assert len(blobs(tmp_path / "store")) == 1
    with pytest.raises(NoSuchUpload):
        store.finish_parts("x", upload, parts)
    assert check_read(store, "x") == b"partpart"


def test_reader_keeps_its_version(store: FileStore) -> None:
    """An object that is replaced and deleted while it is read is read to its end."""
    body = os.urandom(3 * 2**20)
    store.put("x", body, Headers())
    pieces: list[bytes] = []

    def sink(view: memoryview) -> None:
        if not pieces:
            store.put("x", b"other", Headers())
            store.delete("x")
        pieces.append(bytes(view))

    store.get("x", sink, start=0, stop=len(body))
    assert b"".join(pieces) == body


def test_failed_put_leaves_nothing(store: FileStore, tmp_path: Path) -> None:
    """A refused or a short body leaves no file behind."""
    store.put("x", b"1", Headers())
    with pytest.raises(PreconditionFailed, match="expected not to"):
        store.put("x", b"22", Headers(), expect=ABSENT)
    with (tmp_path / "short").open("w+b") as file, pytest.raises(Corrupt, match="early"):
        store.put("y", FileRange(file.fileno(), 0, 10), Headers())
    assert len(blobs(tmp_path / "store")) == 1


def test_a_lost_blob_is_told(store: FileStore, tmp_path: Path) -> None:
    """A row whose file somebody removed is an error with a remedy, not empty bytes."""
    store.put("x", b"1", Headers())
    shutil.rmtree(tmp_path / "store" / "blobs")
    with pytest.raises(Corrupt, match="missing"):
        store.get("x", lambda _: None, start=0, stop=1)
    with pytest.raises(Corrupt, match="missing"):
        store.copy("x", "y", size=1)


def test_copy_costs_no_bytes(store: FileStore, tmp_path: Path) -> None:
    """A copy shares the file; it stays when either of the two objects goes."""
    store.put("a", b"body", Headers())
    store.copy("a", "b", size=4)
    (file,) = {path.stat().st_ino for path in (tmp_path / "store").glob("blobs/*/*")}
    assert file
    store.delete("a")
    assert check_read(store, "b") == b"body"


def test_listing_jumps(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of common prefixes costs a search each, whatever number of keys they hold."""
    per_prefix, prefixes = 2000, 10
    fill(store, [f"p{p:02}/{n:05}" for p in range(prefixes) for n in range(per_prefix)] + ["q"])
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    with store._index.reading() as db:
        db.set_progress_handler(count, 10)  # called each ten instructions of SQLite's machine
        page = scan.page(db, "", delimiter="/", after="", token="", limit=1000)
        db.set_progress_handler(None, 0)
    assert len(page.prefixes) == prefixes
    assert [info.key for info in page.objects] == ["q"]
    assert steps < 10 * prefixes, "it reads the keys under the prefixes"


def test_misuse(store: FileStore) -> None:
    """What no caller may ask is refused."""
    bucket = Bucket(store)
    bucket.put("x", b"123")
    for first, stop in [(0, 0), (2, 1), (0, 4), (-1, 2)]:
        with pytest.raises(InvalidRange):
            bucket.read("x", first, stop)
    with pytest.raises(NameTooLong):
        bucket.put("")
    for token in ("x", "é"):
        with pytest.raises(InvalidArgument, match="token"):
            store.list_page("", token=token)


def test_usage(store: FileStore) -> None:
    """Totals follow puts, overwrites, copies and deletes."""
    store.put("a", b"12345", Headers())
    store.put("a", b"123", Headers())
    store.copy("a", "b", size=3)
    store.put("c", b"", Headers())
    store.delete_many(["b", "nothing"])
    assert store.usage() == Usage(3, 2)
