"""From what a person types to the daemon that is meant: mount points, and paths inside mounts.

The kernel's table of mounts decides, and no path inside a mount is looked at: its daemon may hang.
"""

import os
import pwd
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from objfs import runtime
from objfs.errors import Forbidden, MountError
from objfs.runtime import Mounted, Record


@dataclass(frozen=True, slots=True)
class Place:
    """A mount, or what is left of one."""

    mountpoint: str
    record: Record
    socket: Path
    mounted: bool
    """Whether the kernel still has it; a daemon that only uploads has no mount any more."""

    @property
    def alive(self) -> bool:
        """Whether its daemon runs."""
        return self.record.alive


def ours() -> dict[str, Mounted]:
    """The mounts of objfs that the kernel has, by mount point."""
    return {at: found for at, found in runtime.mounts().items() if found.fstype == runtime.FSTYPE}


def every_place(*, dead: bool = False) -> list[Place]:
    """All mounts that the caller may ask about; with `dead` also what daemons left that died."""
    table = ours()
    places = [
        Place(record.mountpoint, record, runtime.socket_path(path, record.pid), mounted)
        for path, record in runtime.find_all()
        for mounted in [record.mountpoint in table]
    ]
    return [place for place in places if place.alive or place.mounted or dead]


def place_at(mountpoint: str) -> Place:
    """The mount at (or around) a path. Raises `MountError`, `Forbidden` for another user's."""
    return place_of(mountpoint)[0]


def place_of(path: str, *, dead: bool = False) -> tuple[Place, str]:
    """The mount that a path is in, and its path there, beginning with "/".

    Raises `MountError` for a path in no mount of ours, `Forbidden` for another user's mount.
    """
    places = {place.mountpoint: place for place in every_place(dead=dead)}
    table = ours()
    found = _around(os.path.abspath(path), {*places, *table})  # noqa: PTH100  # ".." must go
    if found is None:
        raise MountError(f"{path} is in no mount of objfs", remedy="objfs status lists the mounts.")
    mountpoint, inside = found
    if mountpoint not in places:
        owner = table[mountpoint].owner
        if owner not in {-1, os.getuid()}:
            raise Forbidden(
                f"{mountpoint} was mounted by {_user(owner)}",
                remedy="Run the command as that user, or as root.",
            )
        raise MountError(
            f"{mountpoint}: {unknown(table[mountpoint])}",
            remedy="objfs umount takes it down from here, too.",
        )
    return places[mountpoint], inside


def _around(path: str, mountpoints: Iterable[str]) -> tuple[str, str] | None:
    """The mount point that a path is below; links above it are followed, none inside it is."""
    points = set(mountpoints)
    here = PurePosixPath("/")
    parts = PurePosixPath(path).parts[1:]
    for at in range(len(parts) + 1):
        if str(here) in points:
            return str(here), "/" + "/".join(parts[at:])
        if at < len(parts):
            here /= parts[at]
            if str(here) not in points and Path(here).is_symlink():
                target = os.path.join(here.parent, os.readlink(here))  # noqa: PTH115, PTH118
                rest = os.path.normpath(os.path.join(target, *parts[at + 1 :]))  # noqa: PTH118
                return _around(rest, points)
    return None


def unknown(mount: Mounted) -> str:
    """Why the daemon of this mount cannot be asked, and who can ask it."""
    if mount.owner in {-1, os.getuid()}:
        return (
            "its daemon left no record in the runtime folder of this session: it was mounted with"
            " another XDG_RUNTIME_DIR; a session with that one can ask it"
        )
    return f"it was mounted by {_user(mount.owner)}, who can ask its daemon"


def _user(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"
