"""Directory read-ahead, by the requests that a whole mount sends."""

import os
import random

import trio

from objfs.errors import Unavailable
from tests.filesystem.rig import Rig, mounted


def fill(rig: Rig, folders: int, files: int) -> dict[bytes, bytes]:
    """So many folders of so many small files: their contents by path."""
    made = {}
    for folder in range(folders):
        for file in range(files):
            path = f"t/d{folder:02}/f{file:03}"
            made[path.encode()] = os.urandom(2000)
            rig.put(path, made[path.encode()])
    return made


def fetched(rig: Rig) -> int:
    """GETs so far."""
    return rig.requests.count()["get"]


async def test_tar_finds_each_file_fetched_and_fetched_once():
    """Listed and opened in order: the next ones are on their way, the next directory is begun."""
    async with mounted(buffer=50) as rig:
        made = fill(rig, 3, 60)
        await rig.kernel.listdir(b"t")
        counts = rig.fs.neighbours.counts
        ahead: list[int] = []
        for folder in range(3):
            await rig.kernel.listdir(b"t/d%02d" % folder)
            for file in range(60):
                path = b"t/d%02d/f%03d" % (folder, file)
                assert await rig.kernel.read_file(path) == made[path]
                ahead.append(counts.fetched - counts.used)
            with trio.fail_after(10):  # the next directory is begun before it is opened
                while folder < 2 and counts.fetched - counts.used < 8:  # noqa: ASYNC110
                    await trio.sleep(0.001)
        assert ahead[:6] == [0, 2, 4, 8, 16, 32]
        assert fetched(rig) == 180
        assert rig.requests.count()["head"] <= 3
        assert counts.used >= 175
        assert counts.unused == 0
        assert counts.bytes == 2000 * counts.fetched


async def test_the_order_of_inode_numbers_is_one_too():
    """As cp -r goes."""
    async with mounted(buffer=50) as rig:
        made = fill(rig, 1, 100)
        names = await rig.kernel.listdir(b"t/d00")
        numbers = {name: (await rig.kernel.stat(b"t/d00/" + name)).ino for name in names}
        for name in sorted(names, key=numbers.__getitem__):
            path = b"t/d00/" + name
            assert await rig.kernel.read_file(path) == made[path]
        assert fetched(rig) == 100
        assert rig.fs.neighbours.counts.used >= 95


async def test_isolated_opens_fetch_nothing_else():
    """Some files of a large directory, in no order: waste is bounded, and counted."""
    async with mounted(buffer=200) as rig:
        made = fill(rig, 1, 900)
        await rig.kernel.listdir(b"t/d00")
        order = random.Random(5)
        for path in order.sample(sorted(made), 40):
            assert await rig.kernel.read_file(path) == made[path]
        assert fetched(rig) <= 40 + 8


async def test_a_file_that_was_replaced_meanwhile_is_not_shown_old():
    """P9: what was fetched ahead is of the version that was listed; another one is fetched anew."""
    async with mounted(ttl=60, buffer=50) as rig:
        made = fill(rig, 1, 30)
        await rig.kernel.listdir(b"t/d00")
        for file in range(4):
            await rig.kernel.read_file(b"t/d00/f%03d" % file)
        rig.put("t/d00/f005", b"new")
        rig.put("t/d00/f029", b"newer")
        rig.advance()
        assert await rig.kernel.read_file(b"t/d00/f005") == b"new"
        assert await rig.kernel.read_file(b"t/d00/f006") == made[b"t/d00/f006"]
        assert await rig.kernel.read_file(b"t/d00/f029") == b"newer"


async def test_a_failed_guess_is_nobodys_error():
    """The store refuses what was fetched ahead: the open that comes later asks for itself."""
    async with mounted(buffer=50) as rig:
        made = fill(rig, 1, 20)
        await rig.kernel.listdir(b"t/d00")
        await rig.kernel.read_file(b"t/d00/f000")
        rig.faults.plan("get", Unavailable("no"), key="t/d00/f003", times=1)
        for file in range(1, 20):
            path = b"t/d00/f%03d" % file
            await trio.testing.wait_all_tasks_blocked(0.001)
            assert await rig.kernel.read_file(path) == made[path]


async def test_many_names_of_a_directory_cost_a_page():
    """Nobody listed it: two names are asked for singly, the third by the page, the others not."""
    async with mounted() as rig:
        fill(rig, 1, 200)
        await rig.kernel.stat(b"t/d00")
        rig.requests.clear()
        for file in range(200):
            await rig.kernel.stat(b"t/d00/f%03d" % file)
        assert rig.requests.count() == {"head": 2, "list": 3}


async def test_names_of_a_large_directory_cost_one_page_in_vain():
    """What is behind the first page is asked for singly, as ever."""
    async with mounted() as rig:
        for file in range(1200):
            rig.put(f"d/{file:04}", b"x")
        await rig.kernel.stat(b"d")
        rig.requests.clear()
        for file in range(1190, 1200):
            await rig.kernel.stat(b"d/%04d" % file)
        assert rig.requests.count() == {"head": 10, "list": 11}
