"""How far to read ahead, and what to evict. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from objfs.cache.blocks import BLOCK
from objfs.errors import NoSpace

MIB = 2**20
FIRST_WINDOW = MIB
"""What is fetched ahead when a file is read from its start; small files come whole."""
SLACK = MIB
"""The kernel sends the requests of one reader side by side; so much disorder is still in order."""
WASTE = 4096
"""Bytes that a segment takes of the disk beyond its own: half a file system's block, its index."""
MOST_SLOTS = 200_000
"""Segments that are remembered, some 300 bytes each (PROMISES P21)."""
_BATCH = 64


@dataclass(slots=True)
class Window:
    """The read-ahead of one handle.

    It doubles while reads follow one another and is gone after a seek, so that random reads fetch
    nothing but their own blocks.
    """

    limit: int
    """Bytes it may grow to."""
    size: int = 0
    expected: int = -2 * SLACK
    issued: int = 0
    """Up to where has been asked for ahead already."""
    strayed: bool = False
    """Whether the last read left what was asked for ahead."""

    def advance(self, start: int, stop: int) -> tuple[int, int] | None:
        """The bytes to fetch ahead now that [start, stop) is read, or None."""
        self.strayed = False
        if start and abs(start - self.expected) > SLACK:
            self.strayed = self.issued > self.expected
            self.size, self.issued, self.expected = 0, 0, stop
            return None
        self.expected = max(self.expected, stop) if start else stop
        if not self.size:
            self.size = min(2 * BLOCK if start else FIRST_WINDOW, self.limit)
        elif self.issued - stop > self.size // 2:
            return None
        else:
            self.size = min(2 * self.size, self.limit)
        first, self.issued = max(self.issued, stop), stop + self.size
        return (first, self.issued) if first < self.issued else None


Slot = tuple[str, int]
"""A segment in the cache: the name of its file and its number."""


class Shelf:
    """The clean bytes in the cache, by segment, least recently used first, under one limit.

    Drafts count against the same limit and cannot be evicted.

    INVARIANT: `clean` is the sum of all slots.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.clean = 0
        self.dirty = 0
        self.flying = 0
        """Bytes that requests under way will put; counted twice for a moment when they land."""
        self._slots: dict[Slot, int] = {}

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots)

    def put(self, slot: Slot, size: int) -> None:
        """So many more bytes in this slot, which was used just now."""
        self._slots[slot] = self._slots.pop(slot, 0) + size
        self.clean += size

    def touch(self, slot: Slot) -> None:
        """The slot was used just now."""
        if slot in self._slots:
            self._slots[slot] = self._slots.pop(slot)

    def size(self, slot: Slot) -> int:
        """Bytes in this slot."""
        return self._slots.get(slot, 0)

    def drop(self, slot: Slot) -> None:
        """The slot is gone."""
        self.clean -= self._slots.pop(slot, 0)

    def victims(self, wanted: int) -> Iterator[Slot]:
        """Slots to evict, in order, until `wanted` more bytes fit; drop each as you go."""
        passed = 0
        while (
            batch := []
            if self._fits(wanted)
            else list(islice(self._slots, passed, passed + _BATCH))
        ):
            for slot in batch:
                if self._fits(wanted):
                    return
                yield slot
                passed += slot in self._slots

    @property
    def full(self) -> bool:
        """Whether more is held, or on its way, than may be."""
        return self.over(0)

    def over(self, wanted: int) -> bool:
        """Whether `wanted` bytes more are more than may be."""
        return self._total + wanted > self.limit

    @property
    def _total(self) -> int:
        return self.clean + WASTE * len(self._slots) + self.dirty + self.flying

    def _fits(self, wanted: int) -> bool:
        return self._total + wanted <= self.limit and len(self._slots) <= MOST_SLOTS

    def write(self, growth: int) -> None:
        """A draft grows by so many bytes (or shrinks). Raises `NoSpace` when drafts fill it all."""
        if growth > 0 and self.dirty + growth > self.limit:
            raise NoSpace(
                f"the cache holds {self.dirty} bytes that are not uploaded yet, of {self.limit}",
                remedy="Wait for uploads, or mount with a larger --cache-size",
            )
        self.dirty += growth
