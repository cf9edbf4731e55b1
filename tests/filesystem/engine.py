"""Runs drawn steps against the model and a mount, and compares everything after each of them.

A mount is a `System`: `FakeKernel` is one; `tests/filesystem/test_model_mount.py` has one made of
os.* calls. What a step's numbers mean is decided here, by what exists: index modulo length.
"""

# ruff: noqa: ARG002, PT017  # every verb takes the same numbers; errors are compared, not expected

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from objfs.errors import ObjfsError
from objfs.store.base import Driver
from objfs.types import Headers, Kind
from tests.filesystem.system import System
from tests.model import Content, Model
from tests.strategies import NAMES, ODD_KEYS

Step = tuple[int, int, int, int]
NOREPLACE = 1


@dataclass(frozen=True)
class Limits:
    """What a run draws from; narrower where a store or a kernel cannot tell one right answer."""

    files: Sequence[str] = tuple(NAMES)
    directories: Sequence[str] = tuple(NAMES)
    odd_keys: Sequence[str] = tuple(ODD_KEYS)
    """Keys that others store, beside those made of names."""
    refusals: bool = True
    """Whether others change objects of which this mount holds unsaved bytes."""


@dataclass(eq=False)
class Open:
    """One handle on both sides."""

    file: Any
    content: Content
    flags: int
    changed: bool
    """Its open(2) made or emptied the file, so its close uploads whatever it may do itself."""

    @property
    def writable(self) -> bool:
        """Whether it may write."""
        return self.flags & os.O_ACCMODE != os.O_RDONLY

    @property
    def readable(self) -> bool:
        """Whether it may read."""
        return self.flags & os.O_ACCMODE != os.O_WRONLY


def outcome(error: Exception | None) -> int | None:
    """An error as its errno."""
    return None if error is None else getattr(error, "errno", -1)


