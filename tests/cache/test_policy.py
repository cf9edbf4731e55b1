"""How far is read ahead, and what is evicted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from objfs.cache.policy import FIRST_WINDOW, MIB, SLACK, WASTE, Shelf, Window
from objfs.errors import NoSpace

LIMIT = 32 * MIB
slots = st.tuples(st.sampled_from("ab"), st.integers(0, 3))


@given(st.lists(st.integers(1, MIB), min_size=1, max_size=60))
def test_sequential_reader_is_never_asked_for_twice(sizes):
    """What is fetched ahead is without gaps or overlaps, and within the limit."""
    window, at, ahead = Window(LIMIT), 0, None
    for size in sizes:
        at += size
        asked = window.advance(at - size, at)
        if asked:
            assert asked[0] == (max(ahead, at) if ahead is not None else at)
            assert at < asked[1] <= at + LIMIT
            ahead = asked[1]
    assert ahead is not None
    assert ahead >= FIRST_WINDOW


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=30, unique=True))
def test_random_reader_fetches_nothing_ahead(places):
    """Reads more than the slack apart cost their own blocks only."""
    window = Window(LIMIT)
    places = [place for at, place in enumerate(places) if not at or place != places[at - 1] + 1]
    for place in places:
        start = place * 3 * SLACK
        assert window.advance(start, start + 1) is None


def test_window_doubles_and_is_gone_after_a_seek():
    """From a mebibyte up to the limit."""
    window = Window(4 * MIB)
    sizes = []
    at = 0
    for _ in range(12):
        at += MIB
        if window.advance(at - MIB, at):
            sizes.append(window.size // MIB)
    assert sizes[:3] == [1, 2, 4]
    assert max(sizes) == 4
    assert window.advance(500 * MIB, 501 * MIB) is None
    assert window.size == 0


@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "touch", "drop"]), slots, st.integers(0, 9)), max_size=40
    ),
    st.integers(0, 60),
)
def test_victims_make_room_oldest_first(actions, wanted):
    """`clean` is the sum of all slots, and eviction ends as soon as it fits."""
    shelf = Shelf(40 + 4 * WASTE)
    order: dict[tuple[str, int], int] = {}
    for action, slot, size in actions:
        if action == "put":
            shelf.put(slot, size)
            order[slot] = order.pop(slot, 0) + size
        elif action == "touch":
            shelf.touch(slot)
            if slot in order:
                order[slot] = order.pop(slot)
        else:
            shelf.drop(slot)
            order.pop(slot, None)
    assert list(shelf) == list(order)
    assert shelf.clean == sum(order.values())
    gone = []
    for slot in shelf.victims(wanted):
        gone.append(slot)
        shelf.drop(slot)
    assert gone == list(order)[: len(gone)]
    left = list(order)[len(gone) :]
    room = 40 + 4 * WASTE - wanted
    assert not left or sum(order[slot] + WASTE for slot in left) <= room
    if gone:
        assert sum(order[slot] + WASTE for slot in [gone[-1], *left]) > room


def test_victim_that_cannot_go_is_passed_over():
    """A segment that is being filled stays, and the next one goes."""
    shelf = Shelf(2 * WASTE)
    for number in range(3):
        shelf.put(("a", number), 1)
    offered = []
    for slot in shelf.victims(0):
        offered.append(slot)
        if slot != ("a", 0):
            shelf.drop(slot)
    assert offered == [("a", 0), ("a", 1), ("a", 2)]
    assert list(shelf) == [("a", 0)]


def test_drafts_fill_the_cache_and_no_more():
    """They are refused beyond the limit, whatever clean bytes there are to evict."""
    shelf = Shelf(10)
    shelf.put(("a", 0), 9)
    shelf.write(10)
    with pytest.raises(NoSpace, match="--cache-size"):
        shelf.write(1)
    shelf.write(-3)
    assert shelf.dirty == 7
    assert shelf.full
