"""kill -9 at chosen instants, on real mounts; `scripts/crash-test` does it at random ones."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from objfs.store.base import Driver
from objfs.store.file import FileStore
from objfs.types import Headers
from scripts.crash_test.disk import Unavailable, disk
from tests.mount.kit import Mounted, Store
from tests.mount.test_promises import get, put
from tests.mounts import MOUNTINFO

pytestmark = pytest.mark.mount
CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def place(tmp_path: Path) -> Store:
    """An empty embedded store."""
    return Store("file", f"file://{tmp_path}/store")


@pytest.fixture
def other(place: Store, tmp_path: Path) -> Iterator[Driver]:
    """Another client of the same store."""
    driver = FileStore(tmp_path / "store")
    yield driver
    driver.close()


@pytest.fixture
def mount(place: Store, other: Driver, tmp_path: Path) -> Iterator[Mounted]:
    """The store; tests mount it, and kill it, as they like."""
    mount = Mounted(place, tmp_path)
    yield mount
    if mount.path.is_mount():
        mount.objfs("umount", "--timeout", "60", str(mount.path))


def crash(mount: Mounted) -> None:
    """SIGKILL for the daemon, and the dead mount taken down."""
    pid = mount.pid()
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}/fd").exists() and time.monotonic() < end:
        time.sleep(0.01)
    while f" {mount.path} " in MOUNTINFO.read_text():
        subprocess.run(["fusermount3", "-uz", mount.path], check=False, capture_output=True)


def drained(mount: Mounted) -> None:
    """Unmount; nothing is owed afterwards."""
    mount.umount()
    assert not list((mount.cache / "spool").iterdir())
    with contextlib.closing(sqlite3.connect(mount.cache / "journal.db")) as db:
        assert not db.execute("SELECT * FROM draft").fetchall()
        assert not db.execute("SELECT * FROM rename").fetchall()


def wait_for(other: Driver, key: str, data: bytes) -> None:
    """Until the other client sees these bytes, half a minute at most."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if any(info.key == key for info in other.list_page("").objects) and get(other, key) == data:
            return
        time.sleep(0.05)
    raise AssertionError(f"{key} never became what it should")


def test_p3_what_close_promised_survives_kill_9(mount: Mounted, other: Driver) -> None:
    """P3: closed in async mode, killed at once; the next mount, with other flags, uploads it."""
    mount.mount("--write-back", "async")
    for number in range(30):
        (mount.path / f"f{number}").write_bytes(f"first {number}".encode())
        (mount.path / f"f{number}").write_bytes(f"last {number}".encode())
    crash(mount)
    mount.mount("--write-back", "sync", "--metadata-ttl", "0")
    for number in range(30):
        assert (mount.path / f"f{number}").read_bytes() == f"last {number}".encode()
    drained(mount)
    objects = {info.key: get(other, info.key) for info in other.list_page("").objects}
    assert objects == {f"f{number}": f"last {number}".encode() for number in range(30)}


def test_p3_an_fsynced_draft_that_was_never_closed_survives(mount: Mounted, other: Driver) -> None:
    """P3: fsync returned, close never came: the next mount uploads what was fsynced."""
    mount.mount()
    fd = os.open(mount.path / "f", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"fsynced")
    os.fsync(fd)
    crash(mount)
    with contextlib.suppress(OSError):
        os.close(fd)
    mount.mount()
    assert (mount.path / "f").read_bytes() == b"fsynced"
    drained(mount)
    assert get(other, "f") == b"fsynced"


def test_p3_what_was_written_after_fsync_never_comes_back_as_zeros(
    mount: Mounted, other: Driver
) -> None:
    """P3: a power loss keeps the length of what was not fsynced, not its bytes: cut off there."""
    mount.mount()
    fd = os.open(mount.path / "f", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"fsynced")
    os.fsync(fd)
    crash(mount)
    with contextlib.suppress(OSError):
        os.close(fd)
    (draft,) = (mount.cache / "spool").iterdir()
    os.truncate(draft, 5000)  # as ext4 leaves it when its journal is replayed
    mount.mount()
    assert (mount.path / "f").read_bytes() == b"fsynced"
    drained(mount)
    assert get(other, "f") == b"fsynced"


def test_p3_closed_after_fsync_is_uploaded_without_a_remount(mount: Mounted, other: Driver) -> None:
    """P3: a file that was fsynced before it was closed goes up in the background like any other."""
    mount.mount("--write-back", "async")
    with (mount.path / "f").open("wb", buffering=0) as file:
        file.write(b"1")
        os.fsync(file.fileno())
        file.write(b"2")
    wait_for(other, "f", b"12")
    drained(mount)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_p3_truncated_and_written_but_not_closed_is_no_upload(
    mount: Mounted, other: Driver, mode: str
) -> None:
    """P3, trap: O_TRUNC, 24 MiB, kill -9 before close: the old object is intact afterwards."""
    old = os.urandom(3_000_000)
    put(other, "f", old)
    mount.mount("--write-back", mode)
    fd = os.open(mount.path / "f", os.O_WRONLY | os.O_TRUNC)
    for _ in range(24):
        os.write(fd, os.urandom(2**20))
    crash(mount)
    with contextlib.suppress(OSError):
        os.close(fd)
    mount.mount()
    assert (mount.path / "f").read_bytes() == old
    drained(mount)
    assert get(other, "f") == old


