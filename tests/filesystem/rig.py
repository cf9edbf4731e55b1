"""A whole mount without a kernel module: `FakeKernel` over `FileSystem` over any driver."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio
import trio.testing

from objfs.assembly import assembled
from objfs.config import CacheConfig, MountConfig
from objfs.filesystem import FileSystem
from objfs.store.base import Driver
from objfs.store.bucket import Bucket
from objfs.store.memory import MemoryStore
from objfs.types import Headers, ObjectInfo
from tests.doubles import FaultyDriver, RecordingDriver
from tests.kernel import FakeKernel

TTL = 60.0


@dataclass
class Rig:
    """One mount, and its store from the other side."""

    kernel: FakeKernel
    fs: FileSystem
    store: Driver
    """As others see it: no faults, not recorded."""
    faults: FaultyDriver
    requests: RecordingDriver
    cache: Path
    _now: list[float]

    def advance(self, seconds: float = TTL + 1) -> None:
        """Let time pass."""
        self._now[0] += seconds

    async def settle(self) -> None:
        """Wait for uploads that nobody waits for."""
        await trio.testing.wait_all_tasks_blocked()
        while self.fs._mount.turns._turns:
            await trio.testing.wait_all_tasks_blocked(0.0005)

    def put(self, key: str, data: bytes = b"") -> ObjectInfo:
        """Somebody else stores an object."""
        return self.store.put(key, data, Headers())

    def objects(self) -> dict[str, bytes]:
        """All that the store holds."""
        return {info.key: self.get(info.key) for info in self.store.list_page("").objects}

    def get(self, key: str) -> bytes:
        """One object."""
        size = self.store.head(key).size
        data = bytearray()
        if size:
            self.store.get(key, data.extend, start=0, stop=size)
        return bytes(data)


@asynccontextmanager
async def mounted(
    store: Driver | None = None,
    cache: Path | None = None,
    *,
    ttl: float = TTL,
    size: int = 2**30,
    prefix: str = "",
    buffer: int = 5,
    read_only: bool = False,
    on_conflict: str = "fail",
) -> AsyncIterator[Rig]:
    """Mount it; at the end the kernel gives everything back, and what it held is compared.

    The model's rule for conflicts is "fail": a copy's name has the time in it.
    """
    store = store or MemoryStore()
    now = [1000.0]
    requests = RecordingDriver(store)
    faults = FaultyDriver(requests)
    kernel = FakeKernel(lambda: now[0], buffer=buffer)
    config = MountConfig("/mnt", metadata_ttl=ttl, read_only=read_only, on_conflict=on_conflict)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        place = cache or Path(folder)
        async with assembled(
            Bucket(faults, prefix=prefix),
            config,
            CacheConfig(str(place), size=size),
            kernel.invalidate,
            clock=lambda: now[0],
        ) as fs:
            kernel.fs = fs
            rig = Rig(kernel, fs, store, faults, requests, place, now)
            yield rig
            await rig.settle()
            kernel.leave()
