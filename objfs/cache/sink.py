"""Where the body of a range goes, in the worker thread that reads the network."""

import errno
import hashlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Collection
from typing import Self

import xxhash

from objfs.cache.blocks import BLOCK
from objfs.errors import Corrupt, NoSpace, TimedOut

log = logging.getLogger(__name__)

REPORT = 16
"""Blocks (2 MiB) that are reported together: each report wakes the event loop, which costs more
than a block's copy."""


Landed = tuple[int, list[int]]
"""The first of some blocks, and the checksum of each."""


class SmallSink:
    """Takes a whole small object into memory; used like `BlockSink`."""

    def __init__(self, size: int, md5: str) -> None:
        """`md5` is what the whole must have, or ""."""
        self.data = bytearray()
        self._size = size
        self._md5 = md5

    def __call__(self, chunk: memoryview) -> None:
        """Take the next bytes. Raises `Corrupt`."""
        self.data += chunk
        if self._md5 and len(self.data) == self._size:
            _compare(hashlib.md5(self.data, usedforsecurity=False).hexdigest(), self._md5)


class BlockSink:
    """Writes what it is given, sums up each block, and puts it into `landed` when complete.

    `tell` is called some blocks later, but at once when one of them is in `wanted`. Who begins to
    want a block, in another thread, first says so and then looks into `landed`.

    INVARIANT: nothing is written once the block (`with`) is left. A thread that was abandoned may
    still come with bytes, long after the number of the descriptor was given to another file.
    """

    def __init__(
        self,
        fd: int,
        block: int,
        start: int,
        stop: int,
        tell: Callable[[], None],
        *,
        wanted: Collection[int] = (),
        md5: str = "",
    ) -> None:
        """Bytes [start, stop) go to `fd`; `block` is the first one's number.

        `wanted` may change meanwhile. `md5` is that of the whole, or "". With it no block lands
        before all are found good.
        """
        self._fd = os.dup(fd)
        self._lock = threading.Lock()
        self._open = True
        self._block = block
        self._at = start
        self._stop = stop
        self._tell = tell
        self._wanted = wanted
        self._sum = xxhash.xxh3_64()
        self._md5 = md5
        self._whole = hashlib.md5(usedforsecurity=False)
        self._kept: list[Landed] = []
        self._untold = 0
        self.landed: deque[Landed] = deque()
        """For one other thread to take."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:  # for one write of a chunk at the most
            self._open = False
            os.close(self._fd)

    def __call__(self, chunk: memoryview) -> None:
        """Take the next bytes.

        Raises `NoSpace` when the disk takes none, `TimedOut` when left, and `Corrupt`.
        """
        if self._md5:
            self._whole.update(chunk)
        first, sums = self._block, []
        while chunk:
            written = self._write(chunk)
            sums += self._summed(chunk[:written])
            chunk = chunk[written:]
        if sums:
            self._complete((first, sums))

    def _summed(self, piece: memoryview) -> list[int]:
        """The checksums of the blocks that end in this piece, which was written."""
        sums = []
        while piece:
            end = min((self._block + 1) * BLOCK, self._stop)
            part = piece[: end - self._at]
            piece = piece[len(part) :]
            self._sum.update(part)
            self._at += len(part)
            if self._at == end:
                sums.append(self._sum.intdigest())
                self._sum.reset()
                self._block += 1
        return sums

    def _complete(self, landed: Landed) -> None:
        self._kept.append(landed)
        last = self._at == self._stop
        if self._md5 and not last:
            return
        if self._md5:
            _compare(self._whole.hexdigest(), self._md5)
        first, count = self._kept[0][0], self._block - self._kept[0][0]
        self.landed.extend(self._kept)
        self._kept = []
        self._untold += count
        wanted = any(block in self._wanted for block in range(first, first + count))
        if last or wanted or self._untold >= REPORT:
            self._untold = 0
            self._tell()

    def _write(self, piece: memoryview) -> int:
        with self._lock:
            if not self._open:
                raise TimedOut("nobody waits for these bytes any more")
            try:
                return os.pwrite(self._fd, piece, self._at)
            except OSError as error:
                if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                    log.warning("the disk that holds the cache fails: %s", error)
                raise NoSpace(f"the cache cannot be written: {error.strerror}") from error


def _compare(found: str, md5: str) -> None:
    if found != md5:
        raise Corrupt(f"the bytes that came have the MD5 {found}, the object has {md5}")
