"""How an object is made of an older version of itself: for every change, by properties."""

from itertools import pairwise

import hypothesis.strategies as st
from hypothesis import given

from objfs.cache.ranges import GAP, Ranges
from objfs.store.pieces import Derived, pieces
from objfs.types import ETag

MIB = 2**20
LEAST = 5 * MIB
E = ETag("e")
SIZES = st.integers(1, 400 * MIB)
CHANGES = st.lists(st.tuples(SIZES, st.integers(0, 30 * MIB)), max_size=12)


@given(SIZES, SIZES, CHANGES, st.sampled_from([6, 10_000]))
def test_pieces_make_the_whole_body(size: int, old: int, changes: list[tuple[int, int]], most: int):
    """They follow one another, copy nothing that was changed, and no part is too small."""
    changed = Ranges()
    for start, length in changes:
        changed.add(start, start + length)
    base = Derived(E, old, changed.within(size))
    found = pieces(size, base, min_part=LEAST, max_parts=most)
    if not found:
        return
    assert [piece.stop for piece in found[:-1]] == [piece.start for piece in found[1:]]
    assert (found[0].start, found[-1].stop) == (0, size)
    assert len(found) <= most
    assert all(piece.size >= LEAST for piece in found[:-1])
    for piece in found:
        if piece.copied:
            assert piece.stop <= old
            assert not any(
                start < piece.stop and piece.start < start + length
                for start, length in changes
                if length
            )


def sent(size: int, old: int, *changes: tuple[int, int]) -> int:
    """The bytes that go to the store."""
    found = pieces(size, Derived(E, old, changes), min_part=LEAST, max_parts=10_000)
    return sum(piece.size for piece in found if not piece.copied)


def test_what_is_sent():
    """An append sends the line; an edit one smallest part; a shorter file nothing."""
    assert sent(64 * MIB + 9, 64 * MIB, (64 * MIB, 64 * MIB + 9)) == 9
    assert sent(64 * MIB + 9, 64 * MIB + 9, (20 * MIB, 20 * MIB + 1)) == LEAST
    assert sent(64 * MIB, 64 * MIB, (64 * MIB - 1, 64 * MIB)) == 1
    assert sent(64 * MIB, 64 * MIB, (0, 1)) == LEAST
    assert sent(33 * MIB, 64 * MIB) == 0
    assert pieces(64 * MIB, Derived(E, 64 * MIB, ((0, 40 * MIB),)), min_part=1, max_parts=9) == []


@given(st.lists(st.tuples(st.integers(0, 50 * MIB), st.integers(0, 2 * MIB))))
def test_ranges_hold_what_was_added(added: list[tuple[int, int]]):
    """Every byte that was added is in, no range is near another one, and a copy is its own."""
    ranges = Ranges()
    for start, length in added:
        ranges.add(start, start + length)
    held = ranges.within(2**40)
    assert all(b[0] - a[1] > GAP for a, b in pairwise(held))
    for start, length in added:
        if length:
            assert any(a <= start and start + length <= b for a, b in held)
    for start, stop in held:
        assert any(start == first for first, length in added if length)
        assert any(stop == first + length for first, length in added if length)
    copy = ranges.copy()
    ranges.clear()
    assert (copy.within(2**40), ranges.within(2**40)) == (held, ())
    assert all(stop <= 7 * MIB for _, stop in copy.within(7 * MIB))
