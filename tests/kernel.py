"""A kernel for tests: paths and descriptors in front, `FileSystem`'s verbs behind.

It does what Linux does between a program and a FUSE file system, as far as that matters to us:
dentries and attributes are believed as long as they were granted, every answer that carries an
inode is a reference which is counted and given back (`forget`), a directory is read with a limited
buffer, an open or a stat that answers ESTALE is tried once more with fresh lookups
(path_openat, LOOKUP_REVAL), and an invalidation drops what it names.
"""

import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from objfs.errors import (
    Exists,
    InvalidArgument,
    IsADirectory,
    NotADirectory,
    NotEmpty,
    NotFound,
    Stale,
)
from objfs.filesystem import FileSystem
from objfs.tree.nodes import Changes
from objfs.tree.tree import Invalidate
from objfs.types import ROOT, Fh, Ino, Kind, Stat

T = TypeVar("T")
REQUEST = 128 * 1024
"""Bytes in one read or write request."""
OWNER = (0, 0)


@dataclass(eq=False)
class File:
    """An open file description."""

    fh: Fh
    ino: Ino
    flags: int


@dataclass
class _Dentry:
    ino: Ino | None
    expires: float


class FakeKernel:
    """One mount's kernel. `buffer` is how many directory entries fit into one request."""

    def __init__(self, clock: Callable[[], float], *, buffer: int = 5) -> None:
        self.fs: FileSystem
        self.refs: Counter[Ino] = Counter()
        self.opened: Counter[Ino] = Counter()
        self.invalidated: list[Invalidate] = []
        self._clock = clock
        self._buffer = buffer
        self._dentries: dict[tuple[Ino, bytes], _Dentry] = {}
        self._attributes: dict[Ino, tuple[Stat, float]] = {}
        self._kinds: dict[Ino, Kind] = {ROOT: Kind.DIRECTORY}

    def invalidate(self, change: Invalidate) -> None:
        """What the file system says that the kernel must forget."""
        self.invalidated.append(change)
        if change.name is None:
            self._attributes.pop(change.ino, None)
        else:
            self._dentries.pop((change.ino, change.name), None)

    # --- names ---------------------------------------------------------------------------------

    async def stat(self, path: bytes) -> Stat:
        """stat(2)."""

        async def attempt() -> Stat:
            ino = await self._walk(path)
            known = self._attributes.get(ino)
            if known and self._clock() < known[1]:
                return known[0]
            return self._learn(await self.fs.getattr(ino))

        return await self._again(attempt)

    async def exists(self, path: bytes) -> bool:
        """Whether stat(2) finds it."""
        try:
            await self.stat(path)
        except NotFound:
            return False
        return True

    async def mkdir(self, path: bytes, mode: int = 0o755) -> None:
        """mkdir(2)."""
        parent, name = await self._parent(path)
        if await self._known(parent, name):
            raise Exists(f"{path!r} exists")
        self._entry(parent, name, await self.fs.mkdir(parent, name, mode, OWNER))

    async def rmdir(self, path: bytes) -> None:
        """rmdir(2)."""
        parent, name = await self._parent(path)
        ino = await self._lookup(parent, name)
        if self._kinds[ino] is Kind.FILE:
            raise NotADirectory(f"{path!r} is a file")
        await self.fs.rmdir(parent, name)
        self._dentries.pop((parent, name), None)

    async def unlink(self, path: bytes) -> None:
        """unlink(2)."""
        parent, name = await self._parent(path)
        ino = await self._lookup(parent, name)
        if self._kinds[ino] is Kind.DIRECTORY:
            raise IsADirectory(f"{path!r} is a directory")
        await self.fs.unlink(parent, name)
        self._dentries.pop((parent, name), None)

    async def rename(self, old: bytes, new: bytes, flags: int = 0) -> None:
        """renameat2(2)."""
        parent, name = await self._parent(old)
        await self._lookup(parent, name)
        new_parent, new_name = await self._parent(new)
        if flags and await self._known(new_parent, new_name):
            raise Exists(f"{new!r} exists")
        if new.startswith(old + b"/"):  # vfs_rename looks for loops first
            raise InvalidArgument(f"{new!r} is inside {old!r}")
        if old.startswith(new + b"/"):
            raise NotEmpty(f"{old!r} is inside {new!r}")
        await self.fs.rename(parent, name, new_parent, new_name, flags)
        moved = self._dentries.pop((parent, name), None)
        self._dentries.pop((new_parent, new_name), None)
        if moved and (parent, name) != (new_parent, new_name):
            self._dentries[new_parent, new_name] = moved

    async def listdir(self, path: bytes = b"") -> dict[bytes, Stat]:
        """opendir(3), readdir(3) to the end, closedir(3)."""
        ino = await self._walk(path)
        if self._kinds[ino] is Kind.FILE:
            raise NotADirectory(f"{path!r} is a file")
        fh = await self.fs.opendir(ino)
        found: dict[bytes, Stat] = {}
        try:
            at = 0
            while True:
                taken = await self.readdir(ino, fh, at)
                if not taken:
                    return found
                for name, stat, behind in taken:
                    assert name not in found, f"{name!r} was listed twice"
                    assert behind > at
                    found[name] = stat
                    at = behind
        finally:
            await self.fs.releasedir(fh)

    async def readdir(self, ino: Ino, fh: Fh, at: int) -> list[tuple[bytes, Stat, int]]:
        """One READDIRPLUS request."""
        taken: list[tuple[bytes, Stat, int]] = []

        def emit(name: bytes, stat: Stat, behind: int) -> bool:
            if len(taken) == self._buffer:
                return False
            taken.append((name, stat, behind))
            self._entry(ino, name, stat)
            return True

        await self.fs.readdir(fh, at, emit)
        return taken

    # --- files ---------------------------------------------------------------------------------

    async def open(self, path: bytes, flags: int, mode: int = 0o644) -> File:
        """open(2)."""

        async def attempt() -> File:
            parent, name = await self._parent(path)
            ino = await self._known(parent, name)
            if ino is None and flags & os.O_CREAT:
                fh, stat = await self.fs.create(parent, name, mode, flags, OWNER)
                self._entry(parent, name, stat)
                return self._opened(fh, stat.ino, flags)
            if ino is None:
                raise NotFound(f"{path!r} does not exist")
            if flags & os.O_CREAT and flags & os.O_EXCL:
                raise Exists(f"{path!r} exists")
            fh = await self.fs.open(ino, flags & ~os.O_CREAT)
            if flags & os.O_TRUNC:
                self._attributes.pop(ino, None)
            return self._opened(fh, ino, flags)

        return await self._again(attempt)

    async def read(self, file: File, start: int, size: int) -> bytes:
        """pread(2), to the end of the file where it is short."""
        data = b""
        while len(data) < size:
            piece = await self.fs.read(file.fh, start + len(data), min(REQUEST, size - len(data)))
            if not piece:
                break
            data += piece
        return data

    async def write(self, file: File, start: int, data: bytes) -> None:
        """pwrite(2)."""
        for at in range(0, len(data), REQUEST):
            piece = data[at : at + REQUEST]
            assert await self.fs.write(file.fh, start + at, piece) == len(piece)
        self._attributes.pop(file.ino, None)

    async def truncate(self, path: bytes, size: int) -> None:
        """truncate(2)."""

        async def attempt() -> None:
            ino = await self._walk(path)
            self._learn(await self.fs.setattr(ino, Changes(), size, None))

        await self._again(attempt)

    async def ftruncate(self, file: File, size: int) -> None:
        """ftruncate(2)."""
        self._learn(await self.fs.setattr(file.ino, Changes(), size, file.fh))

    async def fstat(self, file: File) -> Stat:
        """fstat(2), past the attribute cache."""
        return self._learn(await self.fs.getattr(file.ino))

    async def fsync(self, file: File) -> None:
        """fsync(2)."""
        await self.fs.fsync(file.fh)

    async def close(self, file: File) -> None:
        """close(2) of the only descriptor: flush, whose verdict it is, then release."""
        try:
            await self.fs.flush(file.fh)
        finally:
            self._attributes.pop(file.ino, None)
            self.opened[file.ino] -= 1
            await self.fs.release(file.fh)

    async def read_file(self, path: bytes) -> bytes:
        """Open, read all, close."""
        file = await self.open(path, os.O_RDONLY)
        try:
            return await self.read(file, 0, 2**30)
        finally:
            await self.close(file)

    async def write_file(self, path: bytes, data: bytes) -> None:
        """Create or replace, write, close."""
        file = await self.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            await self.write(file, 0, data)
        finally:
            await self.close(file)

    # --- memory --------------------------------------------------------------------------------

    def drop_caches(self, chance: random.Random | None = None) -> None:
        """Forget inodes that nobody has open, all or each with an even chance."""
        gone = [
            ino
            for ino, count in self.refs.items()
            if count and not self.opened[ino] and (chance is None or chance.random() < 0.5)
        ]
        for spot, dentry in list(self._dentries.items()):
            if dentry.ino in gone or dentry.ino is None:
                del self._dentries[spot]
        for ino in gone:
            self._attributes.pop(ino, None)
        self.fs.forget([(ino, self.refs.pop(ino)) for ino in gone])

    def check(self) -> None:
        """The tree counts what the kernel holds."""
        nodes = self.fs._mount.tree.nodes
        held = {ino: node.lookups for ino, node in nodes._by_ino.items() if node.lookups}
        assert held == {ino: count for ino, count in self.refs.items() if count}
        for ino, node in nodes._by_ino.items():
            assert node.ino == ino
            assert node.parent is None or node.parent.children[node.name] is node
            assert node.in_use or node.ino == ROOT or ino in nodes._idle, f"{node} leaked"

    def leave(self) -> None:
        """Unmount: everything is given back, and then nothing may be held for the kernel."""
        assert not +self.opened
        self.drop_caches()
        self.check()

    # --- inside --------------------------------------------------------------------------------

    async def _again(self, attempt: Callable[[], Awaitable[T]]) -> T:
        try:
            return await attempt()
        except Stale:
            self._dentries.clear()
            self._attributes.clear()
            return await attempt()

    async def _walk(self, path: bytes) -> Ino:
        ino = ROOT
        for name in filter(None, path.split(b"/")):
            ino = await self._lookup(ino, name)
        return ino

    async def _parent(self, path: bytes) -> tuple[Ino, bytes]:
        head, _, name = path.rpartition(b"/")
        parent = await self._walk(head)
        if self._kinds[parent] is Kind.FILE:
            raise NotADirectory(f"{head!r} is a file")
        return parent, name

    async def _lookup(self, parent: Ino, name: bytes) -> Ino:
        ino = await self._known(parent, name)
        if ino is None:
            raise NotFound(f"{name!r} does not exist")
        return ino

    async def _known(self, parent: Ino, name: bytes) -> Ino | None:
        if self._kinds[parent] is Kind.FILE:
            raise NotADirectory("a file on the path")
        dentry = self._dentries.get((parent, name))
        if dentry and self._clock() < dentry.expires:
            return dentry.ino
        try:
            return self._entry(parent, name, await self.fs.lookup(parent, name))
        except NotFound:
            self._dentries[parent, name] = _Dentry(
                None, self._clock() + self.fs.absent_for(parent, name)
            )
            return None

    def _entry(self, parent: Ino, name: bytes, stat: Stat) -> Ino:
        self.refs[stat.ino] += 1
        self._dentries[parent, name] = _Dentry(stat.ino, self._clock() + stat.ttl)
        self._learn(stat)
        return stat.ino

    def _learn(self, stat: Stat) -> Stat:
        self._attributes[stat.ino] = (stat, self._clock() + stat.ttl)
        self._kinds[stat.ino] = stat.kind
        return stat

    def _opened(self, fh: Fh, ino: Ino, flags: int) -> File:
        self.opened[ino] += 1
        return File(fh, ino, flags)
