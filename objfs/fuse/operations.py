"""pyfuse3's requests to `FileSystem`'s verbs, our values to its attributes.

A protocol adapter only. Here, and nowhere else, an error becomes an errno. pyfuse3 ends its main
loop, and leaves a dead mount behind, when a handler raises anything but `FUSEError`; so anything
unexpected is logged with its traceback and answered with EIO (PROMISES P24).

What the kernel caches is the fastest answer there is: names and attributes are given as long as the
tree believes them, absences too, and a file's pages are kept as long as its version is the same.

A request that waits for the store ends early when a signal comes (`interrupts`): what only asks is
cancelled, what changes something goes on without its caller.
"""

import errno
import functools
import logging
import os
import stat
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from typing import Any, ParamSpec, TypeVar

import pyfuse3
import trio
from pyfuse3 import EntryAttributes, FileInfo, FUSEError, ReaddirToken, RequestContext

from objfs.errors import BadCredentials, NotFound, ObjfsError
from objfs.filesystem import FileSystem
from objfs.fuse.repeats import Repeats
from objfs.interrupts import Calls, Changes, asking
from objfs.tree.nodes import Changes as AttributeChanges
from objfs.types import Fh, Ino, Kind, Stat

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

BLOCK_SIZE = 128 * 1024
"""st_blksize: what cp and others then use as their buffer, one FUSE request each."""
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
    errno.EINTR,
}
"""What a program may well expect; anything else is worth a line in the log."""


def _say(verb: str, error: ObjfsError) -> None:
    again = verb == "open" and error.errno == errno.ESTALE  # the kernel looks the name up anew
    said = isinstance(error, BadCredentials)  # once, by the bucket
    level = logging.DEBUG if again or said or error.errno in _USUAL else logging.WARNING
    log.log(level, "%s: %s [%s]", verb, error, errno.errorcode.get(error.errno, error.errno))


