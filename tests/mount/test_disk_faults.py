"""What the mount does when the local disk fails it (PROMISES P20, P3), on real mounts.

The cache folder lies on a tmpfs of its own, which can be made full from outside.
"""

import errno
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.kit import Store, mounted

pytestmark = pytest.mark.mount
MIB = 2**20


@pytest.fixture
def place(tmp_path: Path) -> Store:
    """An empty embedded store, on the large disk."""
    return Store("file", f"file://{tmp_path}/store")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A cache folder on a disk of 24 MiB."""
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    options = ["-o", "size=24m,mode=0700"]
    subprocess.run(["mount", "-t", "tmpfs", *options, "objfs-test", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path) -> Path:
    """Leave not a byte free; what to remove in order to make room."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (MIB, 4096):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
    return ballast


def test_full_disk_in_the_spool(place: Store, disk: Path, tmp_path: Path) -> None:
    """P20: write(2) says ENOSPC, and the object in the store is as it was."""
    with mounted(place, tmp_path, allowed=["is full"]) as mount:
        path = mount.path / "f"
        path.write_bytes(b"before")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        ballast = fill(disk)
        with pytest.raises(OSError, match="No space"):
            os.writev(fd, [bytes(MIB)] * 30)
        ballast.unlink()
        os.close(fd)
        path.write_bytes(b"after")
        assert path.read_bytes() == b"after"
    assert place.objects()["f"] == b"after"


def test_full_disk_in_the_journal(place: Store, disk: Path, tmp_path: Path) -> None:
    """P3: without room for the intent close(2) says ENOSPC, never 0; nothing is lost."""
    with mounted(place, tmp_path, "--write-back", "async", allowed=["journal"]) as mount:
        fd = os.open(mount.path / "f", os.O_WRONLY | os.O_CREAT, 0o644)
        os.write(fd, b"mine")
        ballast = fill(disk)
        with pytest.raises(OSError, match="No space"):
            os.close(fd)
        assert (mount.path / "f").read_bytes() == b"mine"
        ballast.unlink()
    assert place.objects()["f"] == b"mine"


def test_full_disk_in_the_read_cache(place: Store, disk: Path, tmp_path: Path) -> None:
    """P20: reads succeed past the cache."""
    data = os.urandom(8 * MIB)
    with mounted(place, tmp_path, allowed=["cache"]) as mount:
        (mount.path / "f").write_bytes(data)
        mount.remount()
        for cached in (disk / "reads").glob("*/*"):
            if cached.is_file():
                cached.unlink()
        mount.remount()
        ballast = fill(disk)
        assert (mount.path / "f").read_bytes() == data
        ballast.unlink()


def test_the_cache_never_exceeds_its_size(place: Store, tmp_path: Path) -> None:
    """P20: 64 MiB are read through a cache of 16 MiB; its folder stays within it."""
    source = os.urandom(64 * MIB)
    with mounted(place, tmp_path, "--cache-size", "128MiB") as mount:
        (mount.path / "f").write_bytes(source)
    worst = 0
    (tmp_path / "second").mkdir()
    with mounted(place, tmp_path / "second", "--cache-size", "16MiB") as mount:
        with (mount.path / "f").open("rb", buffering=0) as file:
            at = 0
            while chunk := file.read(MIB):
                assert chunk == source[at : at + len(chunk)]
                at += len(chunk)
                held = sum(
                    path.stat().st_blocks * 512
                    for path in (mount.cache / "reads").glob("*/*")
                    if path.is_file()
                )
                worst = max(worst, held)
                time.sleep(0.005)
        assert at == len(source)
    assert worst <= (16 + 8) * MIB, worst
