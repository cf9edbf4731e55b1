"""The promises that README makes, by number, each on a real kernel mount.

The other client is the store's own driver in this process, which knows nothing of the mount.
"""

import errno
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from objfs.store.base import Driver
from objfs.store.file import FileStore
from objfs.types import Headers
from tests.mount.conftest import s3_store
from tests.mount.kit import Mounted, Store, mounted
from tests.servers import Server

pytestmark = pytest.mark.mount
TTL = 1.0


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
    """The store, mounted with a short time to live."""
    with mounted(place, tmp_path, "--metadata-ttl", str(TTL)) as mount:
        yield mount


def put(other: Driver, key: str, data: bytes) -> None:
    """The other client stores an object."""
    other.put(key, data, Headers())


def get(other: Driver, key: str) -> bytes:
    """The other client fetches an object."""
    data = bytearray()
    size = other.head(key).size
    if size:
        other.get(key, data.extend, start=0, stop=size)
    return bytes(data)


def test_p1_close_returns_once_the_store_has_it(mount: Mounted, other: Driver) -> None:
    """P1: after close(2) the object is in the store, whole."""
    with (mount.path / "f").open("wb") as file:
        file.write(b"x" * 100_000)
        file.flush()
        assert not other.list_page("").objects
    assert get(other, "f") == b"x" * 100_000


@pytest.mark.server
def test_p1_close_returns_the_stores_verdict(seaweedfs: Server, tmp_path: Path) -> None:
    """P1: a user without the right to write hears of it from close(2), as EACCES."""
    store = s3_store(seaweedfs)
    store.env |= {
        "AWS_ACCESS_KEY_ID": seaweedfs.access_key_2,
        "AWS_SECRET_ACCESS_KEY": seaweedfs.secret_key_2,
    }
    with mounted(store, tmp_path, allowed=["EACCES", "not uploaded"]) as mount:
        fd = os.open(mount.path / "f", os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"mine")
        with pytest.raises(PermissionError):
            os.close(fd)
        assert (mount.path / "f").read_bytes() == b"mine"  # kept, and shown
        (mount.path / "f").unlink()


def test_p2_fsync_is_local(mount: Mounted, other: Driver) -> None:
    """P2: fsync(2) succeeds without the object being stored yet."""
    with (mount.path / "f").open("wb") as file:
        file.write(b"1")
        file.flush()
        os.fsync(file.fileno())
        assert not other.list_page("").objects