@pytest.mark.parametrize("delay", [0.01, 0.05, 0.15])
def test_p6_kill_during_an_overwrite_leaves_the_old_object_or_the_new(
    mount: Mounted, other: Driver, delay: float
) -> None:
    """P6: at no instant is there neither, for others or here; P3: the new one if close said so."""
    old, new = os.urandom(2**20) * 8, os.urandom(2**20) * 24
    put(other, "f", old)
    mount.mount()
    closed = False

    def overwrite() -> None:
        nonlocal closed
        with contextlib.suppress(OSError):
            (mount.path / "f").write_bytes(new)
            closed = True

    writer = threading.Thread(target=overwrite)
    writer.start()
    time.sleep(delay)
    crash(mount)
    writer.join()
    now = get(other, "f")
    assert now == new if closed else now in {old, new}
    mount.mount()
    assert (mount.path / "f").read_bytes() == now
    drained(mount)
    assert get(other, "f") == now


@pytest.mark.parametrize("left", [0, 100])
def test_p3_a_torn_cache_index_costs_no_draft(mount: Mounted, other: Driver, left: int) -> None:
    """P3: what is owed is in the journal; the index of the read cache may be lost at any time."""
    put(other, "read", b"r" * 300_000)
    mount.mount("--write-back", "async")
    (mount.path / "read").read_bytes()
    time.sleep(2.5)  # the index is written now and then
    for number in range(20):
        (mount.path / f"f{number}").write_bytes(f"owed {number}".encode())
    crash(mount)
    indexes = [path for path in (mount.cache / "reads").rglob("*index*") if path.is_file()]
    assert indexes
    for path in indexes:
        os.truncate(path, left)
    mount.mount()
    assert (mount.path / "read").read_bytes() == b"r" * 300_000
    drained(mount)
    assert all(get(other, f"f{n}") == f"owed {n}".encode() for n in range(20))


def test_p3_recovery_under_another_mountpoint(
    mount: Mounted, other: Driver, place: Store, tmp_path: Path
) -> None:
    """P3: the cache folder is what counts, not where it is mounted."""
    mount.mount("--write-back", "async")
    (mount.path / "dir").mkdir()
    (mount.path / "dir/f").write_bytes(b"owed")
    crash(mount)
    again = Mounted(place, tmp_path)
    again.path = tmp_path / "elsewhere"
    again.path.mkdir()
    again.mount("--read-only")
    wait_for(other, "dir/f", b"owed")
    drained(again)


def test_p3_orphaned_drafts_are_removed(mount: Mounted, other: Driver) -> None:
    """Drafts that nobody was promised anything of go at the next mount; the old object stays."""
    put(other, "f", b"old")
    mount.mount()
    fd = os.open(mount.path / "f", os.O_WRONLY)
    os.write(fd, b"new")
    assert list((mount.cache / "spool").iterdir())
    crash(mount)
    with contextlib.suppress(OSError):
        os.close(fd)
    mount.mount()
    assert not list((mount.cache / "spool").iterdir())
    drained(mount)
    assert get(other, "f") == b"old"


def test_a_cache_folder_with_drafts_is_refused_to_another_store(
    mount: Mounted, other: Driver, tmp_path: Path
) -> None:
    """Drafts of one bucket never go into another: exit 7, both are named; the right one goes on."""
    mount.mount("--write-back", "async")
    fd = os.open(mount.path / "f", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"owed")
    os.fsync(fd)
    crash(mount)
    with contextlib.suppress(OSError):
        os.close(fd)
    elsewhere = f"file://{tmp_path}/elsewhere"
    refused = mount.objfs("mount", "--cache-dir", str(mount.cache), elsewhere, str(mount.path))
    assert refused.returncode == 7, refused.stderr
    assert elsewhere in refused.stderr
    assert mount.store.url in refused.stderr
    assert "objfs export" in refused.stderr
    mount.mount()
    drained(mount)
    assert get(other, "f") == b"owed"
    mount.store = Store("file", elsewhere)
    mount.mount()
    assert mount.files() == {}


