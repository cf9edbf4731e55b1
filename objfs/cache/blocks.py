"""Which blocks of an object are on the local disk, and with which checksums. Pure.

An object is cut into blocks of 128 KiB, the unit of presence and of checksums, and into segments of
512 blocks (64 MiB), the unit of eviction and of the index, so that memory follows what is cached
and not how large an object is. 128 KiB is what an isolated random read may cost at most, and one
xxh3 over it takes some 10 us.
"""

from array import array
from collections.abc import Iterator

BLOCK = 128 * 1024
SEGMENT_BLOCKS = 512
SEGMENT = BLOCK * SEGMENT_BLOCKS


class Segment:
    """Presence (a bit for each block) and checksums (64-bit xxh3) of up to 512 blocks."""

    __slots__ = ("bytes", "present", "sums")

    def __init__(self, present: int = 0, sums: bytes = b"", size: int = 0) -> None:
        self.present = present
        self.sums = array("Q", sums.ljust(8 * SEGMENT_BLOCKS, b"\0"))
        self.bytes = size
        """Bytes of the blocks that are present."""


class BlockMap:
    """The blocks of one version of one object, of `size` bytes.

    INVARIANT: a block is present, in flight, or neither; never both.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.segments: dict[int, Segment] = {}
        self.losses = 0
        """How often blocks that were present were given up."""
        self._flying: set[int] = set()

    def blocks(self, start: int, stop: int) -> range:
        """The blocks that bytes [start, stop) touch."""
        return range(start // BLOCK, -(-min(stop, self.size) // BLOCK))

    def span(self, first: int, last: int) -> tuple[int, int]:
        """The bytes of blocks [first, last)."""
        return first * BLOCK, min(last * BLOCK, self.size)

    def has(self, block: int) -> bool:
        """Whether it is on the disk."""
        segment = self.segments.get(block // SEGMENT_BLOCKS)
        return segment is not None and bool(segment.present >> (block % SEGMENT_BLOCKS) & 1)

    @property
    def complete(self) -> bool:
        """Whether all of the object is on the disk."""
        return sum(segment.bytes for segment in self.segments.values()) == self.size

    def flying(self, block: int) -> bool:
        """Whether a request for it is under way."""
        return block in self._flying

    def missing(self, blocks: range, *, at_most: int) -> Iterator[tuple[int, int]]:
        """Runs [first, last) of at most so many blocks that are neither here nor under way."""
        first: int | None = None
        for block in blocks:
            if self.has(block) or block in self._flying:
                if first is not None:
                    yield first, block
                first = None
            elif first is None:
                first = block
            elif block - first >= at_most:
                yield first, block
                first = block
        if first is not None:
            yield first, blocks.stop

    def sum_of(self, block: int) -> int:
        """The checksum noted when the block was written."""
        return self.segments[block // SEGMENT_BLOCKS].sums[block % SEGMENT_BLOCKS]

    def take_off(self, first: int, last: int) -> None:
        """A request for blocks [first, last) starts."""
        self._flying.update(range(first, last))

    def land(self, block: int, checksum: int) -> int:
        """The block is on the disk; its size."""
        self._flying.discard(block)
        segment = self.segments.get(block // SEGMENT_BLOCKS)
        if segment is None:
            segment = self.segments[block // SEGMENT_BLOCKS] = Segment()
        start, stop = self.span(block, block + 1)
        segment.present |= 1 << (block % SEGMENT_BLOCKS)
        segment.sums[block % SEGMENT_BLOCKS] = checksum
        segment.bytes += stop - start
        return stop - start

    def give_up(self, first: int, last: int) -> None:
        """The request for blocks [first, last) is over; what did not land is missing again."""
        self._flying.difference_update(range(first, last))

    def forget(self, block: int) -> int:
        """The block on the disk is bad; the bytes given up."""
        segment = self.segments[block // SEGMENT_BLOCKS]
        start, stop = self.span(block, block + 1)
        self.losses += 1
        segment.present &= ~(1 << (block % SEGMENT_BLOCKS))
        segment.bytes -= stop - start
        return stop - start

    def drop(self, number: int) -> int:
        """A whole segment is evicted; the bytes given up."""
        segment = self.segments.pop(number, None)
        self.losses += 1
        return segment.bytes if segment else 0

    def busy(self, number: int) -> bool:
        """Whether a request is filling this segment."""
        start = number * SEGMENT_BLOCKS
        return any(start <= block < start + SEGMENT_BLOCKS for block in self._flying)
