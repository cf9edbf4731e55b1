"""Mounts that a test left behind: found in the kernel's table and taken down."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")
STAT_SECONDS = 3


def objfs_mounts(table: str) -> Iterator[Path]:
    """The mount points of type fuse.objfs in a mountinfo file's text (proc(5)), deepest last."""
    for line in table.splitlines():
        fields, _, source = line.partition(" - ")
        if source.split(" ", 1)[0] == "fuse.objfs":
            yield Path(_unescape(fields.split(" ")[4]))


def _unescape(field: str) -> str:
    """The table writes space, tab, newline and backslash as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def is_dead(mount: Path) -> bool:
    """Is its daemon gone? A live one may belong to another test run, a slow one is not dead.

    A process of its own asks, since a hung mount would hold this one for good.
    """
    try:
        done = subprocess.run(
            ["stat", "-f", mount],
            env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
            timeout=STAT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return False
    return "Transport endpoint is not connected" in done.stderr


def lives(session: Path) -> bool:
    """Is the test run of this temporary folder still going? pytest's lock file has its PID."""
    try:
        pid = int((session / ".lock").read_text())
    except (OSError, ValueError):
        return False
    return Path(f"/proc/{pid}").exists()


def sweep(ours: Path, *, finished: bool) -> list[Path]:
    """Unmounts, lazily, what ended test runs left dead, and when *finished* all below *ours*.

    *ours* is this session's temporary folder. Its siblings belong to other sessions: one that is
    running kills daemons on purpose, and wants to see them dead. Returns what was unmounted.
    """
    swept = []
    for mount in reversed(list(objfs_mounts(MOUNTINFO.read_text()))):
        if mount.is_relative_to(ours):
            wanted = finished or is_dead(mount)
        elif mount.is_relative_to(ours.parent):
            session = ours.parent / mount.relative_to(ours.parent).parts[0]
            wanted = not lives(session) and is_dead(mount)
        else:
            wanted = False
        if wanted:
            subprocess.run(["fusermount3", "-uz", mount], check=False, capture_output=True)
            swept.append(mount)
    return swept