@pytest.mark.parametrize("harm", ["truncated", "garbage", "newer"])
def test_a_journal_that_cannot_be_read_is_a_refusal(
    mount: Mounted, other: Driver, harm: str
) -> None:
    """Trap: exit 9, the folder and `objfs export` are named, and nothing is deleted."""
    mount.mount("--write-back", "async")
    with (mount.path / "f").open("wb", buffering=0) as file:
        file.write(b"precious")
        os.fsync(file.fileno())
        crash(mount)
        with contextlib.suppress(OSError):
            file.close()
    journal = mount.cache / "journal.db"
    if harm == "newer":
        with contextlib.closing(sqlite3.connect(journal)) as db:
            db.execute("PRAGMA user_version = 99")
    else:
        for name in ("journal.db-wal", "journal.db-shm"):
            (mount.cache / name).unlink(missing_ok=True)
        data = journal.read_bytes() or bytes(4096)
        journal.write_bytes(data[: len(data) // 2] if harm == "truncated" else b"\xff" * 5000)
    before = {path.name: path.read_bytes() for path in (mount.cache / "spool").iterdir()}
    harmed = journal.read_bytes()
    refused = mount.objfs(
        "mount", "--cache-dir", str(mount.cache), mount.store.url, str(mount.path)
    )
    assert refused.returncode == 9, refused.stderr
    assert str(mount.cache) in refused.stderr
    assert "objfs export" in refused.stderr
    assert {path.name: path.read_bytes() for path in (mount.cache / "spool").iterdir()} == before
    assert b"precious" in before.values()
    assert journal.read_bytes() == harmed


def test_p16_a_directory_rename_cut_short_is_finished(mount: Mounted, other: Driver) -> None:
    """P16: killed between copies and deletes, with a draft below: the next mount finishes it."""
    for number in range(5):
        put(other, f"old/f{number}", str(number).encode())
    put(other, "old/sub/", b"")
    mount.mount("--write-back", "async")
    with (mount.path / "old/f0").open("r+b", buffering=0) as file:
        file.write(b"draft")
        os.fsync(file.fileno())
        crash(mount)
        with contextlib.suppress(OSError):
            file.close()
    with contextlib.closing(sqlite3.connect(mount.cache / "journal.db")) as db, db:
        db.execute("INSERT INTO rename VALUES ('old/', 'new/')")
    other.copy("old/f1", "new/f1", size=1)  # as far as it had got
    mount.mount()
    drained(mount)
    objects = {info.key: get(other, info.key) for info in other.list_page("").objects}
    assert objects.pop("new/f0") == b"draft"
    assert objects == {"new/sub/": b""} | {f"new/f{n}": str(n).encode() for n in range(1, 5)}


def test_p16_what_others_stored_meanwhile_is_not_overwritten(mount: Mounted, other: Driver) -> None:
    """P16: finishing a rename neither overwrites nor deletes where the target is another object."""
    put(other, "old/f", b"ours")
    mount.mount()
    crash(mount)
    with contextlib.closing(sqlite3.connect(mount.cache / "journal.db")) as db, db:
        db.execute("INSERT INTO rename VALUES ('old/', 'new/')")
    put(other, "new/f", b"them")  # as long as ours
    mount.mount()
    mount.umount()
    assert get(other, "new/f") == b"them"
    assert get(other, "old/f") == b"ours"


def test_p10_appending_to_a_file_that_is_replaced_never_mixes(
    mount: Mounted, other: Driver
) -> None:
    """P10, trap: O_APPEND of four bytes while the object is replaced: both contents, unmixed."""
    put(other, "log", b"a" * 1000)
    mount.mount()
    fd = os.open(mount.path / "log", os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"four")
    other.put("log", b"b" * 500, Headers())
    with pytest.raises(OSError, match="Stale"):
        os.close(fd)
    objects = {info.key: get(other, info.key) for info in other.list_page("").objects}
    assert objects.pop("log") == b"b" * 500
    ((name, copy),) = objects.items()
    assert name.startswith("log.conflict-")
    assert copy == b"a" * 1000 + b"four"
    mount.umount()


def campaign(*options: str) -> None:
    """Run scripts/crash-test; its findings fail the test."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "scripts.crash_test", *options],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_p3_power_cuts_at_random_instants(tmp_path: Path) -> None:
    """P2, P3: the same, the disk of the cache folder cut off before each kill."""
    try:
        with disk(tmp_path):
            pass
    except Unavailable as why:
        pytest.skip(str(why))
    campaign("--cut", "--kills", "12", "--mode", "both")


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_p3_thirty_kills_at_random_instants(mode: str) -> None:
    """P3, P6, P16: the crash campaign on the embedded store."""
    campaign("--kills", "30", "--mode", mode)


@pytest.mark.server
def test_p3_thirty_kills_on_a_real_server(request: pytest.FixtureRequest) -> None:
    """P3, P6, P16: the crash campaign on Ceph's gateway, if it was chosen."""
    if "radosgw" in str(request.config.getoption("--servers")).split(","):
        campaign("--kills", "30", "--mode", "both", "--server", "radosgw")
