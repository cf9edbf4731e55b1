"""The MD5 of a whole object that comes in pieces, taken while it comes.

It goes over the blocks from the first one on, a stretch at a time, in a thread (hashlib lets the
others run). One pass over the whole after the last block had come made its reader wait for all of
it; now the wait is for the last stretch. MD5 cannot be spread over cores: its 1.7 ms for each MiB
are a third of the CPU of a cold read of 1 GiB from loopback, and the price of PROMISES P7.
"""

import hashlib

from objfs.cache.blocks import BlockMap
from objfs.cache.disk import feed
from objfs.errors import Corrupt

STRETCH = 64
"""Blocks (8 MiB) that are worth a thread."""


class WholeSum:
    """How far one version has been summed up. Only `take` runs in a thread, one at a time."""

    def __init__(self, blocks: BlockMap, md5: str) -> None:
        self._blocks = blocks
        self._md5 = md5
        self._digest = hashlib.md5(usedforsecurity=False)
        self._count = blocks.blocks(0, blocks.size).stop
        self._taken = 0
        self._front = 0
        """Blocks before it were present when `due` looked."""
        self._losses = 0

    def due(self) -> tuple[int, int] | None:
        """The bytes to take next; None when nothing new is worth it."""
        self._losses = self._blocks.losses
        self._front = self._taken
        while self._front < self._count and self._blocks.has(self._front):
            self._front += 1
        new = self._front - self._taken
        if not new or (new < STRETCH and self._front < self._count):
            return None
        return self._blocks.span(self._taken, self._front)

    @property
    def last(self) -> bool:
        """Whether what is due goes to the end: who reads now waits for the verdict."""
        return self._front == self._count

    def take(self, fd: int, start: int, stop: int) -> None:
        """Sum up bytes [start, stop), which `due` named. Blocks."""
        feed(fd, start, stop, self._digest.update)

    def taken(self, stop: int) -> bool:
        """What `due` named, up to `stop`, has been taken; whether that was all of it.

        Raises `Corrupt`, and `LookupError` when blocks were evicted meanwhile: the thread may have
        read a hole, so the sum says nothing.
        """
        if self._blocks.losses != self._losses:
            raise LookupError
        self._taken = self._blocks.blocks(0, stop).stop
        if self._taken < self._count:
            return False
        if self._digest.hexdigest() != self._md5:
            raise Corrupt("the bytes that came are not those of its ETag")
        return True
