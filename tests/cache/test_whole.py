"""The MD5 of a whole that comes in pieces."""

import hashlib
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from objfs.cache.blocks import BLOCK, SEGMENT_BLOCKS, BlockMap
from objfs.cache.whole import STRETCH, WholeSum
from objfs.errors import Corrupt

COUNT = 150
SIZE = (COUNT - 1) * BLOCK + 7


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str]:
    """A file of so many blocks, and its MD5."""
    path = tmp_path_factory.mktemp("whole") / "f"
    data = os.urandom(BLOCK) * COUNT
    path.write_bytes(data[:SIZE])
    return os.open(path, os.O_RDONLY), hashlib.md5(data[:SIZE]).hexdigest()


def take(whole: WholeSum, fd: int) -> bool:
    """Sum up what is due; whether that was all."""
    done = False
    while due := whole.due():
        whole.take(fd, *due)
        done = whole.taken(due[1])
    return done


@settings(max_examples=10)
@given(order=st.permutations(list(range(0, COUNT, 10))))
def test_the_sum_is_right_in_whatever_order_the_blocks_come(content, order):
    """And is only final when all of them are there."""
    fd, md5 = content
    blocks = BlockMap(SIZE)
    whole = WholeSum(blocks, md5)
    for number, first in enumerate(order):
        for block in range(first, min(first + 10, COUNT)):
            blocks.land(block, 0)
        assert take(whole, fd) == (number == len(order) - 1)
    assert whole.last


def test_a_stretch_is_taken_while_more_is_to_come(content):
    """So that the reader of the last block waits for little."""
    fd, md5 = content
    blocks = BlockMap(SIZE)
    whole = WholeSum(blocks, md5)
    for block in range(STRETCH - 1):
        blocks.land(block, 0)
    assert whole.due() is None
    blocks.land(STRETCH - 1, 0)
    assert whole.due() == (0, STRETCH * BLOCK)
    assert not take(whole, fd)


def test_p7_another_content_is_corrupt(content):
    """P7: the bytes that came are not those of the ETag."""
    fd, _ = content
    blocks = BlockMap(SIZE)
    for block in range(COUNT):
        blocks.land(block, 0)
    with pytest.raises(Corrupt):
        take(WholeSum(blocks, "0" * 32), fd)


def test_blocks_that_were_evicted_while_a_thread_read_prove_nothing(content):
    """It may have read a hole: no verdict, and above all not that the store is at fault."""
    fd, md5 = content
    blocks = BlockMap(SIZE)
    for block in range(COUNT):
        blocks.land(block, 0)
    whole = WholeSum(blocks, md5)
    due = whole.due()
    assert due is not None
    whole.take(fd, *due)
    blocks.drop(10 // SEGMENT_BLOCKS)
    with pytest.raises(LookupError):
        whole.taken(due[1])
