"""The commands on real mounts: a store that fails and comes back, a daemon that is killed."""

import errno
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from objfs.store.base import Driver
from objfs.store.file import FileStore
from objfs.types import Headers
from tests.mount.conftest import s3_store
from tests.mount.kit import Mounted, Store, mounted
from tests.proxy import Proxy, proxy
from tests.servers import Server

pytestmark = pytest.mark.mount
NOISE = ["is not stored yet", "not uploaded", "EHOSTUNREACH", "No route", "recovery", "parts of"]
"""What a daemon says about a store that is down."""


@pytest.fixture
def link(radosgw: Server) -> Iterator[Proxy]:
    """A link to the store that can be cut."""
    with proxy(radosgw.endpoint) as made:
        yield made


@pytest.fixture
def far(radosgw: Server, link: Proxy) -> Store:
    """A new bucket, behind the link."""
    store = s3_store(radosgw)
    store.options = ("--endpoint-url", link.endpoint, "--region", radosgw.region)
    return store


@pytest.fixture
def stuck(far: Store, link: Proxy, tmp_path: Path) -> Iterator[Mounted]:
    """A mount with `old` in the store, changed while the store is down, and a `new` file."""
    options = ("--write-back", "async", "--timeout", "3")
    with mounted(far, tmp_path, *options, allowed=NOISE) as mount:
        (mount.path / "old").write_bytes(b"the old one")
        assert [path.name for path in mount.path.iterdir()] == ["old"]  # `new` is known to be free
        assert mount.objfs("drain").returncode == 0
        link.down()
        (mount.path / "old").write_bytes(b"changed")
        (mount.path / "new").write_bytes(b"n" * 2048)
        until(lambda: all(draft["tries"] for draft in pending(mount)) and len(pending(mount)) == 2)
        yield mount
        link.mend()
        if mount.path.is_mount() and alive(mount):
            mount.objfs("drain")


def pending(mount: Mounted) -> list[dict[str, Any]]:
    """The drafts that are not stored."""
    answer = json.loads(mount.objfs("pending", str(mount.path), "--json").stdout)
    drafts: list[dict[str, Any]] = answer["drafts"]
    return drafts


