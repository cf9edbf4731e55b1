"""One program that writes to the mount, and knows what it was promised."""

import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from scripts.crash_test.expected import Files, Version, content, fits

SMALL, LARGE = 200_000, 18 * 2**20
"""Bytes in a usual file, and in one that goes up in parts."""
CHUNK = 100_000


class Life:
    """One life of the daemon: from a mount to its end."""

    def __init__(self, mountpoint: Path) -> None:
        # By a descriptor: once the dead mount is detached, the path leads to the bare folder.
        self.fd = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY)
        self.root = Path(f"/proc/self/fd/{self.fd}")
        self.over = threading.Event()
        """Set just before the daemon is killed: errors mean nothing from then on."""
        self.renaming = threading.Event()
        """Set when a folder is about to be renamed."""


class Writer(threading.Thread):
    """Changes files in a folder of its own, one call after the other, until it is told to stop."""

    def __init__(self, name: str, seed: int, *, large: bool) -> None:
        super().__init__(name=name, daemon=True)
        self.files = Files()
        self.wrong: list[str] = []
        self.calls = 0
        self.acknowledged = 0
        self._random = random.Random(f"{seed}-{name}")  # reproducible, not secret
        self._large = large
        self._sequence = 0
        self._folder = f"{name}/a"
        self._stop_asked = threading.Event()
        self._lives: list[Life] = []
        self._condition = threading.Condition()
        self._settled = threading.Event()

    # --- what the campaign says ----------------------------------------------------------------

    def begin(self, life: Life) -> None:
        """There is a mount again."""
        with self._condition:
            self._settled.clear()
            self._lives.append(life)
            self._condition.notify()

    def finish(self) -> None:
        """Finish the call that is under way, look at everything once more, and end."""
        with self._condition:
            self._stop_asked.set()
            self._condition.notify()

    # --- the program ---------------------------------------------------------------------------

    def run(self) -> None:
        """Live through one life of the daemon after the other."""
        seen = 0
        while True:
            with self._condition:
                while len(self._lives) == seen and not self._stop_asked.is_set():
                    self._condition.wait()
                if len(self._lives) == seen:
                    return
                seen = len(self._lives)
                life = self._lives[-1]
            try:
                self._look(life)
                while not life.over.is_set() and not self._stop_asked.is_set():
                    self._one(life)
                    self.calls += 1
            except OSError as error:
                if not life.over.wait(0.5):
                    self.wrong.append(f"{self.name}: {error!r} although the daemon was not killed")
                    return

    def _look(self, life: Life) -> None:
        """After a crash: read all there is, and compare."""
        top = life.root / self.name
        top.mkdir(exist_ok=True)
        paths = set(self.files.may)
        if self.files.moving and self.files.folder_moving:
            source, target = self.files.moving
            paths |= {target + p[len(source) :] for p in paths if p.startswith(source + "/")}
        elif self.files.moving:
            paths |= set(self.files.moving)
        paths |= {str(p.relative_to(life.root)) for p in top.rglob("*") if p.is_file()}
        found = {path: read(life.root / path) for path in sorted(paths)}
        moving = self.files.moving if self.files.folder_moving else None
        self.wrong += self.files.looked(found)
        if moving and not (life.root / moving[0]).exists():
            self._folder = moving[1]
        self.files.folder_moving = False
        (life.root / self._folder).mkdir(exist_ok=True)

    def _one(self, life: Life) -> None:
        act: Callable[[Life], None] = self._random.choices(
            [self._rewrite, self._append, self._in_place, self._rename, self._unlink, self._move],
            [8, 3, 3, 3, 2, 1],
        )[0]
        act(life)

    def _path(self) -> str:
        return f"{self._folder}/f{self._random.randrange(6)}"

    def _some(self) -> tuple[str, Version] | None:
        """A file that exists, and its content."""
        certain = [
            (path, known)
            for path, (known, *others) in self.files.may.items()
            if known and not others and path.startswith(self._folder + "/")
        ]
        return self._random.choice(certain) if certain else None

    def _version(self, path: str, data: bytes) -> Version:
        return Version(f"{self.name} #{self._sequence} for {path}, {len(data)} bytes", data)

    def _new(self, path: str) -> bytes:
        self._sequence += 1
        size = self._random.choice([0, 10, 3000, SMALL, SMALL])
        if self._large and self._random.random() < 0.15:  # noqa: PLR2004
            size = LARGE
        return content(self.name, path, self._sequence, size, self._random.randbytes(size))

    def _rewrite(self, life: Life) -> None:
        path = self._path()
        data = self._new(path)
        flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
        fd = os.open(life.root / path, flags)
        with Closing(fd) as closing:
            cut = len(data) if self._random.random() < 0.5 else len(data) // 2  # noqa: PLR2004
            write(fd, data[:cut], 0)
            if self._random.random() < 0.3:  # noqa: PLR2004
                self._fsync(fd, path, data[:cut])
                self.files.may[path] = [
                    Version(f"{self.name} #{self._sequence}, from {cut} bytes", data, cut)
                ]
            write(fd, data[cut:], cut)
            self._close(closing, path, data)

    def _append(self, life: Life) -> None:
        some = self._some()
        if some:
            path, old = some
            self._sequence += 1
            line = f"append {self.name} {self._sequence}\n".encode()
            with Closing(os.open(life.root / path, os.O_WRONLY | os.O_APPEND)) as closing:
                os.write(closing.fd, line)
                if self._random.random() < 0.3:  # noqa: PLR2004
                    self._fsync(closing.fd, path, old.data + line)
                self._close(closing, path, old.data + line)

    def _in_place(self, life: Life) -> None:
        some = self._some()
        if some and some[1].data:
            path, old = some
            self._sequence += 1
            mark = f"<{self.name} {self._sequence}>".encode()
            start = self._random.randrange(len(old.data))
            new = old.data[:start] + mark + old.data[start + len(mark) :]
            with Closing(os.open(life.root / path, os.O_RDWR)) as closing:
                write(closing.fd, mark, start)
                self._close(closing, path, new)

    def _rename(self, life: Life) -> None:
        some = self._some()
        target = self._path()
        if some and some[0] != target:
            path = some[0]
            self.files.moving = (path, target)
            (life.root / path).rename(life.root / target)
            self.files.moving = None
            self.files.acknowledged(target, some[1])
            self.files.acknowledged(path, None)

    def _unlink(self, life: Life) -> None:
        some = self._some()
        if some:
            self.files.issued(some[0], None)
            (life.root / some[0]).unlink()
            self.files.acknowledged(some[0], None)

    def _move(self, life: Life) -> None:
        source = self._folder
        self._sequence += 1
        target = f"{self.name}/d{self._sequence}"
        self.files.moving, self.files.folder_moving = (source, target), True
        life.renaming.set()
        (life.root / source).rename(life.root / target)
        inside = [path for path in self.files.may if path.startswith(source + "/")]
        for path in inside:
            self.files.may[target + path[len(source) :]] = self.files.may.pop(path)
            self.files.acknowledged(path, None)
        self.files.moving, self.files.folder_moving = None, False
        self._folder = target

    def _fsync(self, fd: int, path: str, data: bytes) -> None:
        version = self._version(path, data)
        self.files.issued(path, version)
        os.fsync(fd)
        self.files.acknowledged(path, version)
        self.acknowledged += 1

    def _close(self, closing: "Closing", path: str, data: bytes) -> None:
        version = self._version(path, data)
        self.files.issued(path, version)
        closing.close()
        self.files.acknowledged(path, version)
        self.acknowledged += 1

    def missing(self, objects: dict[str, bytes]) -> list[str]:
        """What the store should have and has not, or has and should not."""
        mine = {key: data for key, data in objects.items() if key.startswith(self.name + "/")}
        files = {key: data for key, data in mine.items() if not key.endswith("/")}
        wrong = [
            f"{path}: not in the store as {may[0].label}"
            for path, may in self.files.may.items()
            if may[0] and not fits(may[0], files.get(path))
        ]
        extra = [key for key in files if self.files.may.get(key, [None]) == [None]]
        return wrong + [f"{key}: in the store, and should not be" for key in extra]


class Closing:
    """A descriptor that is closed once, whatever happens."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._open:
            self._open = False
            os.close(self.fd)

    def close(self) -> None:
        """close(2), with its error."""
        self._open = False
        os.close(self.fd)


def write(fd: int, data: bytes, start: int) -> None:
    """pwrite(2) in pieces."""
    for at in range(0, len(data), CHUNK):
        os.pwrite(fd, data[at : at + CHUNK], start + at)


def read(path: Path) -> bytes | None:
    """The file's bytes, or None."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
