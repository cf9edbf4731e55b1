"""Drafts out of a cache folder, whatever became of their daemon: dead, alive, the journal damaged.

Reads only. Rows are read one by one, so that a damaged page costs the rows on it and no others; a
draft whose row cannot be read is known by its number.
"""

import contextlib
import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from objfs.errors import NotFound


@dataclass(frozen=True, slots=True)
class Found:
    """A draft in the spool."""

    number: int
    file: Path
    size: int
    key: str | None
    """None when the journal has no row that can be read: nobody was promised anything, unless
    the journal is damaged."""
    mtime_ns: int = 0


@dataclass(frozen=True, slots=True)
class Salvage:
    """What a cache folder holds."""

    drafts: list[Found]
    problem: str = ""
    """What is wrong with the journal, "" for nothing."""
    live: bool = False
    """Whether a daemon uses the folder at this moment."""


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Salvage]:
    """What the folder holds; while the block runs no daemon can begin with it.

    Raises `NotFound` for a folder that is no cache.
    """
    spool = folder / "spool"
    if not spool.is_dir():
        raise NotFound(
            f"{folder} is no cache folder of objfs: it has no spool",
            remedy="objfs mount prints the folder with --json; the log names it, too.",
        )
    with contextlib.ExitStack() as stack:
        live = not _locked(stack, folder / "lock")
        rows, problem = _rows(folder, [int(name) for name in _numbers(spool)], live=live)
        drafts = []
        for name in _numbers(spool):
            with contextlib.suppress(FileNotFoundError):  # stored at this moment
                key, mtime_ns = rows.get(int(name), (None, 0))
                size = (spool / name).stat().st_size
                drafts.append(Found(int(name), spool / name, size, key, mtime_ns))
        yield Salvage(_newest(drafts), problem, live)


def _numbers(spool: Path) -> list[str]:
    return sorted((path.name for path in spool.iterdir() if path.name.isdecimal()), key=int)


def _newest(drafts: list[Found]) -> list[Found]:
    """Of a key's drafts the newest counts, as in recovery."""
    last = {draft.key: draft.number for draft in drafts}
    return [draft for draft in drafts if draft.key is None or last[draft.key] == draft.number]


def _locked(stack: contextlib.ExitStack, path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    stack.callback(os.close, fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _rows(
    folder: Path, numbers: list[int], *, live: bool
) -> tuple[dict[int, tuple[str, int]], str]:
    """Key and time by number, as far as they can be read, and what was wrong."""
    rows: dict[int, tuple[str, int]] = {}
    problem = ""
    with tempfile.TemporaryDirectory(prefix="objfs-") as copy:
        # A copy: to read a log that a crash left, SQLite would write. Beside a live daemon it only
        # reads, and a copy would be torn.
        place = folder if live else Path(copy)
        if not live:
            for name in ("journal.db", "journal.db-wal"):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copy(folder / name, copy)
        if not (place / "journal.db").exists():
            return {}, "the journal is missing"
        mode = "?mode=ro" if live else ""
        with contextlib.closing(
            sqlite3.connect(f"{(place / 'journal.db').as_uri()}{mode}", uri=True)
        ) as db:
            db.text_factory = lambda data: data.decode("utf-8", "replace")
            for number in numbers:
                try:
                    row = db.execute(
                        "SELECT key, mtime_ns FROM draft WHERE number = ?", (number,)
                    ).fetchone()
                except sqlite3.Error as error:
                    problem = f"the journal is damaged ({error})"
                else:
                    if row:
                        rows[number] = str(row[0]), int(row[1])
    return rows, problem


def copy_out(draft: Found, target: Path) -> None:
    """Copy a draft to a new file, durably. Raises `OSError`; then there is no file."""
    with draft.file.open("rb") as source:
        target.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb") as file:  # noqa: PTH123  # a descriptor
                shutil.copyfileobj(source, file, 2**20)
                file.flush()
                os.fsync(fd)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    if draft.mtime_ns:
        os.utime(target, ns=(draft.mtime_ns, draft.mtime_ns))