def until(true: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for something; it must come."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def alive(mount: Mounted) -> bool:
    """Whether the daemon runs."""
    status = json.loads(mount.objfs("status", "--json").stdout)
    return bool(status["ok"])


def killed(mount: Mounted) -> None:
    """End the daemon as a crash does; its mount is cleared away, too."""
    pid = mount.pid()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{pid}/fd").exists())
    subprocess.run(["fusermount3", "-uz", mount.path], check=True)


@pytest.mark.server
def test_p4_status_says_what_is_wrong_and_what_to_do(stuck: Mounted) -> None:
    """P4: path, bytes, tries, the last error in words, the next try, and the way out."""
    shown = stuck.objfs("status", str(stuck.path)).stdout
    assert f"{stuck.path}/new  (2.0 KiB, failing, " in shown
    assert "2 failing (2.0 KiB)" in shown
    assert "next in" in shown
    assert f"objfs retry {stuck.path}" in shown
    (mount,) = json.loads(stuck.objfs("status", str(stuck.path), "--json").stdout)["mounts"]
    assert mount["uploads"]["failing"] == 2
    assert mount["cache"]["dirty"] == 2048 + 7
    assert {draft["path"] for draft in mount["drafts"]} == {"/old", "/new"}
    assert all(draft["error"] and draft["tries"] for draft in mount["drafts"])
    listed = stuck.objfs("pending").stdout.splitlines()
    assert [line.split()[0] for line in listed] == [f"{stuck.path}/new", f"{stuck.path}/old"]


@pytest.mark.server
def test_p4_retry_tries_at_once(stuck: Mounted, link: Proxy) -> None:
    """P4: once the store is back, retry need not wait for the next try's time."""
    until(lambda: all((draft["next_try"] or 0) > 2 for draft in pending(stuck)), 60)
    link.mend()
    done = stuck.objfs("retry", str(stuck.path / "new"))
    assert done.returncode == 0, done.stderr
    assert "1 upload is tried now" in done.stdout
    until(lambda: stuck.store.objects().get("new") == b"n" * 2048, 5)
    until(lambda: not pending(stuck), 5)  # one success has the other tried, too
    assert stuck.store.objects()["old"] == b"changed"


@pytest.mark.server
def test_p4_discard_gives_up_a_draft(stuck: Mounted, link: Proxy) -> None:
    """P4: the file shows the store's version again, or is gone; nothing is uploaded."""
    refused = stuck.objfs("discard", str(stuck.path / "old"))
    assert refused.returncode == 2
    assert "Give --yes" in refused.stderr
    for name in ("old", "new"):
        done = stuck.objfs("discard", str(stuck.path / name), "--yes")
        assert done.returncode == 0, done.stderr
    assert not pending(stuck)
    link.mend()
    assert (stuck.path / "old").read_bytes() == b"the old one"
    assert [path.name for path in stuck.path.iterdir()] == ["old"]
    again = stuck.objfs("discard", str(stuck.path / "old"), "--yes")
    assert again.returncode == 1
    assert "has nothing that is not stored" in again.stderr
    stuck.remount()
    assert stuck.store.objects() == {"old": b"the old one"}


@pytest.mark.server
def test_p4_export_from_a_dead_daemon(stuck: Mounted, tmp_path: Path) -> None:
    """P4: kill -9, and the bytes come out of the cache folder; nothing is overwritten."""
    killed(stuck)
    out = tmp_path / "out"
    done = stuck.objfs("export", "--all", str(out), "--cache-dir", str(stuck.cache))
    assert done.returncode == 0, done.stderr
    assert (out / "old").read_bytes() == b"changed"
    assert (out / "new").read_bytes() == b"n" * 2048
    assert stuck.objfs("export", str(stuck.path / "new"), f"{out}/one").returncode == 0
    assert (out / "one").read_bytes() == b"n" * 2048
    (out / "old").write_bytes(b"mine")
    (out / "new").unlink()
    done = stuck.objfs("export", "--all", str(out), "--cache-dir", str(stuck.cache))
    assert done.returncode == 1
    assert "old is not saved: it exists" in done.stderr
    assert (out / "old").read_bytes() == b"mine"
    assert (out / "new").exists()


@pytest.mark.server
def test_p4_export_from_a_live_daemon(stuck: Mounted, tmp_path: Path) -> None:
    """P4: the same while the daemon runs; the upload is owed as before."""
    done = stuck.objfs("export", str(stuck.path / "new"), str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    (saved,) = json.loads(done.stdout)["saved"]
    assert saved == {"path": "/new", "bytes": 2048, "to": str(tmp_path / "new")}
    assert (tmp_path / "new").read_bytes() == b"n" * 2048
    assert len(pending(stuck)) == 2


@pytest.mark.server
def test_export_with_a_damaged_journal(stuck: Mounted, link: Proxy, tmp_path: Path) -> None:
    """A journal that cannot be read costs the names, not the bytes; and a mount refuses it."""
    killed(stuck)
    (stuck.cache / "journal.db-wal").unlink(missing_ok=True)
    (stuck.cache / "journal.db").write_bytes(b"not a database" * 1000)
    done = stuck.objfs("export", "--all", str(tmp_path / "out"), "--cache-dir", str(stuck.cache))
    assert done.returncode == 0, done.stderr
    assert "the journal is damaged" in done.stderr
    found = {path.read_bytes() for path in (tmp_path / "out").glob("draft-*")}
    assert found == {b"changed", b"n" * 2048}
    link.mend()
    refused = stuck.objfs(
        *("mount", *stuck.store.options, "--cache-dir", str(stuck.cache)),
        *(stuck.store.url, str(stuck.path)),
    )
    assert refused.returncode != 0
    assert "objfs export --all" in refused.stderr, refused
    shutil.rmtree(stuck.cache)


@pytest.mark.server
def test_drain_has_an_end(stuck: Mounted, link: Proxy) -> None:
    """Exit code 1 and the list when the time is over; 0 once the store is back."""
    begun = time.monotonic()
    done = stuck.objfs("drain", str(stuck.path), "--timeout", "1")
    assert time.monotonic() - begun < 10
    assert done.returncode == 1
    assert f"  {stuck.path}/new  (2.0 KiB, " in done.stderr
    link.mend()
    done = stuck.objfs("drain", "--timeout", "60")
    assert (done.returncode, done.stderr) == (0, "")
    assert stuck.store.objects() == {"old": b"changed", "new": b"n" * 2048}


@pytest.mark.server
def test_p5_umount_lists_what_is_left(stuck: Mounted, link: Proxy) -> None:
    """P5: with the store down umount ends with exit code 1 and names; the next mount uploads."""
    done = stuck.objfs("umount", str(stuck.path), "--timeout", "60")
    assert done.returncode == 1
    assert "/new (2.0 KiB): " in done.stderr
    link.mend()
    stuck.mount()
    assert stuck.objfs("drain").returncode == 0
    assert stuck.store.objects() == {"old": b"changed", "new": b"n" * 2048}


@pytest.mark.server
def test_a_hung_daemon_is_a_sentence(stuck: Mounted) -> None:
    """A daemon that does not answer costs five seconds, not for ever."""
    os.kill(stuck.pid(), signal.SIGSTOP)
    try:
        done = stuck.objfs("status", str(stuck.path))
        assert done.returncode == 1
        assert "has not answered status for 5 s" in done.stdout
    finally:
        os.kill(stuck.pid(), signal.SIGCONT)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Driver]:
    """Another client of the embedded store."""
    driver = FileStore(tmp_path / "store")
    yield driver
    driver.close()


@pytest.fixture
def long(other: Driver, tmp_path: Path) -> Iterator[Mounted]:
    """That store, mounted with a time to live that outlasts the test."""
    with mounted(Store("file", f"file://{tmp_path}/store"), tmp_path, "--metadata-ttl", "1h") as at:
        yield at


def test_p12_refresh_makes_a_change_visible_at_once(long: Mounted, other: Driver) -> None:
    """P12: what is new, changed or gone elsewhere shows after refresh, the kernel's memory too."""
    other.put("d/changed", b"one", Headers())
    other.put("d/gone", b"x", Headers())
    at = long.path
    assert (at / "d/changed").read_bytes() == b"one"
    assert {path.name for path in (at / "d").iterdir()} == {"changed", "gone"}
    assert not (at / "d/new").exists()
    assert not (at / "e").exists()
    other.put("d/changed", b"other", Headers())
    other.put("d/new", b"new", Headers())
    other.put("e/f", b"f", Headers())
    other.delete("d/gone")
    assert (at / "d/changed").read_bytes() == b"one"
    assert not (at / "d/new").exists()
    assert not (at / "e/f").exists()
    assert long.objfs("refresh", str(at / "d")).returncode == 0
    assert (at / "d/changed").read_bytes() == b"other"
    assert (at / "d/new").read_bytes() == b"new"
    assert not (at / "d/gone").exists()
    assert long.objfs("refresh", str(at / "e/f")).returncode == 0
    assert (at / "e/f").read_bytes() == b"f"


def test_refresh_of_one_file_and_of_everything(long: Mounted, other: Driver) -> None:
    """A file's content and its absence; and from the root, directories that were seen before."""
    other.put("a", b"one", Headers())
    other.put("x/y/z", b"one", Headers())
    at = long.path
    assert (at / "a").read_bytes() == (at / "x/y/z").read_bytes() == b"one"
    for key in ("a", "x/y/z"):
        other.put(key, b"and two", Headers())
    assert long.objfs("refresh", str(at / "a")).returncode == 0
    assert (at / "a").read_bytes() == b"and two"
    assert (at / "x/y/z").read_bytes() == b"one"
    assert long.objfs("refresh", str(at)).returncode == 0
    assert (at / "x/y/z").read_bytes() == b"and two"
    other.delete("a")
    done = long.objfs("refresh", str(at / "a"))
    assert "the store has nothing of that name" in done.stdout
    assert not (at / "a").exists()


def test_two_mounts_at_once(tmp_path: Path) -> None:
    """Commands without a mount point are for all of them; with one, for that alone."""
    places = [tmp_path / "one", tmp_path / "two"]
    for place in places:
        place.mkdir()
    one, two = (Store("file", f"file://{place}/store") for place in places)
    with mounted(one, places[0]) as first:
        second = Mounted(two, places[1])
        second._env["XDG_RUNTIME_DIR"] = first._env["XDG_RUNTIME_DIR"]
        second.mount()
        try:
            shown = first.objfs("status").stdout
            assert str(first.path) in shown
            assert str(second.path) in shown
            assert first.objfs("drain").returncode == 0
        finally:
            second.umount()
        assert json.loads(first.objfs("status", str(first.path), "--json").stdout)["ok"]
        assert first.objfs("status", str(second.path)).returncode == 6


def test_a_dead_daemon_is_named(tmp_path: Path) -> None:
    """Its mount is still there and answers ENOTCONN: status says so, with the way out."""
    mount = Mounted(Store("file", f"file://{tmp_path}/store"), tmp_path)
    mount.mount()
    pid = mount.pid()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{pid}/fd").exists())
    try:
        with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
            list(mount.path.iterdir())
        done = mount.objfs("status", str(mount.path))
        assert done.returncode == 1
        assert f"process {pid}) is dead" in done.stdout
        assert "objfs export --all DEST" in done.stdout
        refused = mount.objfs("retry", str(mount.path / "a"))
        assert refused.returncode == 1
        assert "is dead" in refused.stderr
    finally:
        subprocess.run(["fusermount3", "-uz", mount.path], check=True)
    assert mount.objfs("status", str(mount.path)).returncode == 6
