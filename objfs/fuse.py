"""The kernel's side: pyfuse3's requests to `FileSystem`'s verbs, our values to its attributes.

A protocol adapter only. Here, and nowhere else, an error becomes an errno. pyfuse3 ends its main
loop, and leaves a dead mount behind, when a handler raises anything but `FUSEError`; so anything
unexpected is logged with its traceback and answered with EIO (PROMISES P24).

What the kernel caches is the fastest answer there is: names and attributes are given as long as the
tree believes them, absences too, and a file's pages are kept as long as its version is the same.

Invalidations may block until a request that is under way has been answered (libfuse,
fuse_lowlevel_notify_inval_entry), so they are sent by a task of their own from a thread.
"""

import errno
import functools
import logging
import os
import stat
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pyfuse3
import trio
from pyfuse3 import EntryAttributes, FileInfo, FUSEError, ReaddirToken, RequestContext

from objfs.config import MountConfig
from objfs.errors import FuseMissing, MountError, NotFound, ObjfsError
from objfs.filesystem import FileSystem
from objfs.tree.nodes import Changes
from objfs.tree.tree import Invalidate
from objfs.types import Fh, Ino, Kind, Stat

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

TASKS = 500
"""Requests served at once; the kernel itself allows more only when told so."""
BLOCK_SIZE = 128 * 1024
"""st_blksize: what cp and others then use as their buffer, one FUSE request each."""
READ_AHEAD_KIB = 1024
SPACE = 2**50
"""A bucket has no end: statfs shows 1 PiB free, beside what the store says is used."""


