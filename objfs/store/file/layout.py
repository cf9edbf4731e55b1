"""Which folder is a store, and what goes wrong with folders, in our words."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from objfs.errors import (
    Corrupt,
    Forbidden,
    NoSpace,
    NoSuchBucket,
    ObjfsError,
    StoreError,
    Unavailable,
    UsageError,
)

INDEX: Final = "index.sqlite"
BLOBS: Final = "blobs"
SESSIONS: Final = "sessions"
LOCK: Final = "lock"
OURS: Final = frozenset({INDEX, f"{INDEX}-wal", f"{INDEX}-shm", f"{INDEX}-journal"}) | {
    BLOBS,
    SESSIONS,
    LOCK,
}
APPLICATION: Final = 0x6F626A66
"""SQLite's application_id of our index: "objf"."""
FORMAT: Final = 1
"""SQLite's user_version of our index; a store with a higher one is not touched."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def format_of(folder: Path) -> int:
    """The format of the store in `folder`; 0 if none is there, or only a half-made one.

    Read from the header of the database file (https://sqlite.org/fileformat.html section 1.3:
    user_version at byte 60, application_id at 68), so that nothing of a newer store is opened.
    """
    try:
        with (folder / INDEX).open("rb") as file:
            header = file.read(72)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    if len(header) < 72 or int.from_bytes(header[68:72]) != APPLICATION:  # noqa: PLR2004 - the end of application_id
        return 0
    return int.from_bytes(header[60:64])


def admit(folder: Path, *, create: bool) -> bool:
    """Whether `folder` holds a store already; False means that one may be made there.

    Raises `NoSuchBucket` when there is none and `create` is off, and `UsageError` for a folder
    that holds something else, or a store of a newer objfs.
    """
    found = format_of(folder)
    if found > FORMAT:
        raise UsageError(
            f"open the store in {folder}: it has format {found}, this objfs knows {FORMAT}",
            remedy="Use the newer objfs that made it.",
        )
    if found:
        return True
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"open the store in {folder}: it is not a folder")
    foreign = sorted({entry.name for entry in folder.iterdir()} - OURS) if folder.exists() else []
    if foreign:
        raise UsageError(
            f"open the store in {folder}: the folder is not empty and is no store"
            f" (it has {foreign[0]!r})",
            remedy="Name an empty or a new folder, or one that objfs made.",
        )
    if not create:
        raise NoSuchBucket(f"open the store in {folder}: there is none")
    return False


def locate(path: Path) -> tuple[Path, str]:
    """The store that `path` is in, and the key prefix that the rest of the path means.

    The nearest folder upwards that is a store is it; if none is, `path` is the folder to make.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links inside the prefix
    for folder in (path, *path.parents):
        if format_of(folder):
            rest = path.relative_to(folder).as_posix()
            return folder, "" if rest == "." else f"{rest}/"
    return path, ""


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def failing(operation: str, subject: str, folder: Path) -> Iterator[None]:
    """Turn what the system and SQLite raise inside into our errors; ours pass as they are."""
    try:
        yield
    except OSError as error:
        raise _of_system(error, f"{operation} {subject}", folder) from error
    except sqlite3.Error as error:
        raise _of_sqlite(error, f"{operation} {subject}", folder) from error


def _of_system(error: OSError, what: str, folder: Path) -> ObjfsError:
    cause = f"{what}: {error.strerror or error}"
    if error.errno in _FULL:
        return NoSpace(cause, remedy=f"Make room on the disk of {folder}.")
    if error.errno in _DENIED:
        return Forbidden(f"{cause} ({folder})", remedy="Check who owns the folder, and its mode.")
    if error.errno == errno.ENOENT:
        return NoSuchBucket(f"{what}: the store's folder {folder} is gone, or part of it")
    return StoreError(cause)


def _of_sqlite(error: sqlite3.Error, what: str, folder: Path) -> ObjfsError:
    # An extended code carries its primary one in the low byte (https://sqlite.org/rescode.html).
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    cause = f"{what}: the index of {folder}: {error}"
    if code == sqlite3.SQLITE_FULL:
        return NoSpace(cause, remedy=f"Make room on the disk of {folder}.")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return Forbidden(cause, remedy="Check who owns the folder, and its mode.")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Unavailable(cause)
    if code == sqlite3.SQLITE_CANTOPEN:
        gone = not folder.is_dir()
        return NoSuchBucket(cause) if gone else Forbidden(cause)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Corrupt(cause)
    return StoreError(cause)
