"""How many requests a call costs."""

import pytest

from objfs.errors import NotFound
from tests.filesystem.rig import TTL, mounted


async def test_ls_of_many_costs_pages_and_no_head():
    """Listing n entries costs ceil(n / 1000) listings; each stat after it nothing."""
    async with mounted(buffer=100) as rig:
        for number in range(1001):
            rig.put(f"d/{number}", b"x")
        await rig.kernel.stat(b"d")
        rig.requests.clear()
        assert len(await rig.kernel.listdir(b"d")) == 1001
        await rig.kernel.stat(b"d/7")
        assert rig.requests.count() == {"list": 2}
        with pytest.raises(NotFound):
            await rig.kernel.stat(b"d/none")
        assert rig.requests.count() == {"list": 2}


async def test_lookup_costs_two_and_a_warm_read_none():
    """One HEAD and one listing side by side; bytes once."""
    async with mounted() as rig:
        rig.put("a", b"abc")
        assert await rig.kernel.read_file(b"a") == b"abc"
        assert rig.requests.count() == {"head": 1, "list": 1, "get": 1}
        assert await rig.kernel.read_file(b"a") == b"abc"
        assert rig.requests.count()["get"] == 1
        with pytest.raises(NotFound):
            await rig.kernel.stat(b"no")
        rig.requests.clear()
        with pytest.raises(NotFound):
            await rig.kernel.stat(b"no")
        assert rig.requests.calls == []


async def test_a_page_of_names_is_told_to_the_kernel():
    """What it believed absent shows at once when a page, asked for another name, has it."""
    async with mounted() as rig:
        with pytest.raises(NotFound):
            await rig.kernel.stat(b"new")
        rig.put("new", b"1")
        for name in ("a", "b"):
            rig.put(name)
            await rig.kernel.stat(name.encode())
        assert (await rig.kernel.stat(b"new")).size == 1
        assert rig.requests.count() == {"head": 2, "list": 3}


async def test_an_absence_is_believed_for_one_time_to_live():
    """The kernel was given a whole one for what the tree believed for half of it any more: P8."""
    async with mounted() as rig:
        rig.put("a")
        await rig.kernel.listdir()
        rig.advance(TTL / 2)
        with pytest.raises(NotFound):
            await rig.kernel.stat(b"new")
        rig.put("new", b"1")
        rig.advance(TTL / 2 + 1)
        assert (await rig.kernel.stat(b"new")).size == 1
