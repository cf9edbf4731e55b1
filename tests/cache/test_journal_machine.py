"""The journal under random failures and crashes, against a store whose lost answers did land.

What was closed is what the store ends with, or is beside it as a conflict copy. A crash is a copy
of the cache folder as it is at that instant, taken up by a new file system; what the old one still
had under way may land afterwards.
"""

import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import hypothesis.strategies as st
import trio
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, rule

from objfs.assembly import assembled
from objfs.config import CacheConfig, MountConfig
from objfs.errors import Forbidden, NotFound, Stale, Unavailable
from objfs.filesystem import FileSystem
from objfs.store.bucket import Bucket
from objfs.store.memory import MemoryStore
from objfs.types import Headers, Ino
from tests.doubles import FaultyDriver

T = TypeVar("T")
LOG = logging.getLogger("objfs")
ROOT = Ino(1)
NAMES = st.sampled_from([b"a", b"b"])
FOREIGN = b"c"
"""The only name that others write, too."""


class Machine(RuleBasedStateMachine):
    """One cache folder after the other, one store; trio runs in a thread of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.level = LOG.level
        LOG.setLevel(logging.CRITICAL)  # failures are what this is about
        self.store = MemoryStore()
        self.faults = FaultyDriver(self.store)
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
        self.mine: dict[bytes, bytes] = {}
        self.theirs: list[bytes] = []
        self.count = 0
        self.lives = 0
        self._begin()

    # --- the file system and its thread --------------------------------------------------------

    def _begin(self) -> None:
        ready = threading.Event()

        async def live() -> None:
            self.token = trio.lowlevel.current_trio_token()
            config = MountConfig("/mnt", write_back="async", metadata_ttl=0)
            cache = CacheConfig(str(self.folder / str(self.lives)))
            with trio.CancelScope() as self.scope:
                async with assembled(Bucket(self.faults), config, cache, lambda _: None) as self.fs:
                    ready.set()
                    await trio.sleep_forever()

        self.thread = threading.Thread(target=trio.run, args=(live,))
        self.thread.start()
        assert ready.wait(10)

    def _do(self, what: Callable[[FileSystem], Awaitable[T]]) -> T:
        async def call() -> T:
            return await what(self.fs)

        return trio.from_thread.run(call, trio_token=self.token)

    def _end(self) -> None:
        trio.from_thread.run_sync(self.scope.cancel, trio_token=self.token)
        self.thread.join()

    def _content(self) -> bytes:
        self.count += 1
        return b"content %d" % self.count

    async def _write(self, fs: FileSystem, name: bytes, data: bytes, *, fsync: bool) -> None:
        flags = os.O_RDWR | os.O_TRUNC
        try:
            fh = await fs.open((await fs.lookup(ROOT, name)).ino, flags)
        except NotFound:
            fh, _ = await fs.create(ROOT, name, 0o644, flags, (0, 0))
        await fs.write(fh, 0, data)
        if fsync:
            await fs.fsync(fh)
        await fs.flush(fh)
        await fs.release(fh)

    # --- rules -----------------------------------------------------------------------------------

    @rule(name=st.sampled_from([b"a", b"b", FOREIGN]), fsync=st.booleans())
    def write(self, *, name: bytes, fsync: bool) -> None:
        """Open, write, close: acknowledged."""
        data = self._content()
        self._do(lambda fs: self._write(fs, name, data, fsync=fsync))
        self.mine[name] = data

    @rule(late=st.booleans(), refused=st.booleans(), times=st.integers(1, 2))
    def fail(self, *, late: bool, refused: bool, times: int) -> None:
        """The next uploads fail; or land, and their answers are lost."""
        error = Forbidden("no") if refused and not late else Unavailable("gone")
        self.faults.plan("put", error, late=late, times=times)

    @rule()
    def ask(self) -> None:
        """What `objfs retry` does."""

        async def all_of_them(fs: FileSystem) -> None:
            fs.saving.ask([entry.number for entry in fs.saving.journal])
            await trio.sleep(0.002)

        self._do(all_of_them)

    @rule(old=NAMES, new=NAMES)
    def rename(self, old: bytes, new: bytes) -> None:
        """rename(2)."""
        if old in self.mine and old != new:
            self._do(lambda fs: fs.rename(ROOT, old, ROOT, new))
            self.mine[new] = self.mine.pop(old)

    @rule(name=NAMES)
    def unlink(self, name: bytes) -> None:
        """unlink(2)."""
        if name in self.mine:
            self._do(lambda fs: fs.unlink(ROOT, name))
            del self.mine[name]

    @rule()
    def foreign(self) -> None:
        """Somebody else stores another object."""
        data = b"foreign %d" % len(self.theirs)
        self.store.put(FOREIGN.decode(), data, Headers())
        self.theirs.append(data)

    @rule(unclosed=st.booleans())
    def crash(self, *, unclosed: bool) -> None:
        """Kill -9 and recovery: what was written and not closed is gone."""

        async def write_only(fs: FileSystem) -> None:
            fh, _ = await fs.create(ROOT, b"new", 0o644, os.O_RDWR, (0, 0))
            await fs.write(fh, 0, b"never promised")

        async def snapshot(fs: FileSystem) -> None:  # in the loop, where nothing moves meanwhile
            with fs.saving.ledger._lock:
                shutil.copytree(self.folder / str(self.lives), self.folder / str(self.lives + 1))
            self.scope.cancel()

        if unclosed:
            self._do(write_only)
        self._do(snapshot)
        self.thread.join()
        self.lives += 1
        self._begin()

    def teardown(self) -> None:
        """The store gets well: all that was acknowledged is there, and nothing else."""
        try:
            self.faults._faults.clear()
            left = self._do(lambda fs: fs.drain())
        finally:
            self._end()
            LOG.setLevel(self.level)  # else every later test is deaf
            shutil.rmtree(self.folder)
        objects = {}
        for info in self.store.list_page("").objects:
            data = bytearray()
            self.store.get(info.key, data.extend, start=0, stop=info.size)
            objects[info.key.encode()] = bytes(data)
        assert all(isinstance(error, Stale) for error in left.values()), left
        for name in (b"a", b"b", b"new"):
            assert objects.pop(name, None) == self.mine.get(name)
        mine = self.mine.get(FOREIGN)
        if mine and not self.theirs:
            assert objects == {FOREIGN: mine}
        elif mine:
            assert mine in objects.values() or objects[FOREIGN] in self.theirs
        assert all(
            key == FOREIGN or (self.theirs and key.startswith(b"c.conflict-")) for key in objects
        )


Machine.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestJournal = Machine.TestCase
