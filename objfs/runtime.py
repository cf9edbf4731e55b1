"""How one objfs process finds and judges another: records, cache locks, the kernel's mounts.

The ground of `objfs.control`, `objfs.daemon` and `objfs.cli`, which meet only here: a daemon writes
its record, and `objfs umount`, another process, finds it. A result file beside the record still
says what is not uploaded when the daemon, and with it its control socket, is gone. No trio, no
store, no file-system logic.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import stat
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from objfs.errors import Busy, CacheInUse, MountError, UsageError

FSTYPE: Final = "fuse.objfs"
"""What /proc/self/mountinfo calls our mounts."""


@dataclass(frozen=True, slots=True)
class Left:
    """A file that is not in the store yet, and the error that its upload met last ("" for none)."""

    path: str
    bytes: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What a running daemon tells about itself. `started` is in clock ticks since the boot."""

    pid: int
    started: int
    mountpoint: str
    url: str
    cache: str
    log: str
    store: Mapping[str, Any] = field(default_factory=dict)
    """The fields of its `StoreConfig` (no secret is among them); {} of an objfs that kept none."""

    @property
    def alive(self) -> bool:
        """Whether that very process still runs (a PID alone may have been given to another)."""
        return start_time(self.pid) == self.started


def start_time(pid: int) -> int:
    """When the process began, in clock ticks since the boot; -1 when there is none (or a zombie).

    Field 22 of /proc/PID/stat, see proc(5); the second field may hold spaces and brackets.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return -1
    fields = text.rpartition(")")[2].split()
    return -1 if fields[0] in "ZX" else int(fields[19])


def records_folder(uid: int | None = None) -> Path:
    """Where a user's daemons leave their records; it may not exist.

    Not platformdirs: without $XDG_RUNTIME_DIR that falls back to a folder of another name than
    a login session's, and `umount` in the session would not find what fstab mounted.
    """
    me = os.getuid()
    uid = me if uid is None else uid
    given = os.environ.get("XDG_RUNTIME_DIR") if uid == me else None
    session = Path(given or f"/run/user/{uid}")
    return session / "objfs" if session.is_dir() else Path(f"/tmp/objfs-{uid}")  # noqa: S108  # owner and mode are checked


def private_folder(path: Path) -> None:
    """Make the folder with mode 0700. Raises `MountError` when another user owns it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise MountError(
            f"the folder {path} belongs to somebody else", remedy="Remove it, or choose another."
        )
    if stat.S_IMODE(found.st_mode) != 0o700:  # noqa: PLR2004  # the mode above
        path.chmod(0o700)


def record_path(folder: Path, mountpoint: str) -> Path:
    """The record of the daemon that serves `mountpoint` (a real path)."""
    return folder / f"{hashlib.sha256(os.fsencode(mountpoint)).hexdigest()[:16]}.json"


def result_path(record: Path, pid: int) -> Path:
    """Beside a record: what that daemon has not uploaded.

    Why the PID: another mount may take the place while this daemon still uploads.
    """
    return record.with_suffix(f".{pid}.result")


def socket_path(record: Path, pid: int) -> Path:
    """Beside a record: where that daemon takes commands. A PID for the reason above."""
    return record.with_suffix(f".{pid}.sock")