def test_p6_readers_elsewhere_see_old_or_new(mount: Mounted, other: Driver) -> None:
    """P6: while a file is rewritten again and again, another client only sees whole versions."""
    path = mount.path / "f"
    path.write_bytes(b"a" * 300_000)
    stop = threading.Event()
    seen: set[bytes] = set()

    def watch() -> None:
        while not stop.is_set():
            data = get(other, "f")
            assert len(data) == 300_000
            seen.add(bytes(set(data)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for letter in b"bcdefgh":
        path.write_bytes(bytes([letter]) * 300_000)
    stop.set()
    watcher.join()
    assert all(len(letters) == 1 for letters in seen)


def test_p7_a_cached_block_that_rots_is_fetched_again(mount: Mounted, other: Driver) -> None:
    """P7: a flipped byte in the read cache is noticed and never handed out."""
    data = os.urandom(700_000)
    put(other, "f", data)
    assert (mount.path / "f").read_bytes() == data
    mount.umount()
    (cached,) = [path for path in (mount.cache / "reads").glob("*/*") if path.is_file()]
    with cached.open("r+b") as file:
        file.seek(300_000)
        file.write(bytes([data[300_000] ^ 1]))
    mount.mount("--metadata-ttl", str(TTL))
    assert (mount.path / "f").read_bytes() == data


def test_p8_close_to_open(mount: Mounted, other: Driver) -> None:
    """P8: on one mount at once, between clients after the time to live."""
    path = mount.path / "f"
    path.write_bytes(b"one")
    assert path.read_bytes() == b"one"
    put(other, "f", b"other")
    time.sleep(TTL + 0.1)
    assert path.read_bytes() == b"other"
    put(other, "new", b"")
    time.sleep(TTL + 0.1)
    assert sorted(os.listdir(mount.path)) == ["f", "new"]  # noqa: PTH208  # names as bytes arrive


def test_p9_an_open_file_is_one_version(place: Store, other: Driver, tmp_path: Path) -> None:
    """P9: what is replaced underneath and not cached is ESTALE, never a mixture."""
    with mounted(place, tmp_path, allowed=["ESTALE"]) as mount:
        one_version(mount, other)


def one_version(mount: Mounted, other: Driver) -> None:
    """Read at the start, let the object be replaced, read on."""
    old = os.urandom(8 * 2**20)
    put(other, "f", old)
    with (mount.path / "f").open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        assert file.read(4096) == old[:4096]
        put(other, "f", os.urandom(8 * 2**20))
        with pytest.raises(OSError, match="Stale") as failed:
            os.pread(file.fileno(), 4096, 6 * 2**20)
        assert failed.value.errno == errno.ESTALE
        assert os.pread(file.fileno(), 4096, 0) == old[:4096]


def test_p10_an_upload_never_overwrites_what_it_did_not_see(
    place: Store, other: Driver, tmp_path: Path
) -> None:
    """P10: a conflict is ESTALE at close, and both are kept, visible at once."""
    put(other, "f", b"base")
    with mounted(place, tmp_path, allowed=["changed elsewhere", "not uploaded"]) as mount:
        fd = os.open(mount.path / "f", os.O_RDWR)
        os.write(fd, b"mine")
        put(other, "f", b"theirs")
        with pytest.raises(OSError, match="Stale"):
            os.close(fd)
        assert get(other, "f") == b"theirs"
        assert (mount.path / "f").read_bytes() == b"theirs"
        (copy,) = [name for name in mount.files() if name.startswith("f.conflict-")]
        assert (mount.path / copy).read_bytes() == b"mine" == get(other, copy)


def test_p11_the_negative_cache_hides_nothing_made_here(mount: Mounted) -> None:
    """P11: a name that was absent a moment ago is there once it is created."""
    path = mount.path / "late"
    for _ in range(20):
        assert not path.exists()
        path.write_bytes(b"1")
        assert path.exists()
        path.unlink()
    assert not path.exists()


def test_p13_every_key_has_a_path(mount: Mounted, other: Driver) -> None:
    """P13: keys that a path cannot hold are shown escaped, and the escape leads to the key."""
    keys = ["a//b", "/lead", "x/../y", "x/./z", "body/", "clash", "clash/in", "nul\0l", "%empty"]
    for number, key in enumerate(keys):
        put(other, key, str(number).encode())
    found = {path: data.decode() for path, data in mount.files().items()}
    assert found == {
        "a/%empty/b": "0",
        "%empty/lead": "1",
        "x/%dotdot/y": "2",
        "x/%dot/z": "3",
        "body/%empty": "4",
        "clash%file": "5",
        "clash/in": "6",
        "nul%00l": "7",
        "%25empty": "8",
    }
    (mount.path / "a/%empty/b").write_bytes(b"new")
    assert get(other, "a//b") == b"new"


def test_p14_empty_directories_stay(mount: Mounted, other: Driver) -> None:
    """P14: mkdir survives a remount; removing the last file leaves its directory."""
    (mount.path / "made").mkdir()
    put(other, "implied/f", b"1")
    (mount.path / "implied/f").unlink()
    time.sleep(TTL + 0.1)
    assert sorted(path.name for path in mount.path.iterdir()) == ["implied", "made"]
    mount.remount()
    assert (mount.path / "made").is_dir()
    assert other.head("made/").size == 0


def test_p15_rename(mount: Mounted, other: Driver) -> None:
    """P15: over an existing file; RENAME_NOREPLACE refuses; RENAME_EXCHANGE is EINVAL."""
    one, two = mount.path / "one", mount.path / "two"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    for flag, refusal in (("RENAME_NOREPLACE", errno.EEXIST), ("RENAME_EXCHANGE", errno.EINVAL)):
        assert renameat2(one, two, flag) == refusal
    one.rename(two)
    assert [info.key for info in other.list_page("").objects] == ["two"]
    assert get(other, "two") == b"1"
    assert renameat2(two, one, "RENAME_NOREPLACE") == 0


def renameat2(source: Path, target: Path, flag: str) -> int:
    """Call renameat2(2), which Python does not have; 0 or the errno."""
    import ctypes

    value = {"RENAME_NOREPLACE": 1, "RENAME_EXCHANGE": 2}[flag]
    libc = ctypes.CDLL(None, use_errno=True)
    at_cwd = -100
    done = libc.renameat2(at_cwd, os.fsencode(source), at_cwd, os.fsencode(target), value)
    return ctypes.get_errno() if done else 0


def test_p17_an_open_file_outlives_unlink_and_rename(mount: Mounted, other: Driver) -> None:
    """P17: its readers and writers go on, although the object is gone or elsewhere."""
    data = os.urandom(5 * 2**20)
    put(other, "f", data)
    with (mount.path / "f").open("rb") as reader:
        (mount.path / "f").unlink()
        assert not other.list_page("").objects
        assert reader.read() == data
    writer = (mount.path / "g").open("wb")
    writer.write(b"before ")
    writer.flush()
    (mount.path / "g").rename(mount.path / "h")
    writer.write(b"after")
    writer.close()
    assert get(other, "h") == b"before after"


def test_p20_dirty_bytes_are_bounded(place: Store, tmp_path: Path) -> None:
    """P20, in part: a draft that does not fit into --cache-size is ENOSPC, and nothing is lost."""
    with mounted(place, tmp_path, "--cache-size", "8MiB", allowed=["ENOSPC"]) as mount:
        (mount.path / "small").write_bytes(b"kept")
        with pytest.raises(OSError, match="No space"):
            (mount.path / "large").write_bytes(bytes(16 * 2**20))
        assert (mount.path / "small").read_bytes() == b"kept"
        (mount.path / "large").unlink()


def test_p21_memory_is_flat(mount: Mounted) -> None:
    """P21: 512 MiB written and read leave the daemon under 256 MiB of resident memory."""
    mount.sh("head -c 512M /dev/zero > big && cat big | md5sum && cat big > /dev/null")
    assert mount.peak_memory() < 256 * 2**20


def test_p22_one_daemon_for_a_cache_folder(mount: Mounted, tmp_path: Path) -> None:
    """P22: the folder is private, and a second daemon on it is refused by PID."""
    assert stat.S_IMODE(mount.cache.stat().st_mode) == 0o700
    second = tmp_path / "second"
    second.mkdir()
    refused = mount.objfs("mount", "--cache-dir", str(mount.cache), mount.store.url, str(second))
    assert refused.returncode == 7
    assert str(mount.pid()) in refused.stderr
