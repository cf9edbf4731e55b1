"""How to make an object of an older version of itself and of what was changed. Pure.

The store copies what is unchanged, and is sent the rest. A multipart upload wants at least
`min_part` bytes in every part but the last, so a change that is smaller takes unchanged bytes in
behind it, and an unchanged stretch that is too small to be a part is sent.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from objfs.types import ETag

COPY_SIZE = 16 * 2**20
"""Bytes of one copied part. A server copies a part from its beginning to its end, and several side
by side: a line appended to 64 MiB on radosgw took 1.1 s with one copied part, 0.6 s with four."""
COPIES = 64
"""More than so many parts are not copied smaller: each is a request."""
SEND_SIZE = 8 * 2**20
WORTH = 0.5
"""The part of an object that must be unchanged for this to be worth its requests."""


@dataclass(frozen=True, slots=True)
class Derived:
    """What a body has of an older version: all of its bytes that are not in `changed`."""

    etag: ETag
    size: int
    changed: tuple[tuple[int, int], ...]
    """Half-open ranges of the body, in order; what is behind `size` counts as changed too."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One part: bytes [start, stop) of the new object, copied from the same place or sent."""

    start: int
    stop: int
    copied: bool

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stop - self.start


def pieces(size: int, base: Derived, *, min_part: int, max_parts: int) -> list[Piece]:
    """The parts of a body of `size` bytes; none when sending it whole is as good."""
    runs = _large_enough(list(_runs(size, base)), min_part)
    if sum(run.size for run in runs if run.copied) < WORTH * size:
        return []
    least = math.ceil(size / (max_parts // 2))
    found: list[Piece] = []
    for run in runs:
        usual = max(COPY_SIZE, size // COPIES) if run.copied else SEND_SIZE
        usual = max(usual, 2 * min_part, least)
        count = max(1, run.size // usual)
        bounds = [run.start + run.size * n // count for n in range(count + 1)]
        found += [Piece(a, b, run.copied) for a, b in pairwise(bounds)]
    return found if len(found) <= max_parts else []


def _runs(size: int, base: Derived) -> Iterator[Piece]:
    """Changed and unchanged stretches of the body, one after another."""
    at, end = 0, min(size, base.size)
    for start, stop in base.changed:
        if start >= end:
            break
        if at < start:
            yield Piece(at, start, copied=True)
        yield Piece(start, min(stop, size), copied=False)
        at = stop
    if at < end:
        yield Piece(at, end, copied=True)
    if max(at, end) < size:
        yield Piece(max(at, end), size, copied=False)


def _large_enough(runs: list[Piece], min_part: int) -> list[Piece]:
    """The same stretches with at least `min_part` bytes in each but the last."""
    found: list[Piece] = []
    for run in runs:
        start = run.start
        before = found[-1] if found else None
        if before and not before.copied and run.copied and before.size < min_part:
            start = min(run.stop, before.start + min_part)
            found[-1] = Piece(before.start, start, copied=False)
        if start == run.stop:
            continue
        copied = run.copied and run.stop - start >= min_part
        if found and not found[-1].copied and not copied:
            found[-1] = Piece(found[-1].start, run.stop, copied=False)
        else:
            found.append(Piece(start, run.stop, copied))
    return found
