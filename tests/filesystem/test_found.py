"""Failures that were found by reading or by random runs, each by its name."""

import os
import threading
from pathlib import Path

import pytest
import trio

from objfs.errors import (
    Forbidden,
    InvalidName,
    NotEmpty,
    NotFound,
    ObjfsError,
    Stale,
    StoreError,
    Unavailable,
)
from objfs.store.memory import MemoryStore
from objfs.types import ROOT
from tests.filesystem.rig import mounted


async def test_close_says_so_when_the_open_file_was_replaced_elsewhere():
    """What is written to a version that others replaced was dropped, and close said 0."""
    async with mounted(on_conflict="keep-both") as rig:
        rig.put("a", b"one")
        file = await rig.kernel.open(b"a", os.O_RDWR)
        assert await rig.kernel.read(file, 0, 9) == b"one"
        rig.put("a", b"two")
        rig.advance()
        await rig.kernel.listdir()
        await rig.kernel.write(file, 0, b"mine")
        with pytest.raises(Stale):
            await rig.kernel.close(file)
        (copy,) = [key for key in rig.objects() if key.startswith("a.conflict-")]
        assert rig.objects() == {"a": b"two", copy: b"mine"}


async def test_conflict_copies_of_two_mounts_never_get_the_same_name():
    """Host, second and draft number were those of the other mount: its copy was in the way."""
    store = MemoryStore()
    async with (
        mounted(store, on_conflict="keep-both") as one,
        mounted(store, on_conflict="keep-both") as two,
    ):
        one.put("a", b"before")
        files = [await rig.kernel.open(b"a", os.O_RDWR) for rig in (one, two)]
        one.put("a", b"theirs")
        for rig, file, data in zip((one, two), files, (b"mine", b"yours"), strict=True):
            await rig.kernel.ftruncate(file, 0)
            await rig.kernel.write(file, 0, data)
            with pytest.raises(Stale, match="Both are kept"):
                await rig.kernel.close(file)
        assert sorted(one.objects().values()) == [b"mine", b"theirs", b"yours"]


async def test_draft_outlives_the_removal_of_its_directory_elsewhere():
    """A directory that others removed took an existing file with its unsaved bytes along."""
    async with mounted() as rig:
        rig.put("d/a", b"one")
        file = await rig.kernel.open(b"d/a", os.O_WRONLY)
        await rig.kernel.write(file, 0, b"mine")
        rig.store.delete("d/a")
        rig.advance()
        assert set(await rig.kernel.listdir()) == {b"d"}
        assert (await rig.kernel.stat(b"d/a")).size == 4
        await rig.kernel.unlink(b"d/a")
        await rig.kernel.close(file)


async def test_emptied_directory_keeps_its_parents_too():
    """An implied parent of a directory that the local user emptied vanished (P14)."""
    async with mounted() as rig:
        rig.put("x/y/f", b"one")
        await rig.kernel.unlink(b"x/y/f")
        rig.advance()
        assert set(await rig.kernel.listdir()) == {b"x"}
        assert set(await rig.kernel.listdir(b"x")) == {b"y"}


async def test_object_gets_its_plain_name_once_the_directory_beside_it_is_removed():
    """After rmdir a, `a%file` and a new file `a` were two names of one key."""
    async with mounted() as rig:
        rig.put("a", b"one")
        rig.put("a/")
        assert set(await rig.kernel.listdir()) == {b"a", b"a%file"}
        await rig.kernel.rmdir(b"a")
        assert await rig.kernel.read_file(b"a") == b"one"
        assert set(await rig.kernel.listdir()) == {b"a"}


async def test_rename_onto_the_clash_name_of_itself_keeps_the_object():
    """Mv a a%file copied the object onto itself and deleted it."""
    async with mounted() as rig:
        rig.put("a", b"one")
        with pytest.raises(InvalidName):
            await rig.kernel.rename(b"a", b"a%file")
        rig.put("b", b"two")
        with pytest.raises(InvalidName):
            await rig.kernel.rename(b"b", b"c%file")
        with pytest.raises(InvalidName):
            await rig.kernel.write_file(b"%empty", b"no key")
        assert rig.objects() == {"a": b"one", "b": b"two"}