def answers_errno(
    handler: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[P, Coroutine[Any, Any, T]]:
    """Turn what a handler raises into what the kernel is told."""

    @functools.wraps(handler)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await handler(*args, **kwargs)
        except ObjfsError as error:
            _say(handler.__name__, error)
            raise FUSEError(error.errno) from error
        except FUSEError:
            raise
        except OSError as error:
            log.exception("%s: the local disk failed", handler.__name__)
            raise FUSEError(error.errno or errno.EIO) from error
        except Exception as error:
            log.exception("%s failed in a way that nobody foresaw", handler.__name__)
            raise FUSEError(errno.EIO) from error

    return wrapper


_USUAL = {
    errno.ENOENT,
    errno.EEXIST,
    errno.ENOTEMPTY,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EROFS,
    errno.EINVAL,
    errno.ENAMETOOLONG,
    errno.EILSEQ,
    errno.EBADF,
}
"""What a program may well expect; anything else is worth a line in the log."""


def _say(verb: str, error: ObjfsError) -> None:
    again = verb == "open" and error.errno == errno.ESTALE  # the kernel looks the name up anew
    level = logging.DEBUG if again or error.errno in _USUAL else logging.WARNING
    log.log(level, "%s: %s [%s]", verb, error, errno.errorcode.get(error.errno, error.errno))


class Operations(pyfuse3.Operations):
    """One mount's handlers; each is its verb and nothing more."""

    supports_dot_lookup = False
    enable_writeback_cache = False

    def __init__(self, filesystem: FileSystem) -> None:
        super().__init__()
        self._fs = filesystem
        self._ttl = filesystem.ttl
        self._cached: dict[int, int] = {}
        """Which content of each inode the kernel may hold pages of."""

    @answers_errno
    async def lookup(self, parent_inode: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        try:
            return attributes(await self._fs.lookup(Ino(parent_inode), name))
        except NotFound:
            absent = EntryAttributes()  # inode 0: a name that does not exist, worth remembering
            absent.st_ino = 0
            absent.entry_timeout = self._ttl
            return absent

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        try:
            self._fs.forget([(Ino(ino), count) for ino, count in inode_list])
        except Exception:
            # nobody takes an answer to this one: not even a FUSEError may leave here
            log.exception("forget failed in a way that nobody foresaw")
        for ino, _ in inode_list:
            if not self._fs.known(Ino(ino)):
                self._cached.pop(ino, None)

    @answers_errno
    async def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        return attributes(await self._fs.getattr(Ino(inode)))

    @answers_errno
    async def setattr(
        self,
        inode: int,
        attr: EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        changes = Changes(
            mode=stat.S_IMODE(attr.st_mode) if fields.update_mode else None,
            uid=attr.st_uid if fields.update_uid else None,
            gid=attr.st_gid if fields.update_gid else None,
            mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
            atime_ns=attr.st_atime_ns if fields.update_atime else None,
        )
        size = attr.st_size if fields.update_size else None
        handle = Fh(fh) if fh is not None else None
        return attributes(await self._fs.setattr(Ino(inode), changes, size, handle))

    @answers_errno
    async def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: RequestContext
    ) -> EntryAttributes:
        mode = stat.S_IMODE(mode) & ~ctx.umask
        return attributes(await self._fs.mkdir(Ino(parent_inode), name, mode, (ctx.uid, ctx.gid)))

    @answers_errno
    async def unlink(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        await self._fs.unlink(Ino(parent_inode), name)

    @answers_errno
    async def rmdir(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        await self._fs.rmdir(Ino(parent_inode), name)

    @answers_errno
    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: RequestContext,
    ) -> None:
        await self._fs.rename(
            Ino(parent_inode_old), name_old, Ino(parent_inode_new), name_new, flags
        )

    @answers_errno
    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        if not stat.S_ISREG(mode):
            raise FUSEError(errno.EPERM)  # mknod(2): the file system has no such files
        flags = os.O_WRONLY | os.O_EXCL
        owner = (ctx.uid, ctx.gid)
        mode = stat.S_IMODE(mode) & ~ctx.umask
        fh, found = await self._fs.create(Ino(parent_inode), name, mode, flags, owner)
        try:
            await self._fs.flush(fh)
        finally:
            await self._fs.release(fh)
        return attributes(found)

    @answers_errno
    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        mode = stat.S_IMODE(mode) & ~ctx.umask
        owner = (ctx.uid, ctx.gid)
        fh, found = await self._fs.create(Ino(parent_inode), name, mode, flags, owner)
        return self._opened(found.ino, fh), attributes(found)

    @answers_errno
    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        fh = await self._fs.open(Ino(inode), flags)
        return self._opened(Ino(inode), fh)

    @answers_errno
    async def read(self, fh: int, off: int, size: int) -> Any:
        return await self._fs.read(Fh(fh), off, size)

    @answers_errno
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        return await self._fs.write(Fh(fh), off, buf)

    @answers_errno
    async def flush(self, fh: int) -> None:
        await self._fs.flush(Fh(fh))

    @answers_errno
    async def fsync(self, fh: int, datasync: bool) -> None:  # noqa: FBT001  # pyfuse3's signature
        await self._fs.fsync(Fh(fh))

    @answers_errno
    async def release(self, fh: int) -> None:
        await self._fs.release(Fh(fh))

    @answers_errno
    async def opendir(self, inode: int, ctx: RequestContext) -> int:
        return await self._fs.opendir(Ino(inode))

    @answers_errno
    async def readdir(self, fh: int, start_id: int, token: ReaddirToken) -> None:
        def emit(name: bytes, found: Stat, behind: int) -> bool:
            return pyfuse3.readdir_reply(token, name, attributes(found), behind)

        await self._fs.readdir(Fh(fh), start_id, emit)

    @answers_errno
    async def releasedir(self, fh: int) -> None:
        await self._fs.releasedir(Fh(fh))

    @answers_errno
    async def fsyncdir(self, fh: int, datasync: bool) -> None:  # noqa: FBT001  # pyfuse3's signature
        """Names are in the store before the call that made them returns: nothing is left to do."""

    @answers_errno
    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        used = await self._fs.space.used()
        data = pyfuse3.StatvfsData()
        data.f_bsize = BLOCK_SIZE
        data.f_frsize = 4096
        data.f_bfree = data.f_bavail = SPACE // data.f_frsize
        data.f_blocks = data.f_bfree + -(-used.bytes // data.f_frsize)
        data.f_ffree = data.f_favail = 2**40
        data.f_files = data.f_ffree + used.objects
        data.f_namemax = 255
        return data

    @answers_errno
    async def access(self, inode: int, mode: int, ctx: RequestContext) -> bool:
        # the kernel checks the mode itself (default_permissions); this one is asked for existence
        await self._fs.getattr(Ino(inode))
        return True

    def _opened(self, ino: Ino, fh: Fh) -> FileInfo:
        content = self._fs.content(fh)
        keep = self._cached.get(ino) == content
        self._cached[ino] = content
        return FileInfo(fh=fh, keep_cache=keep)


def attributes(found: Stat) -> EntryAttributes:
    """Our attributes as pyfuse3's."""
    entry = EntryAttributes()
    entry.st_ino = found.ino
    directory = found.kind is Kind.DIRECTORY
    entry.st_mode = (stat.S_IFDIR if directory else stat.S_IFREG) | found.mode
    entry.st_nlink = 1  # for a directory: the number is not known (find(1), -noleaf)
    entry.st_uid, entry.st_gid = found.uid, found.gid
    entry.st_size = found.size
    entry.st_blocks = -(-found.size // 512)
    entry.st_blksize = BLOCK_SIZE
    entry.st_mtime_ns, entry.st_ctime_ns = found.mtime_ns, found.ctime_ns
    entry.st_atime_ns = found.atime_ns
    entry.entry_timeout = entry.attr_timeout = found.ttl
    return entry


def mount(filesystem: FileSystem, config: MountConfig, source: str) -> None:
    """Make the kernel mount, shown as `source` of type fuse.objfs. Raises `MountError`."""
    options = set(pyfuse3.default_options)
    options |= {f"fsname={source.replace(',', '%2C')}", "subtype=objfs"}
    if config.read_only:
        options.add("ro")
    if config.allow_other:
        options.add("allow_other")
    try:
        pyfuse3.init(Operations(filesystem), config.mountpoint, options)
    except RuntimeError as error:
        if not os.path.exists("/dev/fuse"):  # noqa: PTH110  # before trio runs
            raise FuseMissing("there is no /dev/fuse", remedy="Load the fuse module") from error
        raise MountError(
            f"{config.mountpoint}: the mount was refused",
            remedy="Look at what fusermount3 wrote above; allow_other needs user_allow_other "
            "in /etc/fuse.conf",
        ) from error


async def _widen_read_ahead(mountpoint: str) -> None:
    """Let the kernel ask for 1 MiB at a time where it reads on.

    128 KiB is its default (VM_READAHEAD_PAGES). Measured on a cold read of 1 GiB from radosgw: the
    median of four rounds fell from 4.8 to 3.2 s, and the daemon's CPU from 2.9 to 2.0 s. Only root
    may say so (sysfs, class bdi); for others it stays as it is.
    """

    def widen() -> None:
        device = Path(mountpoint).stat().st_dev
        setting = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
        setting.write_text(str(READ_AHEAD_KIB))

    try:
        await trio.to_thread.run_sync(widen, abandon_on_cancel=True)
    except OSError as error:
        log.debug("the kernel's read-ahead stays as it is: %s", error)


async def serve(changes: trio.MemoryReceiveChannel[Invalidate], mountpoint: str) -> None:
    """Answer the kernel until the file system is unmounted."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_invalidate, changes)
        nursery.start_soon(_widen_read_ahead, mountpoint)
        await pyfuse3.main(max_tasks=TASKS)
        nursery.cancel_scope.cancel()


def stop() -> None:
    """Make `serve` return, from the trio thread."""
    pyfuse3.terminate()


def unmount(*, there: bool) -> None:
    """End the kernel session, and take the mount off its place where it still is `there`."""
    pyfuse3.close(unmount=there)


async def _invalidate(changes: trio.MemoryReceiveChannel[Invalidate]) -> None:
    async for change in changes:
        await trio.to_thread.run_sync(_tell_kernel, change, abandon_on_cancel=True)


def _tell_kernel(change: Invalidate) -> None:
    try:
        if change.name is None:
            pyfuse3.invalidate_inode(change.ino, attr_only=True)
        else:
            pyfuse3.invalidate_entry(change.ino, change.name)
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ENOTCONN, errno.EBADF}:
            # ENOENT: the kernel did not know it any more; the others: the mount is going away
            log.warning("the kernel refused to forget %r: %s", change, error)
