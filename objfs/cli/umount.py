"""`objfs umount`: unmount, then wait until the daemon has uploaded what it owes."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from objfs import control, runtime
from objfs.cli.values import listing
from objfs.errors import Busy, MountError, ObjfsError
from objfs.runtime import Left, Record

POLL_SECONDS: Final = 0.05

Progress = Callable[[Sequence[Left]], None]
"""Told again and again what is not uploaded yet."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an unmount ended. `problem` is "" when everything is in the store."""

    mountpoint: str
    url: str = ""
    pid: int = 0
    seconds: float = 0.0
    left: tuple[Left, ...] = ()
    problem: str = ""


def umount(mountpoint: str, timeout: float, progress: Progress) -> Outcome:
    """Unmount and wait up to `timeout` seconds for the uploads.

    Raises `MountError` when it is no mount of ours, `Busy` naming who uses it.
    """
    path = os.path.realpath(mountpoint)
    found = runtime.find(path)
    mounted = runtime.mount_at(path)
    if mounted is not None and mounted.fstype == runtime.FSTYPE:
        _unmount(path)
    elif found is None or not found[1].alive:
        what = f"{mounted.source} ({mounted.fstype}) is mounted there" if mounted else ""
        raise MountError(
            f"{path} is not a mount of objfs" + (f": {what}" if what else ""),
            remedy="findmnt -t fuse.objfs lists the ones that are.",
        )
    if found is None:
        return Outcome(
            path,
            url=mounted.source if mounted else "",
            problem="its daemon left no record, so nobody can say whether all files are uploaded",
        )
    return _wait(Outcome(path, found[1].url, found[1].pid), *found, timeout, progress)


def _unmount(path: str) -> None:
    try:
        runtime.unmount(path)
    except Busy:
        users = users_of(path)
        raise Busy(
            f"{path} is in use" + (f" by {listing(users)}" if users else ""),
            remedy=f"End what uses it and try again, or detach it with fusermount3 -uz {path}",
        ) from None


def users_of(mountpoint: str) -> list[str]:
    """The processes with a working folder, program or open file at or below the mount point."""
    users = []
    for folder in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        with contextlib.suppress(OSError):
            if any(_below(mountpoint, link) for link in _links(folder)):
                name = (folder / "comm").read_text(encoding="utf-8", errors="replace").strip()
                users.append(f"process {folder.name} ({name})")
    return users


def _links(folder: Path) -> Iterator[str]:
    """Where the links in one /proc/PID point; read, not followed: a dead mount would answer."""
    for link in [folder / "cwd", folder / "root", folder / "exe", *(folder / "fd").iterdir()]:
        with contextlib.suppress(OSError):
            yield str(link.readlink())


def _below(mountpoint: str, path: str) -> bool:
    return path == mountpoint or path.startswith(mountpoint.rstrip("/") + "/")


def _left(socket: Path, result: Path) -> Sequence[Left]:
    """What the daemon says that is left, else what it wrote last: it may be about to end."""
    try:
        drafts = control.ask_once(socket, "pending", silence=1.0)["drafts"]
    except ObjfsError:
        return runtime.read_left(result)
    return [Left(draft["path"], draft["bytes"], draft["error"]) for draft in drafts]


def _wait(
    outcome: Outcome, path: Path, record: Record, timeout: float, progress: Progress
) -> Outcome:
    begun = time.monotonic()
    result = runtime.result_path(path, record.pid)
    while record.alive and time.monotonic() - begun < timeout:
        progress(_left(runtime.socket_path(path, record.pid), result))
        time.sleep(POLL_SECONDS)
    still = record.alive
    left = runtime.read_left(result)
    outcome = replace(outcome, seconds=round(time.monotonic() - begun, 3), left=left)
    if still:
        return replace(
            outcome,
            problem=f"uploads were not finished after {timeout:g} s; process {record.pid} goes on",
        )
    # A daemon that leaves in good order removes its record.
    died = runtime.read_record(path) == record
    for old in (path, result) if died else (result,):
        old.unlink(missing_ok=True)
    if left:
        kept = f"; they are kept in {record.cache}"
        return replace(outcome, problem=f"files are not uploaded{kept}")
    if died:
        return replace(
            outcome,
            problem=f"its daemon has died; what it had not uploaded is kept in {record.cache}",
        )
    return outcome