async def test_unlink_while_another_request_sees_the_key_go():
    """A stat that learned of the removal first made unlink fail with an assertion."""
    async with mounted(ttl=0) as rig:
        rig.put("a", b"one")
        await rig.kernel.stat(b"a")
        gate = threading.Event()
        fault = rig.faults.plan("delete", ObjfsError("late"), late=True, stall=gate)
        fault.error = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.kernel.unlink, b"a")
            while not fault.stalled.is_set():  # noqa: ASYNC110  # set in a thread
                await trio.sleep(0.001)
            rig.store.delete("a")
            with pytest.raises(NotFound):
                await rig.kernel.stat(b"a")
            gate.set()
        assert await rig.kernel.listdir() == {}


async def test_mkdir_while_another_request_sees_the_marker():
    """A lookup that saw the marker first made mkdir fail with an assertion."""
    async with mounted(ttl=0) as rig:
        gate = threading.Event()
        fault = rig.faults.plan("put", stall=gate, twice=False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.kernel.mkdir, b"d")
            while not fault.stalled.is_set():  # noqa: ASYNC110  # set in a thread
                await trio.sleep(0.001)
            rig.put("d/x", b"one")
            assert (await rig.kernel.stat(b"d")).ino
            gate.set()
        assert set(await rig.kernel.listdir()) == {b"d"}


async def test_directory_rename_takes_copies_back_when_the_listing_fails():
    """An error of the listing came out of a nursery as a group: EIO, and copies stayed."""
    async with mounted() as rig:
        rig.put("d/a", b"one")
        await rig.kernel.listdir()
        await rig.kernel.stat(b"d")
        with pytest.raises(NotFound):
            await rig.kernel.stat(b"e")
        rig.faults.plan("list", Unavailable("down"), key="d/", times=3)
        with pytest.raises(Unavailable):
            await rig.kernel.rename(b"d", b"e")
        assert rig.objects() == {"d/a": b"one"}


async def test_directory_rename_takes_copies_back_when_one_fails():
    """The source stays as it was."""
    async with mounted() as rig:
        for name in "abc":
            rig.put(f"d/{name}", name.encode())
        rig.faults.plan("copy", Unavailable("down"), skip=1)
        with pytest.raises(Unavailable):
            await rig.kernel.rename(b"d", b"e")
        assert set(rig.objects()) == {"d/a", "d/b", "d/c"}


async def test_directory_listing_that_failed_is_not_taken_for_complete():
    """After an error in the middle of a listing, the next readdir said that it was the end."""
    async with mounted() as rig:
        for number in range(1500):
            rig.put(f"{number:04}", b"x")
        fh = await rig.fs.opendir(ROOT)
        at = 0
        rig.faults.plan("list", Unavailable("down"), skip=1, times=3)
        names = []
        failed = 0
        while True:
            try:
                taken = await rig.kernel.readdir(ROOT, fh, at)
            except Unavailable:
                failed += 1
                continue
            if not taken:
                break
            names += [name for name, _, _ in taken]
            at = taken[-1][2]
        await rig.fs.releasedir(fh)
        assert failed == 1
        assert len(names) == len(set(names)) == 1500


async def test_reader_goes_on_while_another_handle_begins_to_write():
    """The first write closed the cached version's descriptor under a read that was waiting."""
    async with mounted() as rig:
        body = os.urandom(300_000)
        rig.put("a", body)
        reader = await rig.kernel.open(b"a", os.O_RDONLY)
        writer = await rig.kernel.open(b"a", os.O_WRONLY)
        gate = threading.Event()
        fault = rig.faults.plan("get", stall=gate)
        got = []

        async def read() -> None:
            got.append(await rig.fs.read(reader.fh, 0, 100_000))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            while not fault.stalled.is_set():  # noqa: ASYNC110  # set in a thread
                await trio.sleep(0.001)
            await rig.kernel.ftruncate(writer, 0)
            gate.set()
        assert bytes(got[0]) == body[:100_000]
        await rig.kernel.close(reader)
        await rig.kernel.close(writer)


