"""The sink between the network and the disk: however the bytes are cut, the blocks are the same."""

import os
from itertools import pairwise
from pathlib import Path

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from objfs.cache.blocks import BLOCK
from objfs.cache.sink import BlockSink

FIRST = 3
SIZE = 5 * BLOCK + 7
DATA = os.urandom(SIZE)
SUMS = [xxhash.xxh3_64_intdigest(DATA[at : at + BLOCK]) for at in range(0, SIZE, BLOCK)]


@pytest.fixture(scope="module")
def fd(tmp_path_factory: pytest.TempPathFactory) -> int:
    """A file for blocks."""
    path: Path = tmp_path_factory.mktemp("sink") / "f"
    return os.open(path, os.O_RDWR | os.O_CREAT)


@settings(max_examples=60, deadline=None)
@given(
    cuts=st.lists(st.integers(0, SIZE) | st.sampled_from(range(0, SIZE, BLOCK)), max_size=12),
    most=st.sampled_from([SIZE, BLOCK, 50_001]),
)
def test_the_blocks_do_not_depend_on_how_the_bytes_come(
    fd: int, cuts: list[int], most: int
) -> None:
    """Nor on how many of them the disk takes at once: every block lands once, with its checksum."""
    os.ftruncate(fd, 0)
    pwrite = os.pwrite
    start = FIRST * BLOCK
    with (
        pytest.MonkeyPatch.context() as patch,
        BlockSink(fd, FIRST, start, start + SIZE, lambda: None) as sink,
    ):
        patch.setattr(os, "pwrite", lambda to, data, at: pwrite(to, data[:most], at))
        for begin, end in pairwise(sorted({0, SIZE, *cuts})):
            sink(memoryview(DATA)[begin:end])
    landed = {first + n: checksum for first, sums in sink.landed for n, checksum in enumerate(sums)}
    assert landed == dict(enumerate(SUMS, FIRST))
    assert sum(len(sums) for _, sums in sink.landed) == len(SUMS)
    assert os.pread(fd, SIZE, start) == DATA


def test_a_block_that_somebody_waits_for_is_told_of_at_once(fd: int) -> None:
    """The others wait for company: each telling wakes the event loop."""
    told: list[int] = []
    start = FIRST * BLOCK
    wanted = {FIRST + 2}
    told_of = BlockSink(fd, FIRST, start, start + SIZE, lambda: told.append(at), wanted=wanted)
    with told_of as sink:
        for at in range(0, SIZE, BLOCK):
            sink(memoryview(DATA)[at : at + BLOCK])
    assert told == [2 * BLOCK, 5 * BLOCK]
