"""Reading and summing up the file of a cached version; `announce` and `read_now` do not block."""

import errno
import os
from collections.abc import Callable

import xxhash

from objfs.cache.blocks import BLOCK


def sums(fd: int, size: int) -> list[int]:
    """The checksums of all blocks of a file that is all there."""
    return [
        xxhash.xxh3_64_intdigest(os.pread(fd, min(BLOCK, size - at), at))
        for at in range(0, size, BLOCK)
    ]


def feed(fd: int, start: int, stop: int, take: Callable[[memoryview], object]) -> None:
    """Bytes [start, stop) of a file, a MiB at a time."""
    buffer = memoryview(bytearray(8 * BLOCK))
    while start < stop:
        count = os.preadv(fd, [buffer[: stop - start]], start)
        if not count:
            break
        take(buffer[:count])
        start += count


def announce(fd: int, start: int, stop: int) -> None:
    """Bytes [start, stop) will be read soon: the kernel reads what it lacks, nobody waits for it.

    Its own read-ahead is some 128 KiB, a disk's round trip for each of them.
    """
    os.posix_fadvise(fd, start, stop - start, os.POSIX_FADV_WILLNEED)


def read_now(fd: int, start: int, size: int) -> bytearray | None:
    """The bytes if the page cache has them all, without a thread and without waiting."""
    data = bytearray(size)
    try:
        count = os.preadv(fd, [data], start, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno in {errno.EAGAIN, errno.EOPNOTSUPP}:
            return None
        raise
    return data if count == size else None


def read_fully(fd: int, start: int, size: int) -> bytearray:
    """The bytes, from the disk; what lies behind the end of the file is zeros."""
    data = bytearray(size)
    view = memoryview(data)
    at = 0
    while at < size:
        count = os.preadv(fd, [view[at:]], start + at)
        if not count:
            break
        at += count
    return data
