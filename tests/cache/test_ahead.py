"""Whose turn it is to be fetched ahead."""

from hypothesis import given
from hypothesis import strategies as st

from objfs.cache.ahead import AheadQueue


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 50)), max_size=40),
    st.integers(1, 12),
)
def test_share_and_budget_are_kept_and_all_is_done(jobs, connections):
    """Never more requests or bytes than allowed, but for one job that is larger; none is lost."""
    queue: AheadQueue[int] = AheadQueue(connections, budget=60)
    for number, (owner, size) in enumerate(jobs):
        queue.add(owner, number, size)
    begun: list[tuple[int, int]] = []
    seen = []
    while True:
        while found := queue.take():
            begun.append(found)
            seen.append(found[0])
            assert queue.flying <= max(1, int(connections * 0.75))
            assert queue.bytes <= 60
        if not begun:
            break
        queue.done(begun.pop(0)[1])
    assert sorted(seen) == list(range(len(jobs)))
    assert (queue.flying, queue.bytes) == (0, 0)


def test_owners_take_turns():
    """A walk with many files does not hold up the one that reads a large file."""
    queue: AheadQueue[str] = AheadQueue(8, budget=100)
    for number in range(4):
        queue.add("many", f"m{number}", 1)
    queue.add("one", "o", 1)
    taken = [found[0] for _ in range(5) if (found := queue.take())]
    assert taken == ["m0", "o", "m1", "m2", "m3"]


def test_larger_than_the_budget_goes_alone():
    """It would else never go."""
    queue: AheadQueue[str] = AheadQueue(8, budget=10)
    queue.add("a", "small", 1)
    queue.add("a", "large", 50)
    assert queue.take() == ("small", 1)
    assert queue.take() is None
    queue.done(1)
    assert queue.take() == ("large", 50)


def test_what_is_forgotten_is_not_begun():
    """Its reader went elsewhere."""
    queue: AheadQueue[str] = AheadQueue(8)
    queue.add("a", "x", 1)
    queue.add("b", "y", 1)
    queue.forget("a")
    assert queue.take() == ("y", 1)
    assert queue.take() is None
