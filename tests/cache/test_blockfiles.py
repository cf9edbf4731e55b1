"""The files of cached blocks and their index."""

import os
from pathlib import Path

import pytest

from objfs.cache.blockfiles import BlockFiles
from objfs.cache.blocks import BLOCK, SEGMENT, SEGMENT_BLOCKS
from objfs.cache.policy import Shelf

SIZE = 2 * SEGMENT
LAST = 2 * SEGMENT_BLOCKS - 1


def opened(folder: Path, limit: int = 2**30) -> tuple[BlockFiles, Shelf]:
    """The folder, as after a start."""
    shelf = Shelf(limit)
    return BlockFiles(folder, shelf), shelf


def fill(files: BlockFiles, file: str, *blocks: int) -> None:
    """As a request does: bytes first, then the map."""
    fd = files.open(file)
    map_ = files.map_of(file, SIZE)
    for block in blocks:
        os.pwrite(fd, bytes([block % 251 + 1]) * BLOCK, block * BLOCK)
        files.landed(file, block // SEGMENT_BLOCKS, map_.land(block, block + 7))
    os.close(fd)


def test_blocks_outlive_a_restart(tmp_path: Path):
    """Presence, checksums, sizes and the order of use."""
    files, _ = opened(tmp_path)
    fill(files, "bb", 0, 5)
    files.write_index()
    fill(files, "aa", LAST)
    files.close()
    files, shelf = opened(tmp_path)
    map_ = files.map_of("bb", SIZE)
    assert [block for block in range(LAST + 1) if map_.has(block)] == [0, 5]
    assert map_.sum_of(5) == 12
    assert list(shelf) == [("bb", 0), ("aa", 1)]
    assert shelf.clean == 3 * BLOCK
    files.close()


def test_eviction_frees_the_disk_and_is_remembered(tmp_path: Path):
    """A segment of an open file becomes a hole; the rest of the file stays."""
    files, shelf = opened(tmp_path)
    fill(files, "aa", 0, LAST)
    files.write_index()
    shelf.limit = BLOCK + 10_000
    files.make_room(0)
    assert list(shelf) == [("aa", 1)]
    assert not files.map_of("aa", SIZE).has(0)
    data = files.path("aa").read_bytes()
    assert not any(data[:BLOCK])
    assert data[-BLOCK:] == bytes([LAST % 251 + 1]) * BLOCK
    files.close()
    files, shelf = opened(tmp_path)
    assert list(shelf) == [("aa", 1)]
    files.drop("aa")
    assert not files.path("aa").exists() or files.path("aa").stat().st_blocks == 0
    files.close()


def test_segment_that_is_being_filled_is_not_evicted(tmp_path: Path):
    """The request under way would land in a hole."""
    files, shelf = opened(tmp_path)
    fill(files, "aa", 0)
    fill(files, "bb", 0)
    files.map_of("aa", SIZE).take_off(1, 2)
    shelf.limit = 0
    files.make_room(0)
    assert list(shelf) == [("aa", 0)]
    files.map_of("aa", SIZE).give_up(1, 2)
    files.close()


def test_rename_takes_the_blocks_along(tmp_path: Path):
    """Under the new name, what it held before is gone, also after a restart."""
    files, _ = opened(tmp_path)
    fill(files, "aa", 3)
    fill(files, "bb", 4, LAST)
    files.rename("aa", "bb")
    files.close()
    files, shelf = opened(tmp_path)
    map_ = files.map_of("bb", SIZE)
    assert [block for block in range(LAST + 1) if map_.has(block)] == [3]
    assert list(shelf) == [("bb", 0)]
    assert not files.path("aa").exists()
    files.close()


@pytest.mark.parametrize("damage", ["lost", "garbage"])
def test_bad_index_costs_the_cache_and_nothing_else(tmp_path: Path, damage: str):
    """It is begun anew, and the files that it does not know go."""
    files, _ = opened(tmp_path)
    fill(files, "aa", 0)
    files.close()
    for path in tmp_path.glob("index.db*"):
        if damage == "lost":
            path.unlink()
        else:
            path.write_bytes(b"not a database" * 500)
    files, shelf = opened(tmp_path)
    assert list(shelf) == []
    assert not files.path("aa").exists()
    assert not files.map_of("aa", SIZE).has(0)
    fill(files, "aa", 1)
    files.close()
    files, shelf = opened(tmp_path)
    assert list(shelf) == [("aa", 0)]
    files.close()
