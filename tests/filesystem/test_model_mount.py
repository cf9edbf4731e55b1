"""Random operations through the kernel, on a real mount, compared with the model."""

import ctypes
import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from objfs.store.base import Driver
from objfs.store.file import FileStore
from objfs.types import Kind
from tests.filesystem.engine import Engine, Limits, Step
from tests.filesystem.runs import LENGTH, TIMES
from tests.mount.kit import Store
from tests.mount.kit import mounted as kernel_mounted
from tests.strategies import steps

T = TypeVar("T")
EXAMPLES = 13
LIMITS = Limits(
    # The kernel releases a handle some time after close(2), and that is when a refused upload is
    # tried again: here nobody can say before which call.
    refusals=False,
)
LOST = "replaced or removed in the store since it was opened"
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class _Stat:
    kind: Kind
    size: int


class Calls:
    """The system calls, each in a thread: the daemon is another process, but a slow one."""

    def __init__(self, root: Path) -> None:
        self._root = os.fsencode(root)

    def _at(self, path: bytes) -> bytes:
        return self._root + b"/" + path if path else self._root

    async def _do(self, call: Callable[..., T], *arguments: Any) -> T:
        return await trio.to_thread.run_sync(call, *arguments)

    async def open(self, path: bytes, flags: int) -> int:
        """open(2)."""
        fd = await self._do(os.open, self._at(path), flags, 0o644)
        if stat.S_ISDIR(os.fstat(fd).st_mode):  # Linux lets directories be opened for reading
            os.close(fd)
            raise IsADirectoryError(errno.EISDIR, "a directory")
        return fd

    async def read(self, file: int, start: int, size: int) -> bytes:
        """pread(2)."""
        return await self._do(os.pread, file, size, start)

    async def write(self, file: int, start: int, data: bytes) -> None:
        """pwrite(2)."""
        assert await self._do(os.pwrite, file, data, start) == len(data)

    async def close(self, file: int) -> None:
        """close(2)."""
        await self._do(os.close, file)

    async def ftruncate(self, file: int, size: int) -> None:
        """ftruncate(2)."""
        await self._do(os.ftruncate, file, size)

    async def fsync(self, file: int) -> None:
        """fsync(2)."""
        await self._do(os.fsync, file)

    async def truncate(self, path: bytes, size: int) -> None:
        """truncate(2)."""
        await self._do(os.truncate, self._at(path), size)

    async def mkdir(self, path: bytes) -> None:
        """mkdir(2)."""
        await self._do(os.mkdir, self._at(path))

    async def rmdir(self, path: bytes) -> None:
        """rmdir(2)."""
        await self._do(os.rmdir, self._at(path))

    async def unlink(self, path: bytes) -> None:
        """unlink(2)."""
        await self._do(os.unlink, self._at(path))

    async def rename(self, old: bytes, new: bytes, flags: int) -> None:
        """renameat2(2)."""
        await self._do(_rename, self._at(old), self._at(new), flags)

    async def listdir(self, path: bytes) -> dict[bytes, _Stat]:
        """readdir(3) and lstat(2)."""
        return await self._do(_list, self._at(path))

    async def read_file(self, path: bytes) -> bytes:
        """All of a file."""
        return await self._do(Path(os.fsdecode(self._at(path))).read_bytes)


def _rename(old: bytes, new: bytes, flags: int) -> None:
    if _libc.renameat2(-100, old, -100, new, flags):  # AT_FDCWD, fcntl.h
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _list(path: bytes) -> dict[bytes, _Stat]:
    found = {}
    for entry in os.scandir(path):
        size = entry.stat(follow_symlinks=False).st_size
        kind = Kind.DIRECTORY if entry.is_dir() else Kind.FILE
        found[entry.name] = _Stat(kind, size)
    return found


def _empty(root: Path) -> None:
    for path in sorted(root.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()


async def _drive(root: Path, driver: Driver, taken: list[Step]) -> int:
    engine = Engine(
        Calls(root),
        driver,
        expire=lambda: None,  # the mount believes nothing
        settle=trio.lowlevel.checkpoint,
        limits=LIMITS,
    )
    try:
        await engine.run(taken)
    finally:
        for handle in engine.opened:  # after a failure; the mount could not be taken down
            os.close(handle.file)
    return engine.operations


@pytest.mark.mount
def test_mount(tmp_path: Path):
    """At least 500 operations on the embedded store."""
    counted = 0
    store = Store("file", f"file://{tmp_path}/store")
    with kernel_mounted(
        store, tmp_path, "--metadata-ttl", "0", "--on-conflict", "fail", allowed=[LOST]
    ) as mount:
        driver = FileStore(tmp_path / "store")

        # a failure is not made shorter here, which would take minutes: test_model.py is for that
        @settings(max_examples=EXAMPLES * TIMES, phases=[Phase.explicit, Phase.generate])
        @given(taken=st.lists(steps, min_size=LENGTH, max_size=LENGTH))
        def compared(taken: list[Step]) -> None:
            nonlocal counted
            _empty(mount.path)
            counted += trio.run(_drive, mount.path, driver, taken)

        compared()
        driver.close()
    assert counted >= EXAMPLES * LENGTH * TIMES >= 500
