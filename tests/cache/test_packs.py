"""Small objects: in memory, in packs, across restarts, under the limit."""

import os
import sqlite3
from pathlib import Path

import pytest

from objfs.cache import packs as module
from objfs.cache.blockfiles import BlockFiles
from objfs.cache.packs import BATCH
from objfs.cache.policy import Shelf

KIB = 1024


def opened(folder: Path, limit: int = 2**30) -> tuple[BlockFiles, Shelf]:
    """The folder, as after a start."""
    shelf = Shelf(limit)
    return BlockFiles(folder, shelf), shelf


def write(files: BlockFiles) -> None:
    """What the background task does."""
    while batch := files.next_batch():
        files.packed(batch, batch.write())


def stored(files: BlockFiles, file: str) -> bytes | None:
    """From the disk, as a read does."""
    place = files.packs.find(file)
    fd = files.packs.open(place) if place else None
    if place is None or fd is None:
        return None
    data = os.pread(fd, place.size, place.at)
    os.close(fd)
    return files.packs.found(file, data, place)


def test_objects_outlive_a_restart_in_one_file(tmp_path: Path):
    """A thousand of them take one pack, not a file each; closing writes what was not written."""
    files, _ = opened(tmp_path)
    contents = {f"f{n}": os.urandom(n + 1) for n in range(1000)}
    for file, data in contents.items():
        files.packs.put(file, data)
        assert files.packs.get(file) == data
    write(files)
    files.packs.put("last", b"unwritten")
    files.close()
    files, shelf = opened(tmp_path)
    assert len(list((tmp_path / "packs").iterdir())) == 1
    assert all(files.packs.get(file) is None for file in contents)
    assert {file: stored(files, file) for file in contents} == contents
    assert stored(files, "last") == b"unwritten"
    assert shelf.clean == sum(map(len, contents.values())) + len(b"unwritten")
    files.close()


def test_p20_packs_are_evicted_oldest_first(tmp_path: Path):
    """P20: what is on the disk never exceeds the limit, and the objects used last stay."""
    limit = 4 * 2**20
    files, shelf = opened(tmp_path, limit)
    for number in range(400):
        files.packs.put(f"f{number}", bytes([number % 256]) * 32 * KIB)
        if number % 3 == 2:
            write(files)
            held = sum(path.stat().st_size for path in (tmp_path / "packs").iterdir())
            assert held == shelf.clean <= limit
    assert stored(files, "f0") is None
    assert stored(files, "f398") == bytes([398 % 256]) * 32 * KIB
    files.close()


def test_p20_without_room_nothing_is_written(tmp_path: Path):
    """P20: drafts fill the cache: small objects stay in memory, and reads go on."""
    files, shelf = opened(tmp_path, 2**20)
    shelf.dirty = 2**20
    files.packs.put("f", b"x" * KIB)
    write(files)
    assert list((tmp_path / "packs").iterdir()) == []
    assert files.packs.get("f") == b"x" * KIB
    files.close()


def test_p21_memory_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """P21: the oldest go, written or not."""
    monkeypatch.setattr(module, "MEMORY", 10 * KIB)
    files, _ = opened(tmp_path)
    for number in range(30):
        files.packs.put(f"f{number}", b"x" * KIB)
    assert sum(files.packs.get(f"f{number}") is not None for number in range(30)) == 10
    write(files)
    assert stored(files, "f29") == b"x" * KIB
    assert stored(files, "f0") is None
    files.close()


def test_p7_a_rotten_object_is_given_up(tmp_path: Path):
    """P7: a flipped byte in a pack fails the checksum; the others stay."""
    files, _ = opened(tmp_path)
    files.packs.put("a", b"a" * KIB)
    files.packs.put("b", b"b" * KIB)
    files.close()
    (pack,) = (tmp_path / "packs").iterdir()
    with pack.open("r+b") as file:
        file.seek(5)
        file.write(b"!")
    files, _ = opened(tmp_path)
    assert stored(files, "a") is None
    assert not files.packs.has("a")
    assert stored(files, "b") == b"b" * KIB
    files.close()


def test_rename_and_drop_reach_memory_disk_and_batches_under_way(tmp_path: Path):
    """Under the new name wherever the bytes are, under the old one nowhere."""
    files, _ = opened(tmp_path)
    files.packs.put("disk", b"disk")
    write(files)
    files.packs.put("way", b"way")
    files.packs.put("lost", b"lost")
    batch = files.next_batch()
    assert batch is not None
    rows = batch.write()
    for old in ("disk", "way"):
        files.packs.rename(old, f"{old}2")
    files.packs.drop("lost")
    files.packed(batch, rows)
    files.close()
    files, _ = opened(tmp_path)
    assert [files.packs.has(name) for name in ("disk", "way", "lost")] == [False, False, False]
    assert stored(files, "disk2") == b"disk"
    assert stored(files, "way2") == b"way"
    files.close()


def test_a_pack_that_is_evicted_while_it_is_written_leaves_nothing(tmp_path: Path):
    """The thread makes the file anew; it is removed when the thread is done."""
    files, shelf = opened(tmp_path)
    files.packs.put("f", b"x" * KIB)
    batch = files.next_batch()
    assert batch is not None
    shelf.limit = 0
    files.make_room(0)
    files.packed(batch, batch.write())
    assert list((tmp_path / "packs").iterdir()) == []
    shelf.limit = 2**20
    files.packs.put("g", b"y" * KIB)
    write(files)
    assert stored(files, "g") == b"y" * KIB
    assert stored(files, "f") is None
    files.close()


def test_a_disk_that_took_nothing_is_noted_nowhere(tmp_path: Path):
    """ENOSPC in the thread: no rows; the next batch goes on behind."""
    files, _ = opened(tmp_path)
    files.packs.put("f", b"x" * KIB)
    batch = files.next_batch()
    assert batch is not None
    files.packed(batch, [])
    files.packs.put("g", b"y" * KIB)
    files.close()
    files, _ = opened(tmp_path)
    assert stored(files, "f") is None
    assert stored(files, "g") == b"y" * KIB
    files.close()


def test_packs_of_a_crash_are_swept(tmp_path: Path):
    """A pack that the index never heard of goes; rows of a pack that is gone go, too."""
    files, _ = opened(tmp_path)
    for number in range(BATCH + 1):
        files.packs.put(f"f{number}", b"x")
    files.close()
    (tmp_path / "packs" / "pack-77").write_bytes(b"torn")
    index = sqlite3.connect(tmp_path / "index.db")
    with index:
        index.execute("INSERT INTO packed VALUES ('ghost', 'pack-66', 0, 1, x'00')")
    index.close()
    files, _ = opened(tmp_path)
    assert [path.name for path in (tmp_path / "packs").iterdir()] == ["pack-1"]
    assert not files.packs.has("ghost")
    assert files.packs.has("f0")
    files.close()