class Engine:
    """One run. `expire` lets what is believed grow old; `settle` waits for work behind close."""

    def __init__(
        self,
        system: System,
        driver: Driver,
        *,
        expire: Callable[[], None],
        settle: Callable[[], Awaitable[None]],
        limits: Limits = Limits(),
    ) -> None:
        self.system = system
        self.limits = limits
        self.driver = driver
        self.model = Model()
        self.opened: list[Open] = []
        self.seen: dict[bytes, bytes | None] = {}
        self.log: list[str] = []
        self.operations = 0
        self._expire = expire
        self._settle = settle

    async def run(self, steps: Sequence[Step]) -> None:
        """All steps, then every handle is closed."""
        for step in steps:
            await self.step(step)
        while self.opened:
            await self._close(self.opened[-1])
            await self.compare()

    async def step(self, step: Step) -> None:
        """One of them, and the comparison."""
        kind, i, j, k = step
        for limit, verb in VERBS:
            if kind < limit:
                await verb(self, i, j, k)
                break
        await self.compare()

    async def compare(self) -> None:
        """The whole tree with its contents, and the store's objects."""
        self.operations += 1
        await self._settle()
        self._expire()
        expected = self.model.tree()
        found: dict[bytes, bytes | None] = {}
        read: list[bytes] = []
        todo = [b""]
        while todo:
            path = todo.pop()
            for name, stat in (await self.system.listdir(path)).items():
                below = path + b"/" + name if path else name
                wanted = expected.get(below)
                if stat.kind is Kind.DIRECTORY:
                    found[below] = None
                    todo.append(below)
                elif (
                    wanted is not None
                    and stat.size == len(wanted)
                    and wanted == self.seen.get(below)
                ):
                    found[below] = wanted  # unchanged since its bytes were compared
                else:
                    found[below] = await self.system.read_file(below)
                    read.append(below)
                    assert stat.size == len(found[below] or b""), (below, self.log)
        assert found == expected, self.log
        self.seen = found
        await self._settle()
        for path in read:  # the last close of a draft that was refused before tries once more
            self.model.close(self.model.open(path), writable=False)
        objects = self._objects()
        wrong = {
            key: (objects.get(key), self.model.store.get(key))
            for key in objects.keys() | self.model.store.keys()
            if objects.get(key) != self.model.store.get(key)
        }
        assert not wrong, (wrong, self.log)

    def _objects(self) -> dict[str, bytes]:
        found = {}
        token = ""
        while True:
            page = self.driver.list_page("", token=token)
            for info in page.objects:
                wanted = self.model.store.get(info.key)
                found[info.key] = (
                    wanted if wanted is not None and _same(info.etag, wanted) else b"?"
                )
            token = page.token
            if not token:
                return found

    # --- steps ---------------------------------------------------------------------------------

    async def _both(
        self, what: str, real: Callable[[], Awaitable[Any]], model: Callable[[], Any]
    ) -> tuple[Any, Any] | None:
        self.log.append(what)
        answer = expected = None
        error: Exception | None = None
        try:
            answer = await real()
        except (ObjfsError, OSError) as caught:
            error = caught
        wanted: OSError | None = None
        try:
            expected = model()
        except OSError as caught:
            wanted = caught
        assert outcome(error) == outcome(wanted), (error, wanted, self.log)
        return None if error else (answer, expected)

    def _some_path(self, number: int) -> bytes:
        paths = sorted(self.model.tree())
        return paths[number % len(paths)] if paths else b"a"

    def _new_path(self, i: int, j: int, *, directory: bool = False) -> bytes:
        """A name in some directory; it may exist."""
        names = self.limits.directories if directory else self.limits.files
        tree = self.model.tree()
        places = [b"", *sorted(path for path, data in tree.items() if data is None)]
        place = places[i % len(places)]
        if j == 11 and tree:  # below a file, or nowhere
            place = self._some_path(i)
        name = names[j % len(names)].encode()
        return place + b"/" + name if place else name

    def _data(self, number: int) -> bytes:
        size = (0, 1, 7, 100, 5000, 140_000)[number % 6] if number < 11 else 1
        return f"<{len(self.log)}>".encode() + bytes(size)

    async def _open(self, i: int, j: int, k: int) -> None:
        access = (os.O_RDONLY, os.O_WRONLY, os.O_RDWR)[k % 3]
        flags = access | (os.O_TRUNC if k in {1, 4} else 0) | (os.O_APPEND if k in {5, 8} else 0)
        if i % 2:
            flags |= os.O_CREAT | (os.O_EXCL if k in {2, 7} else 0)
            path = self._new_path(i // 2, j)
        else:
            path = self._some_path(j)
        if access == os.O_RDONLY:
            flags &= ~os.O_TRUNC
        await self._open_path(path, flags)

    async def _open_path(self, path: bytes, flags: int) -> Open | None:
        makes = path not in self.model.tree()
        done = await self._both(
            f"open {path!r} {flags:o}",
            lambda: self.system.open(path, flags),
            lambda: self.model.open(
                path,
                create=bool(flags & os.O_CREAT),
                exclusive=bool(flags & os.O_EXCL),
                truncate=bool(flags & os.O_TRUNC),
            ),
        )
        if done is None:
            return None
        self.opened.append(Open(*done, flags, changed=makes or bool(flags & os.O_TRUNC)))
        return self.opened[-1]

    async def _write(self, i: int, j: int, k: int) -> None:
        writers = [each for each in self.opened if each.writable]
        if not writers:
            return await self._save(i, j, k)
        handle = writers[i % len(writers)]
        start = None if handle.flags & os.O_APPEND else (0, 3, 10, 200)[j % 4]
        data = self._data(k)
        self.log.append(f"write {start} {data[:9]!r}+{len(data)} to {handle.content.key}")
        if handle.content.lost:
            try:
                await self.system.write(handle.file, start or 0, data)
            except (ObjfsError, OSError) as error:
                assert outcome(error) == 116, (error, self.log)
                return None
        else:
            await self.system.write(handle.file, start or 0, data)
        self.model.write(handle.content, start, data)
        return None

    async def _read(self, i: int, j: int, k: int) -> None:
        readers = [each for each in self.opened if each.readable]
        if not readers:
            return
        handle = readers[i % len(readers)]
        start, size = (0, 1, 5, 150)[j % 4], (1, 10, 2**20)[k % 3]
        self.log.append(f"read {start}+{size} of {handle.content.key}")
        try:
            data = await self.system.read(handle.file, start, size)
        except (ObjfsError, OSError) as error:
            assert handle.content.lost, (error, self.log)
            assert outcome(error) == 116, (error, self.log)
            return
        assert data == handle.content.data[start : start + size], self.log

    async def _close_some(self, i: int, j: int, k: int) -> None:
        if self.opened:
            await self._close(self.opened[i % len(self.opened)])

    async def _close(self, handle: Open) -> None:
        self.opened.remove(handle)
        await self._both(
            f"close {handle.content.key}",
            lambda: self.system.close(handle.file),
            lambda: self.model.close(handle.content, writable=handle.writable or handle.changed),
        )

    async def _ftruncate(self, i: int, j: int, k: int) -> None:
        writers = [each for each in self.opened if each.writable and not each.content.lost]
        if writers:
            handle = writers[i % len(writers)]
            size = (0, 2, 150, 20)[j % 4]
            await self._both(
                f"ftruncate {handle.content.key} {size}",
                lambda: self.system.ftruncate(handle.file, size),
                lambda: self.model.ftruncate(handle.content, size),
            )
            if k % 2:
                await self.system.fsync(handle.file)
                self.model.fsync(handle.content)

    async def _truncate(self, i: int, j: int, k: int) -> None:
        path, size = self._some_path(i), (0, 3, 300)[j % 3]
        await self._both(
            f"truncate {path!r} {size}",
            lambda: self.system.truncate(path, size),
            lambda: self.model.truncate(path, size),
        )

    async def _save(self, i: int, j: int, k: int) -> None:
        """Open, write and close in one step, as most programs do."""
        path = self._new_path(i, j)
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if k % 2 else 0)
        if handle := await self._open_path(path, flags):
            data = self._data(k)
            await self.system.write(handle.file, 0, data)
            self.model.write(handle.content, 0, data)
            await self._close(handle)

    async def _mkdir(self, i: int, j: int, k: int) -> None:
        if not self.limits.directories:
            return
        path = self._new_path(i, j, directory=True)
        await self._both(
            f"mkdir {path!r}", lambda: self.system.mkdir(path), lambda: self.model.mkdir(path)
        )

    async def _rmdir(self, i: int, j: int, k: int) -> None:
        path = self._some_path(i)
        await self._both(
            f"rmdir {path!r}", lambda: self.system.rmdir(path), lambda: self.model.rmdir(path)
        )

    async def _unlink(self, i: int, j: int, k: int) -> None:
        path = self._some_path(i)
        await self._both(
            f"unlink {path!r}", lambda: self.system.unlink(path), lambda: self.model.unlink(path)
        )

    async def _rename(self, i: int, j: int, k: int) -> None:
        old = self._some_path(i)
        directory = self.model.tree().get(old, b"") is None
        new = self._new_path(j, k, directory=directory) if k % 2 else self._some_path(j)
        if b"%" in new.rpartition(b"/")[2]:
            return  # what such a name may become is for the tests of names
        await self._both(
            f"rename {old!r} {new!r}",
            lambda: self.system.rename(old, new, NOREPLACE if k in {3, 6} else 0),
            lambda: self.model.rename(old, new, replace=k not in {3, 6}),
        )

    async def _foreign_put(self, i: int, j: int, k: int) -> None:
        limits = self.limits
        if k < 3 and limits.odd_keys:
            key = limits.odd_keys[i % len(limits.odd_keys)]
        elif k < 6 and self.model.store:
            key = sorted(self.model.store)[i % len(self.model.store)]
        else:
            key = limits.files[i % len(limits.files)]
            if k % 2 and limits.directories:
                key = f"{limits.directories[j % len(limits.directories)]}/{key}"
        data = b"" if key.endswith("/") and k % 2 else self._data(k)
        if (key.endswith("/") and key in self.model.store) or not self._may_change(key):
            return
        self.log.append(f"foreign put {key!r} {data[:9]!r}+{len(data)}")
        self.driver.put(key, data, Headers())
        self.model.foreign_put(key, data)

    async def _foreign_delete(self, i: int, j: int, k: int) -> None:
        if self.model.store:
            key = sorted(self.model.store)[i % len(self.model.store)]
            if not self._may_change(key):
                return
            self.log.append(f"foreign delete {key!r}")
            self.driver.delete(key)
            self.model.foreign_delete(key)

    def _may_change(self, key: str) -> bool:
        content = self.model.local.get(key)
        return self.limits.refusals or not (content and content.dirty)


def _same(etag: str, data: bytes) -> bool:
    import hashlib

    return etag == hashlib.md5(data, usedforsecurity=False).hexdigest()


Verb = Callable[[Engine, int, int, int], Awaitable[None]]
VERBS: list[tuple[int, Verb]] = [
    (12, Engine._save),
    (24, Engine._open),
    (36, Engine._write),
    (42, Engine._read),
    (50, Engine._close_some),
    (54, Engine._ftruncate),
    (58, Engine._truncate),
    (64, Engine._mkdir),
    (69, Engine._rmdir),
    (76, Engine._unlink),
    (87, Engine._rename),
    (94, Engine._foreign_put),
    (100, Engine._foreign_delete),
]
"""Chances in percent, summed up."""
