"""Which files of a directory are fetched before they are opened."""

import random

from hypothesis import given
from hypothesis import strategies as st

from objfs.cache.walk import DENSE, MOST, Walk


def walk(count: int, *, seed: int = 1, steps: int = 0) -> tuple[Walk, list[int]]:
    """A directory in the order of its names, and the same files in another order."""
    other = list(range(count))
    random.Random(seed).shuffle(other)
    return Walk([range(count), other], steps=steps), other


def open_all(of: Walk, files: list[int]) -> tuple[int, int, int]:
    """Open these, one after another: how many were fetched, of these opened, passed by."""
    fetched = used = unused = 0
    for file in files:
        was_ahead, lost = of.opened(file)
        used, unused = used + was_ahead, unused + lost
        for found in of.next(file):
            of.take(found)
            fetched += 1
        assert len(of.ahead) <= MOST
    return fetched, used, unused


def test_files_in_the_order_of_the_listing_are_fetched_ahead():
    """From the third on, all of them, each once (tar)."""
    of, _ = walk(500)
    assert open_all(of, list(range(500))) == (498, 498, 0)
    assert of.ending


def test_files_in_another_order_are_fetched_ahead():
    """The order of the inode numbers, which cp -r has."""
    of, other = walk(500)
    fetched, used, unused = open_all(of, other)
    assert used >= 490
    assert fetched - used + unused <= 4


def test_window_grows_with_evidence():
    """Nothing after one file, then twice as many each time."""
    of, _ = walk(500)
    windows = []
    for file in range(8):
        of.opened(file)
        for found in of.next(file):
            of.take(found)
        windows.append(len(of.ahead))
    assert windows == [0, 2, 4, 8, 16, 32, 64, 64]


@given(st.integers(0, 2**32), st.integers(1, 150))
def test_random_opens_in_a_large_directory_waste_little(seed, opens):
    """A few files at most, for it may be chance that two are neighbours."""
    of, _ = walk(5000, seed=seed)
    files = random.Random(seed).sample(range(5000), opens)
    fetched, used, _ = open_all(of, files)
    assert fetched - used <= 2 + opens // 4


def test_dense_opens_fetch_the_rest():
    """Many files of one directory in no order: at most as many are ahead as were opened."""
    of, _ = walk(100)
    files = list(range(100))
    random.Random(7).shuffle(files)
    for number, file in enumerate(files, 1):
        of.opened(file)
        for found in of.next(file):
            of.take(found)
        assert len(of.ahead) <= max(number, 4)
        if number <= DENSE:
            assert len(of.ahead) <= 4
        if number > 60:
            assert len(of.ahead) + len(of.seen) >= 95


def test_files_that_are_passed_by_shrink_the_window():
    """A program that opens every fifth file only (grep --include) makes it small."""
    of, _ = walk(2000)
    open_all(of, list(range(20)))
    assert len(of.ahead) == MOST
    fetched, used, unused = open_all(of, list(range(20, 2000, 5)))
    assert fetched < 200
    assert of.window <= 8 or unused <= used


def test_two_programs_walk_one_directory():
    """Their opens alternate; both are ahead."""
    of, _ = walk(1000)
    mixed = [file for pair in zip(range(300), range(500, 800), strict=True) for file in pair]
    _, used, _ = open_all(of, mixed)
    assert used > 500


def test_programs_side_by_side_are_in_order():
    """Eight processes that share the files of one list open them a little out of order."""
    of, _ = walk(1000)
    files = list(range(1000))
    order = random.Random(3)
    mixed = [f for at in range(0, 1000, 4) for f in order.sample(files[at : at + 4], 4)]
    _, used, unused = open_all(of, mixed)
    assert used > 900
    assert unused < 20


@given(st.lists(st.integers(0, 59), max_size=80), st.booleans())
def test_nothing_is_asked_for_twice_or_beyond_the_window(files, refuse):
    """Whatever is opened, and also where all is here already."""
    of, _ = walk(60)
    asked: set[int] = set()
    for file in files:
        of.opened(file)
        for found in of.next(file):
            assert found not in asked
            assert found not in of.seen
            asked.add(found)
            if not refuse:
                of.take(found)
        assert len(of.ahead) <= max(of.window, MOST)
    assert refuse or of.ahead <= asked


def test_a_directory_like_the_last_one_is_begun_at_once():
    """What is inherited is a small window, from the first file on."""
    of, _ = walk(100, steps=3)
    begun = []
    for found in of.next(-1):
        of.take(found)
        begun.append(found)
    assert begun == list(range(8))