def read_record(path: Path) -> Record | None:
    """The record, or None when there is none that can be read."""
    try:
        return Record(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def read_left(path: Path) -> tuple[Left, ...]:
    """What a result file lists; nothing when there is none."""
    try:
        return tuple(Left(**item) for item in json.loads(path.read_bytes())["left"])
    except (OSError, ValueError, TypeError, KeyError):
        return ()


def write_json(path: Path, value: object) -> None:
    """Replace the file in one step, so that a reader never sees half of it."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value), encoding="utf-8")
    partial.replace(path)


def write_left(path: Path, left: Sequence[Left]) -> None:
    """Replace the result file."""
    write_json(path, {"left": [asdict(item) for item in left]})


def register(path: Path, record: Record) -> None:
    """Write the record, and clear away the results and sockets of daemons that are gone."""
    for kind in ("result", "sock"):
        for old in path.parent.glob(f"{path.stem}.*.{kind}"):
            if start_time(int(old.name.split(".")[1])) < 0:
                old.unlink(missing_ok=True)
    write_json(path, asdict(record))


def find(mountpoint: str) -> tuple[Path, Record] | None:
    """The record of the daemon that serves a mount point (or did: it may be dead), and its path."""
    return next(
        (found for folder in _folders() if (found := _trusted(record_path(folder, mountpoint)))),
        None,
    )


def find_all() -> list[tuple[Path, Record]]:
    """Every record that the caller may use, also of daemons that died, by mount point."""
    found: dict[str, tuple[Path, Record]] = {}
    for folder in _folders():
        with contextlib.suppress(OSError):
            for path in sorted(folder.glob("*.json")):
                trusted = _trusted(path)
                if trusted:
                    found.setdefault(trusted[1].mountpoint, trusted)
    return [found[mountpoint] for mountpoint in sorted(found)]


def _trusted(path: Path) -> tuple[Path, Record] | None:
    # /tmp is everybody's: a link, or a file of somebody else, could name any process.
    with contextlib.suppress(OSError):
        if path.lstat().st_uid == path.parent.lstat().st_uid:
            record = read_record(path)
            return (path, record) if record else None
    return None


def _folders() -> Iterator[Path]:
    """The caller's first; root also looks into everybody else's, whose mount(8) may have run."""
    yield records_folder()
    yield Path(f"/run/user/{os.getuid()}/objfs")
    yield Path(f"/tmp/objfs-{os.getuid()}")  # noqa: S108  # the owner is checked
    if os.getuid() == 0:
        yield from Path("/run/user").glob("*/objfs")
        yield from Path("/tmp").glob("objfs-*")  # noqa: S108  # the owner is checked


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Own the cache folder (made if missing, mode 0700) until the block ends.

    Raises `CacheInUse` naming the process that owns it, `UsageError` for a folder that holds
    something else: eviction would delete it.
    """
    path = Path(folder)
    try:
        if path.is_dir() and not (path / "lock").exists() and any(path.iterdir()):
            raise UsageError(
                f"the cache folder {folder} holds files that are not a cache",
                remedy="Give --cache-dir an empty folder, or one that does not exist.",
            )
        private_folder(path)
        fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise MountError(
            f"the cache folder {folder} cannot be used: {error.strerror}",
            remedy="Choose another with --cache-dir.",
        ) from error
    try:
        _lock(fd, folder)
        yield
    finally:
        os.close(fd)


def _lock(fd: int, folder: str) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
        raise CacheInUse(
            f"the cache folder {folder} is in use by process {owner}",
            remedy="Unmount that one, or give this mount a folder of its own with --cache-dir.",
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)


# --- the kernel's table of mounts ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mounted:
    """One line of /proc/self/mountinfo, as far as it matters here."""

    mountpoint: str
    fstype: str
    source: str
    owner: int = -1
    """The user who mounted it (FUSE's option user_id), -1 for none."""
    device: str = ""
    """MAJOR:MINOR, which no other mount has while this one lives, even detached."""


def mounts(table: Path = Path("/proc/self/mountinfo")) -> dict[str, Mounted]:
    """What is mounted where: at each mount point the topmost. See proc(5), mountinfo."""
    found: dict[str, Mounted] = {}
    for line in table.read_bytes().splitlines():
        left, _, right = line.partition(b" - ")
        # The kernel writes space, tab, newline and backslash as octal escapes.
        point, (kind, source, *options) = os.fsdecode(_unescape(left.split()[4])), right.split()
        owner = re.search(rb"\buser_id=(\d+)", options[0] if options else b"")
        found[point] = Mounted(
            point,
            kind.decode(),
            os.fsdecode(_unescape(source)),
            int(owner[1]) if owner else -1,
            left.split()[2].decode(),
        )
    return found


def mount_at(path: str, table: Path = Path("/proc/self/mountinfo")) -> Mounted | None:
    """What is mounted at exactly this real path: the topmost, or None."""
    return mounts(table).get(path)


def _unescape(field: bytes) -> bytes:
    head, *rest = field.split(b"\\")
    return head + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in rest)


def unmount(mountpoint: str, *, lazy: bool = False) -> None:
    """Run fusermount3 -u. Raises `Busy` when something uses the mount, else `MountError`."""
    command = ["fusermount3", "-u", *(["-z"] if lazy else []), "--", mountpoint]
    try:
        # A session of its own: Ctrl-C in the terminal must not kill it half way.
        done = subprocess.run(  # noqa: S603  # no shell; the path stands behind "--"
            command,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )
    except OSError as error:
        raise MountError(f"fusermount3 cannot be run: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.strip().removeprefix("fusermount3: ")
        if "busy" in said:
            raise Busy(f"{mountpoint} is in use")
        raise MountError(f"{mountpoint} cannot be unmounted: {said}")
