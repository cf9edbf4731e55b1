"""Which blocks are here, under way, or missing."""

from hypothesis import given
from hypothesis import strategies as st

from objfs.cache.blocks import BLOCK, SEGMENT_BLOCKS, BlockMap

SIZE = 700 * BLOCK + 5
blocks = st.integers(0, 700)


@given(st.sets(blocks), st.sets(blocks), st.tuples(blocks, blocks), st.integers(1, 64))
def test_missing_is_exactly_what_is_neither_here_nor_under_way(here, flying, ends, at_most):
    """In order, in runs of bounded length."""
    map_ = BlockMap(SIZE)
    for block in flying:
        map_.take_off(block, block + 1)
    for block in here:
        map_.land(block, block)
    wanted = range(min(ends), max(ends))
    runs = list(map_.missing(wanted, at_most=at_most))
    assert all(0 < last - first <= at_most for first, last in runs)
    assert [block for run in runs for block in range(*run)] == [
        block for block in wanted if block not in here | flying
    ]


@given(st.lists(st.tuples(st.sampled_from(["land", "forget", "drop"]), blocks), max_size=30))
def test_bytes_are_the_sum_of_what_is_present(actions):
    """Through landing, giving up and eviction; the last block is short."""
    map_ = BlockMap(SIZE)
    here: set[int] = set()
    for action, block in actions:
        if action == "land" and block not in here:
            map_.land(block, 7 * block)
            here.add(block)
        elif action == "forget" and block in here:
            map_.forget(block)
            here.discard(block)
        elif action == "drop":
            map_.drop(block // SEGMENT_BLOCKS)
            here = {b for b in here if b // SEGMENT_BLOCKS != block // SEGMENT_BLOCKS}
    assert {block for block in range(701) if map_.has(block)} == here
    assert all(map_.sum_of(block) == 7 * block for block in here)
    held = sum(segment.bytes for segment in map_.segments.values())
    assert held == sum(5 if block == 700 else BLOCK for block in here)


def test_request_that_ends_early_leaves_the_rest_missing():
    """What did not land is asked for again."""
    map_ = BlockMap(SIZE)
    map_.take_off(0, 4)
    map_.land(0, 1)
    assert map_.flying(1)
    assert map_.busy(0)
    map_.give_up(0, 4)
    assert not map_.busy(0)
    assert list(map_.missing(range(4), at_most=9)) == [(1, 4)]


def test_blocks_of_bytes():
    """Clipped to the object."""
    map_ = BlockMap(SIZE)
    assert map_.blocks(BLOCK - 1, BLOCK + 1) == range(2)
    assert map_.blocks(0, 10 * SIZE) == range(701)
    assert map_.span(700, 701) == (700 * BLOCK, SIZE)