async def test_draft_whose_object_was_deleted_elsewhere_can_be_renamed():
    """The rename wanted to copy the object that was gone: ENOENT for a file that exists here."""
    async with mounted() as rig:
        rig.put("a", b"one")
        file = await rig.kernel.open(b"a", os.O_WRONLY)
        await rig.kernel.write(file, 0, b"mine")
        rig.store.delete("a")
        rig.advance()
        await rig.kernel.listdir()
        await rig.kernel.rename(b"a", b"b")
        await rig.kernel.close(file)
        assert rig.objects() == {"b": b"mine"}


async def test_draft_gets_its_plain_name_back_when_the_directory_beside_it_is_gone():
    """A draft stayed `a%file` after others had made and removed `a/b` beside it."""
    async with mounted() as rig:
        file = await rig.kernel.open(b"a", os.O_WRONLY | os.O_CREAT)
        rig.put("a/b")
        rig.advance()
        assert set(await rig.kernel.listdir()) == {b"a", b"a%file"}
        rig.store.delete("a/b")
        rig.advance()
        assert set(await rig.kernel.listdir()) == {b"a"}
        await rig.kernel.close(file)
        assert rig.objects() == {"a": b""}


async def test_file_made_by_a_read_only_open_is_stored_when_close_returns():
    """The upload was left to release, which nobody waits for: close said yes too early."""
    async with mounted() as rig:
        fh, found = await rig.fs.create(ROOT, b"a", 0o644, os.O_CREAT | os.O_RDONLY, (0, 0))
        await rig.fs.flush(fh)
        assert rig.objects() == {"a": b""}
        await rig.fs.release(fh)
        rig.fs.forget([(found.ino, 1)])


async def test_directory_of_a_directory_that_lives_only_here_is_not_empty():
    """The mount let `a` go while `a/b` held a file that was being written: others removed the rest.

    The file below, not the directory between, is what this mount holds.
    """
    async with mounted() as rig:
        rig.put("a/b/x")
        file = await rig.kernel.open(b"a/b/c", os.O_WRONLY | os.O_CREAT)
        rig.advance()
        await rig.kernel.listdir(b"a")  # `a/b` is in the store, and so nothing of this mount's own
        rig.store.delete("a/b/x")
        rig.advance()
        with pytest.raises(NotEmpty):
            await rig.kernel.rmdir(b"a")
        await rig.kernel.close(file)
        assert rig.objects() == {"a/b/c": b""}


@pytest.mark.parametrize("answer", ["refused", "lost"])
async def test_originals_that_a_directory_rename_could_not_remove_go_alone(
    tmp_path: Path, answer: str
):
    """The next mount took along what was made under the old name after the rename had failed."""
    store = MemoryStore()
    async with mounted(store, tmp_path) as rig:
        rig.put("old/f", b"one")
        rig.put("old/g", b"two")
        fault = Unavailable("no answer") if answer == "lost" else Forbidden("no deletes today")
        rig.faults.plan("delete_many", fault)
        with pytest.raises(StoreError, match="2 of 2 originals could not be removed"):
            await rig.kernel.rename(b"old", b"new")
        rig.advance()
        await rig.kernel.write_file(b"old/g", b"two, rewritten")
        await rig.kernel.write_file(b"old/later", b"three")
    async with mounted(store, tmp_path) as rig:
        assert rig.objects() == {
            "new/f": b"one",
            "new/g": b"two",
            "old/g": b"two, rewritten",
            "old/later": b"three",
        }


async def test_a_finished_directory_rename_leaves_others_objects_for_good(
    tmp_path: Path, expected_logs
):
    """What stayed because its target was another object took all that followed it along."""
    expected_logs.allow("old/f stays")
    store = MemoryStore()
    async with mounted(store, tmp_path) as rig:
        rig.put("old/f", b"ours")
        rig.put("new/f", b"them")
        rig.fs.saving.ledger.begin_rename("old/", "new/")
    async with mounted(store, tmp_path) as rig:
        await rig.kernel.write_file(b"old/later", b"three")
    async with mounted(store, tmp_path) as rig:
        assert rig.objects() == {"old/f": b"ours", "new/f": b"them", "old/later": b"three"}
