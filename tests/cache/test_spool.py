"""Drafts: bytes that only this machine has."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from objfs.cache import ranges
from objfs.cache.policy import Shelf
from objfs.cache.spool import Spool
from objfs.errors import CacheGone, NoSpace
from objfs.types import ETag, ObjectInfo

sizes = st.integers(0, 5000)
actions = st.lists(st.tuples(st.booleans(), sizes, st.binary(max_size=50)), max_size=12)


def spool_files(folder: Path) -> list[str]:
    """Names in the folder of drafts."""
    return [path.name for path in folder.iterdir()]


@given(actions)
def test_draft_is_a_plain_file(tmp_path_factory, taken):
    """Writes and truncations as in memory, gaps as zeros, and the shelf counts each byte."""
    shelf = Shelf(10_000)
    draft = Spool(tmp_path_factory.mktemp("spool"), shelf).create()
    wanted = b""
    for truncate, at, data in taken:
        if truncate:
            draft.truncate(at)
            wanted = wanted[:at].ljust(at, b"\0")
        elif data:
            draft.write(at, data)
            wanted = wanted[:at].ljust(at, b"\0") + data + wanted[at + len(data) :]
    assert draft.read(0, 10_000) == wanted
    assert draft.read(7, 9) == wanted[7:16]
    assert shelf.dirty == draft.size == draft.body().size == len(wanted)
    draft.discard()
    assert shelf.dirty == 0
    assert not draft.path.exists()


@given(st.binary(min_size=1, max_size=3000), actions, actions)
def test_draft_knows_what_is_not_as_its_base(tmp_path_factory, base, taken, more):
    """Outside of what it calls changed it has its base's bytes; so has a copy, changed further."""
    spool = Spool(tmp_path_factory.mktemp("spool"), Shelf(100_000))
    draft = spool.create()
    assert draft.derived is None
    draft.write(0, base)
    draft.derives_from(ObjectInfo("k", len(base), ETag("e"), 0))
    copy = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "GAP", 8)
        for step in (taken, more):
            for truncate, at, data in step:
                if truncate:
                    draft.truncate(at)
                elif data:
                    draft.write(at, data)
            derived = draft.derived
            assert derived
            assert (derived.etag, derived.size) == ("e", len(base))
            same = bytearray(draft.read(0, draft.size)[: len(base)])
            for start, stop in derived.changed:
                assert stop <= draft.size
                same[start:stop] = base[start : min(stop, len(same))]
            assert same == base[: len(same)]
            if copy is None:
                copy = spool.create()
                copy.write(0, draft.read(0, draft.size))
                copy.inherit(draft)
                assert copy.derived == derived
                draft = copy


async def test_copy_has_the_bytes_of_a_sealed_draft(tmp_path: Path):
    """Who wants to write while it is uploaded writes elsewhere."""
    shelf = Shelf(1000)
    spool = Spool(tmp_path, shelf)
    draft = spool.create()
    draft.write(0, b"one")
    draft.sealed += 1
    copy = await spool.copy(draft)
    copy.write(0, b"two!")
    assert (draft.read(0, 9), copy.read(0, 9)) == (b"one", b"two!")
    assert shelf.dirty == 7
    draft.sealed -= 1
    draft.discard()
    copy.discard()
    assert not any(spool_files(tmp_path))


async def test_refused_copy_leaves_nothing(tmp_path: Path):
    """No file, and no bytes counted."""
    shelf = Shelf(5)
    spool = Spool(tmp_path, shelf)
    draft = spool.create()
    draft.write(0, b"four")
    with pytest.raises(NoSpace):
        await spool.copy(draft)
    assert shelf.dirty == 4
    assert spool_files(tmp_path) == [draft.path.name]
    with pytest.raises(NoSpace):
        draft.write(4, b"more")
    assert (draft.size, draft.read(0, 9)) == (4, b"four")


def test_handed_over_draft_is_no_longer_counted(tmp_path: Path):
    """Its bytes become clean ones elsewhere."""
    shelf = Shelf(100)
    draft = Spool(tmp_path / "spool", shelf).create()
    draft.write(0, b"four")
    draft.hand_over(tmp_path / "kept")
    draft.discard()
    assert (tmp_path / "kept").read_bytes() == b"four"
    assert shelf.dirty == 0


def test_names_go_on_after_a_restart(tmp_path: Path):
    """A draft that a crash left is not overwritten."""
    left = Spool(tmp_path, Shelf(100)).create()
    assert Spool(tmp_path, Shelf(100)).create().path != left.path


async def test_a_removed_folder_takes_and_promises_nothing(tmp_path):
    """Once the folder is gone, also if one of its name is made, drafts only go on."""
    spool = Spool(tmp_path / "cache" / "spool", Shelf(1000))
    draft = spool.create()
    draft.write(0, b"bytes")
    shutil.rmtree(tmp_path / "cache")
    for _ in range(2):
        with pytest.raises(CacheGone, match=r"cache was removed.*Unmount"):
            spool.create()
        with pytest.raises(CacheGone):
            await draft.fsync()
        (tmp_path / "cache" / "spool").mkdir(parents=True, exist_ok=True)
    draft.write(5, b" more")
    assert draft.read(0, 100) == b"bytes more"
    draft.discard()
