"""Checks of the mount point and of FUSE, before anything is started."""

import errno
import os
import shutil
import stat
from pathlib import Path

from objfs.config import Config, MountConfig
from objfs.errors import FuseMissing, MountError, UsageError
from objfs.runtime import mount_at

DEVICE = Path("/dev/fuse")
FUSE_CONF = Path("/etc/fuse.conf")


def check_fuse(device: Path = DEVICE, search: str | None = None) -> None:
    """Raise `FuseMissing` unless the device and fusermount3 are here.

    `search` is a PATH to look in, the environment's by default.
    """
    if not device.exists():
        raise FuseMissing(
            f"{device} does not exist, so this machine cannot mount with FUSE",
            remedy="Load it with modprobe fuse; in a container add --device /dev/fuse"
            " --cap-add SYS_ADMIN.",
        )
    if not os.access(device, os.R_OK | os.W_OK):
        raise FuseMissing(
            f"{device} cannot be opened for reading and writing",
            remedy="Ask for the permission (chmod 666, or the group fuse).",
        )
    if shutil.which("fusermount3", path=search) is None:
        raise FuseMissing(
            "fusermount3 is not installed", remedy="Install the package fuse3 of your system."
        )


def check_mountpoint(path: str) -> None:
    """Raise `MountError` unless `path` (a real path) is an empty folder with nothing mounted."""
    mounted = mount_at(path)
    try:
        found = os.stat(path)  # noqa: PTH116  # its OSError is the answer
        if mounted is not None and mounted.fstype.startswith("fuse"):
            # The kernel answers stat of a dead mount's root from its cache, but not statvfs.
            os.statvfs(path)
    except OSError as error:
        raise _unusable(path, error) from None
    if mounted is not None and mounted.fstype != "autofs":
        raise MountError(
            f"the mountpoint {path} is taken: {mounted.source} ({mounted.fstype}) is mounted there",
            remedy="Unmount that first, or choose another folder.",
        )
    if not stat.S_ISDIR(found.st_mode):
        raise MountError(f"the mountpoint {path} is not a folder", remedy="Choose an empty folder.")
    # Listing an autofs trigger (fstab's x-systemd.automount) would wait for this very mount.
    if mounted is None:
        _check_empty(path)


def check_outside(config: Config, log: str) -> None:
    """Raise `UsageError` when the mount would cover a path that its own daemon works on.

    The daemon would ask the kernel, which would ask the daemon: a deadlock.
    """
    mountpoint = Path(config.mount.mountpoint)
    paths = {"the cache folder": config.cache.folder, "the log file": log}
    if config.store.scheme == "file":
        paths["the store"] = config.store.bucket
    for what, path in paths.items():
        if path and Path(os.path.realpath(path)).is_relative_to(mountpoint):
            raise UsageError(
                f"{what} {path} lies in the mountpoint {mountpoint}, which would hide it",
                remedy="Choose another place for one of them.",
            )


def _check_empty(path: str) -> None:
    try:
        entries = os.listdir(path)  # noqa: PTH208  # names are all that is needed
    except OSError as error:
        raise _unusable(path, error) from None
    if entries:
        count = "one entry" if len(entries) == 1 else f"{len(entries)} entries"
        raise MountError(
            f"the mountpoint {path} is not empty ({count}), and the mount would hide that",
            remedy="Choose an empty folder.",
        )


def _unusable(path: str, error: OSError) -> MountError:
    match error.errno:
        case errno.ENOENT:
            return MountError(
                f"the mountpoint {path} does not exist", remedy=f"Create it with mkdir -p {path}"
            )
        case errno.ENOTDIR:
            return MountError(f"the mountpoint {path} is below something that is not a folder")
        case errno.ENOTCONN:
            return MountError(
                f"the mountpoint {path} is a dead mount: the program that served it is gone",
                remedy=f"Clear it with fusermount3 -uz {path}",
            )
        case _:
            return MountError(f"the mountpoint {path} cannot be used: {error.strerror}")


def check_allow_other(config: MountConfig, conf: Path = FUSE_CONF) -> None:
    """Raise `MountError` when fusermount3 would refuse --allow-other to this user."""
    if not config.allow_other or os.geteuid() == 0:
        return
    try:
        lines = conf.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    if "user_allow_other" not in [line.strip() for line in lines]:
        raise MountError(
            "--allow-other is for root only on this machine",
            remedy=f"Add the line user_allow_other to {conf}, or leave the option out.",
        )
