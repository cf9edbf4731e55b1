"""A disk that loses its power on command: ext4 in a loop device, cut off with EXT4_IOC_SHUTDOWN.

The kernel's own way to test crash consistency (xfs_io's "shutdown" and fstests use it): from the
call on every write fails with EIO, and what no fsync had made durable is not there after the next
mount, which replays ext4's journal. See EXT4_GOING_FLAGS_NOLOGFLUSH in the kernel's fs/ext4/ext4.h.
"""

import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN: _IOR('X', 125, __u32)
_NO_LOG_FLUSH = 2  # what is in memory only is lost, as with a power cut
SIZE = 2 * 2**30
"""Bytes; the backing file is sparse."""
BUSY_SECONDS = 20.0


class Unavailable(Exception):
    """This machine offers no such disk; the message says what is missing."""


class Disk:
    """The file system, mounted at `path`; made by `disk` only."""

    def __init__(self, backing: Path, path: Path) -> None:
        self.path = path
        self._backing = backing

    def cut(self) -> None:
        """The power fails: nothing that is not on the disk by now gets there any more."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def restore(self) -> None:
        """The power is back: mounted anew, as the disk is. Nobody may have a file open there."""
        self.detach()
        self.attach()

    def attach(self) -> None:
        """Mount it. Raises `Unavailable`."""
        # the loop device goes with the mount (autoclear), however that ends
        _run("mount", "-t", "ext4", "-o", "loop,errors=continue", self._backing, self.path)

    def detach(self) -> None:
        """Unmount it, as soon as the last process that used it is gone."""
        end = time.monotonic() + BUSY_SECONDS
        while self.path.is_mount():
            try:
                _run("umount", self.path)
            except Unavailable:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)


@contextmanager
def disk(folder: Path) -> Iterator[Disk]:
    """A new disk, mounted in `folder`; gone afterwards with all on it. Raises `Unavailable`."""
    memory = Path("/dev/shm")  # a name that nobody can guess is made there
    place = memory if os.access(memory, os.W_OK) else folder
    handle, name = tempfile.mkstemp(prefix="objfs-crash-disk-", dir=place)
    try:
        os.truncate(handle, SIZE)
        os.close(handle)
        made = Disk(Path(name), folder / "disk")
        made.path.mkdir()
        _run("mkfs.ext4", "-q", "-F", "-O", "has_journal", name)
        made.attach()
        try:
            yield made
        finally:
            subprocess.run(["umount", "-l", made.path], check=False, capture_output=True)
    finally:
        Path(name).unlink()


def _run(program: str, *arguments: str | Path) -> None:
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if os.geteuid() or not found:
        raise Unavailable(f"a disk to cut off needs root and {program}")
    done = subprocess.run([found, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{program} failed: {done.stderr.strip()}")
