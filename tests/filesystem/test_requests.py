"""How many requests a call costs."""

import pytest

from objfs.errors import NotFound
from tests.filesystem.rig import mounted


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