class Operations(pyfuse3.Operations):
    """One mount's handlers; each is its verb and nothing more."""

    supports_dot_lookup = False
    enable_writeback_cache = False

    def __init__(self, filesystem: FileSystem, calls: Calls, changes: Changes) -> None:
        super().__init__()
        self._fs = filesystem
        self._calls = calls
        self._changing = changes.changing
        self._repeats = Repeats()
        self._openers: dict[int, int] = {}
        """The thread that opened each handle; requests on handles do not name theirs."""
        self._cached: dict[int, int] = {}
        """Which content of each inode the kernel may hold pages of."""

    @answers_errno
    async def lookup(self, parent_inode: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        try:
            lookup = functools.partial(self._fs.lookup, Ino(parent_inode), name)
            if self._fs.knows(Ino(parent_inode), name):
                return attributes(await lookup())
            asked = self._once((parent_inode, name), ctx.pid, lookup)
            return attributes(await asked)
        except NotFound:
            absent = EntryAttributes()  # inode 0: a name that does not exist, worth remembering
            absent.st_ino = 0
            absent.entry_timeout = self._fs.absent_for(Ino(parent_inode), name)
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
        found = self._fs.getattr(Ino(inode))
        if not self._fs.believes(Ino(inode)):
            found = asking(self._calls, ctx.pid, found)
        return attributes(await found)

    @answers_errno
    async def setattr(
        self,
        inode: int,
        attr: EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        changes = AttributeChanges(
            mode=stat.S_IMODE(attr.st_mode) if fields.update_mode else None,
            uid=attr.st_uid if fields.update_uid else None,
            gid=attr.st_gid if fields.update_gid else None,
            mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
            atime_ns=attr.st_atime_ns if fields.update_atime else None,
        )
        size = attr.st_size if fields.update_size else None
        handle = Fh(fh) if fh is not None else None

        def change() -> Awaitable[Stat]:
            return self._fs.setattr(Ino(inode), changes, size, handle)

        if size is None:
            return attributes(await change())

        def late(_: Stat | None) -> None:
            self._fs.doubt(Ino(inode))

        what = f"truncate of inode {inode}"
        return attributes(await self._changing(ctx.pid, what, change, late=late))

    @answers_errno
    async def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: RequestContext
    ) -> EntryAttributes:
        mode = stat.S_IMODE(mode) & ~ctx.umask

        def make() -> Awaitable[Stat]:
            return self._fs.mkdir(Ino(parent_inode), name, mode, (ctx.uid, ctx.gid))

        return attributes(await self._naming(ctx.pid, "mkdir", make, (parent_inode, name)))

    @answers_errno
    async def unlink(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        unlink = functools.partial(self._fs.unlink, Ino(parent_inode), name)
        await self._naming(ctx.pid, "unlink", unlink, (parent_inode, name))

    @answers_errno
    async def rmdir(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        rmdir = functools.partial(self._fs.rmdir, Ino(parent_inode), name)
        await self._naming(ctx.pid, "rmdir", rmdir, (parent_inode, name))

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
        old, new = Ino(parent_inode_old), Ino(parent_inode_new)
        rename = functools.partial(self._fs.rename, old, name_old, new, name_new, flags)
        await self._naming(ctx.pid, "rename", rename, (old, name_old), (new, name_new))

    @answers_errno
    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        if not stat.S_ISREG(mode):
            raise FUSEError(errno.EPERM)  # mknod(2): the file system has no such files
        flags = os.O_WRONLY | os.O_EXCL
        owner = (ctx.uid, ctx.gid)
        mode = stat.S_IMODE(mode) & ~ctx.umask

        async def make() -> Stat:
            fh, found = await self._fs.create(Ino(parent_inode), name, mode, flags, owner)
            try:
                await self._fs.flush(fh)
            finally:
                await self._fs.release(fh)
            return found

        return attributes(await self._naming(ctx.pid, "mknod", make, (parent_inode, name)))

    @answers_errno
    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        mode = stat.S_IMODE(mode) & ~ctx.umask
        owner = (ctx.uid, ctx.gid)
        made = self._fs.create(Ino(parent_inode), name, mode, flags, owner)
        fh, found = await asking(self._calls, ctx.pid, made)
        self._openers[fh] = ctx.pid
        return self._opened(found.ino, fh), attributes(found)

    @answers_errno
    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        fh = await asking(self._calls, ctx.pid, self._fs.open(Ino(inode), flags))
        self._openers[fh] = ctx.pid
        return self._opened(Ino(inode), fh)

    @answers_errno
    async def read(self, fh: int, off: int, size: int) -> Any:
        if self._fs.contents.at_hand(Fh(fh), off, size):
            return await self._fs.read(Fh(fh), off, size)
        read = functools.partial(self._fs.read, Fh(fh), off, size)
        return await self._once(fh, self._openers.get(fh, 0), read, family=True)

    @answers_errno
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        if self._fs.contents.is_writable_now(Fh(fh)):
            return await self._fs.write(Fh(fh), off, buf)
        # until the draft has what the file held; the bytes themselves go there in one step
        return await self._asking(fh, self._fs.write(Fh(fh), off, buf))

    @answers_errno
    async def flush(self, fh: int) -> None:
        await self._saving(fh, "close", self._fs.flush)

    @answers_errno
    async def fsync(self, fh: int, datasync: bool) -> None:  # noqa: FBT001  # pyfuse3's signature
        await self._saving(fh, "fsync", self._fs.fsync)

    @answers_errno
    async def release(self, fh: int) -> None:
        self._openers.pop(fh, None)
        await self._fs.release(Fh(fh))

    @answers_errno
    async def opendir(self, inode: int, ctx: RequestContext) -> int:
        fh = await self._fs.opendir(Ino(inode))
        self._openers[fh] = ctx.pid
        return fh

    @answers_errno
    async def readdir(self, fh: int, start_id: int, token: ReaddirToken) -> None:
        shown = 0

        def emit(name: bytes, found: Stat, behind: int) -> bool:
            nonlocal shown
            taken = pyfuse3.readdir_reply(token, name, attributes(found), behind)
            shown += taken
            return taken

        try:
            await self._asking(fh, self._fs.readdir(Fh(fh), start_id, emit))
        except ObjfsError as error:
            # an error would take back what was shown, and the references that came with it
            if not shown:
                raise
            _say("readdir", error)

    @answers_errno
    async def releasedir(self, fh: int) -> None:
        self._openers.pop(fh, None)
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
        await asking(self._calls, ctx.pid, self._fs.getattr(Ino(inode)))
        return True

    async def _once(
        self,
        question: Hashable,
        caller: int,
        work: Callable[[], Awaitable[T]],
        *,
        family: bool = False,
    ) -> T:
        """Ask, unless the same has failed just now."""
        self._repeats.check(question, trio.current_time())
        try:
            return await asking(self._calls, caller, work(), family=family)
        except ObjfsError as error:
            self._repeats.note(question, error, trio.current_time())
            raise

    def _asking(self, fh: int, work: Awaitable[T]) -> Awaitable[T]:
        return asking(self._calls, self._openers.get(fh, 0), work, family=True)

    async def _saving(self, fh: int, verb: str, save: Callable[[Fh], Awaitable[None]]) -> None:
        path = self._fs.uploads(Fh(fh), fsync=verb == "fsync")
        if path is None:
            await save(Fh(fh))
            return
        await self._changing(
            self._openers.get(fh, 0),
            f"{verb} of {path}",
            functools.partial(save, Fh(fh)),
            family=True,
            first=functools.partial(self._fs.promise, Fh(fh)),
        )

    async def _naming(
        self, caller: int, verb: str, work: Callable[[], Awaitable[T]], *names: tuple[int, bytes]
    ) -> T:
        """Change these names, each given by its directory."""

        def late(made: T | None) -> None:
            for parent, name in names:
                self._fs.doubt(Ino(parent), name)
            if isinstance(made, Stat):  # a reference that the kernel never heard of
                self._fs.forget([(made.ino, 1)])

        what = f"{verb} of {' to '.join(repr(name) for _, name in names)}"
        return await self._changing(caller, what, work, late=late)

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
