"""The file system: one short method for each POSIX verb, on inode numbers, names and handles.

It knows neither the kernel's protocol nor an SDK. What is behind a verb:

- `contents`: bytes; open, read, write, truncate
- `saving`: close, fsync; `uploads`, `conflicts` and `doubts` about them; `recovery` of them
- `names`: create, mkdir, unlink, rmdir, rename of a file
- `renames`: rename of a directory
- `directories`: opendir, readdir
- `neighbours`: which files are fetched before they are opened
- `operator`: what `objfs status`, `retry`, `discard`, `refresh` and `drain` ask
- `base`: what they share
"""

import logging
import os
from collections.abc import Iterable

from objfs.cache.ledger import Ledger
from objfs.errors import (
    Exists,
    InvalidArgument,
    IsADirectory,
    NotADirectory,
    ObjfsError,
    Stale,
)
from objfs.filesystem import recovery
from objfs.filesystem.base import Mount
from objfs.filesystem.contents import Contents
from objfs.filesystem.directories import Directories, Emit
from objfs.filesystem.names import Names
from objfs.filesystem.neighbours import Neighbours
from objfs.filesystem.operator import Operator
from objfs.filesystem.renames import Renames
from objfs.filesystem.saving import Saving
from objfs.filesystem.space import Space
from objfs.tree.nodes import Changes
from objfs.tree.tree import Doubt, Invalidate, Node, path_of
from objfs.types import Fh, Ino, Kind, Stat

log = logging.getLogger(__name__)

RENAME_NOREPLACE = 1
"""renameat2(2); the other flags are refused with EINVAL (PROMISES P15)."""


class FileSystem:
    """One mount. Every method raises `ObjfsError` classes only, unless there is a bug."""

    def __init__(self, mount: Mount, ledger: Ledger) -> None:
        self._mount = mount
        self.saving = Saving(mount, ledger)
        self.neighbours = Neighbours(mount)
        self.contents = Contents(mount, self.saving, self.neighbours)
        self.directories = Directories(mount)
        self.names = Names(mount, self.contents, self.saving)
        self.renames = Renames(mount, self.names, self.saving)
        self.operator = Operator(mount, self.saving, self.neighbours.counts)
        self.space = Space(mount)

    def absent_for(self, parent: Ino, name: bytes) -> float:
        """Seconds for which the absence of a name is still believed."""
        node, now = self._mount.node(parent), self._mount.clock()
        return max(0.0, node.complete_until - now, node.absent.get(name, 0.0) - now)

    def known(self, ino: Ino) -> bool:
        """Whether the number still means anything."""
        return self._mount.tree.nodes.get(ino) is not None

    # --- names ---------------------------------------------------------------------------------

    async def lookup(self, parent: Ino, name: bytes) -> Stat:
        """The attributes of a name; the kernel refers to the inode once more. Raises `NotFound`."""
        node = await self._mount.get(self._mount.directory(parent), name)
        return self._referred(node)

    def forget(self, references: Iterable[tuple[Ino, int]]) -> None:
        """The kernel refers to these inodes so many times less."""
        for ino, count in references:
            node = self._mount.tree.nodes.get(ino)
            if node is not None:
                node.lookups = max(0, node.lookups - count)
                self._mount.tree.nodes.settle(node)

    def doubt(self, ino: Ino, name: bytes | None = None) -> None:
        """Have the kernel forget the attributes of an inode, or a name in it: it had no answer."""
        self._mount.refresh.invalidate(Invalidate(ino, name))

    async def create(
        self, parent: Ino, name: bytes, mode: int, flags: int, owner: tuple[int, int]
    ) -> tuple[Fh, Stat]:
        """open(2) with O_CREAT for a name that the kernel believes to be free."""
        exclusive = bool(flags & os.O_EXCL)
        directory = self._mount.directory(parent)
        node = await self.names.create(directory, name, mode, exclusive=exclusive)
        self._own(node, owner)
        fh = await self._open(node, flags)
        self._mount.handles.get(fh).changed = True
        return fh, self._referred(node)

    async def mkdir(self, parent: Ino, name: bytes, mode: int, owner: tuple[int, int]) -> Stat:
        """Make a directory, mkdir(2)."""
        node = await self.names.mkdir(self._mount.directory(parent), name, mode)
        self._own(node, owner)
        return self._referred(node)

    async def unlink(self, parent: Ino, name: bytes) -> None:
        """Remove a file, unlink(2)."""
        await self.names.unlink(self._mount.directory(parent), name)

    async def rmdir(self, parent: Ino, name: bytes) -> None:
        """Remove an empty directory, rmdir(2)."""
        await self.names.rmdir(self._mount.directory(parent), name)

    async def rename(
        self, parent: Ino, name: bytes, new_parent: Ino, new_name: bytes, flags: int = 0
    ) -> None:
        """Rename a file or a directory, renameat2(2)."""
        if flags & ~RENAME_NOREPLACE:
            raise InvalidArgument("only RENAME_NOREPLACE is offered by an object store")
        node = await self._mount.get(self._mount.directory(parent), name)
        directory = self._mount.directory(new_parent)
        target = await self._mount.find(directory, new_name)
        if target is not None and flags & RENAME_NOREPLACE:
            raise Exists(f"{path_of(target)} exists")
        if target is node:
            return
        _must_fit(node, target)
        if node.kind is Kind.FILE:
            await self.names.rename_file(node, directory, new_name, target)
        else:
            await self.renames.rename_directory(node, directory, new_name, target)

    def knows(self, parent: Ino, name: bytes) -> bool:
        """Whether a lookup is answered without asking the store."""
        node = self._mount.tree.nodes.get(parent)
        found = self._mount.tree.lookup(node, name, self._mount.clock()) if node else None
        return found is not Doubt.UNKNOWN

    # --- attributes ----------------------------------------------------------------------------

    async def getattr(self, ino: Ino) -> Stat:
        """The attributes of an inode, asked anew when they are no longer believed."""
        node = self._mount.node(ino)
        await self._believe(node)
        return self._mount.tree.stat(node, self._mount.clock())

    def believes(self, ino: Ino) -> bool:
        """Whether the attributes of an inode are given without asking the store."""
        node = self._mount.tree.nodes.get(ino)
        return node is None or not self._is_old(node)

    async def setattr(self, ino: Ino, changes: Changes, size: int | None, fh: Fh | None) -> Stat:
        """chmod, chown, utimensat and truncate.

        Semantics: mode, owner and times are kept for as long as this mount knows the file; they
        are not stored yet.
        """
        self._mount.writable()
        node = self._mount.node(ino)
        if size is not None:
            if node.kind is Kind.DIRECTORY:
                raise IsADirectory(f"{path_of(node)} is a directory")
            if fh is not None:
                await self.contents.truncate(self._mount.handles.get(fh).file, size)
            else:
                await self.contents.truncate_path(node, size)
        kept = self._mount.tree.change(node)
        for what in ("mode", "uid", "gid", "mtime_ns", "atime_ns"):
            value = getattr(changes, what)
            if value is not None:
                setattr(kept, what, value)
        return self._mount.tree.stat(node, self._mount.clock())

    # --- files ---------------------------------------------------------------------------------

    async def open(self, ino: Ino, flags: int) -> Fh:
        """Open a file that exists. Raises `Stale` to make the kernel look it up again."""
        node = self._mount.node(ino)
        if node.kind is Kind.DIRECTORY:
            raise IsADirectory(f"{path_of(node)} is a directory")
        if node.lost:
            raise Stale("others have given the name to another object")  # the kernel looks again
        await self._believe(node)
        return await self._open(node, flags)

    async def read(self, fh: Fh, start: int, size: int) -> bytes | memoryview:
        """Read bytes, pread(2)."""
        return await self.contents.read(fh, start, size)

    async def write(self, fh: Fh, start: int, data: bytes) -> int:
        """Write bytes, pwrite(2)."""
        return await self.contents.write(fh, start, data)

    async def flush(self, fh: Fh) -> None:
        """close(2): the upload, and the store's verdict (PROMISES P1)."""
        handle = self._mount.handles.get(fh)
        if handle.writable or handle.changed:
            await self.saving.close(handle.file)

    async def fsync(self, fh: Fh) -> None:
        """Have what was written on the local disk, or in the store, fsync(2)."""
        await self.saving.fsync(self._mount.handles.get(fh).file)

    def uploads(self, fh: Fh, *, fsync: bool = False) -> str | None:
        """The path, where close(2), or fsync(2), of this handle has something to upload."""
        handle = self._mount.handles.get(fh)
        file, config = handle.file, self._mount.config
        waits = config.fsync == "store" if fsync else config.write_back == "sync"
        owes = file.unsaved or file.node.lost or (file.draft and file.draft.sealed)
        wrote = handle.writable or handle.changed
        return path_of(file.node) if wrote and waits and owes else None

    async def promise(self, fh: Fh) -> None:
        """Whatever becomes of an upload that is under way, what was written is not lost."""
        await self.saving.promise(self._mount.handles.get(fh).file)

    async def release(self, fh: Fh) -> None:
        """The last descriptor of a handle is closed."""
        await self.contents.release(fh)

    def content(self, fh: Fh) -> int:
        """Changes whenever the kernel's pages of this file stop being right."""
        return self._mount.handles.get(fh).file.node.content

    # --- directories ---------------------------------------------------------------------------

    async def opendir(self, ino: Ino) -> Fh:
        """Open a directory, opendir(3)."""
        node = self._mount.directory(ino)
        if node.kind is Kind.FILE:
            raise NotADirectory(f"{path_of(node)} is not a directory")
        return self.directories.open(node)

    async def readdir(self, fh: Fh, offset: int, emit: Emit) -> None:
        """List a directory with attributes; each entry that `emit` takes is a reference."""
        await self.directories.read(fh, offset, emit)

    async def releasedir(self, fh: Fh) -> None:
        """Close a directory, closedir(3)."""
        await self.directories.release(fh)

    # --- ending --------------------------------------------------------------------------------

    async def drain(self) -> dict[str, ObjfsError]:
        """Upload all that is not in the store; the paths that could not be, and why."""
        return await self.saving.drain()

    async def recover(self) -> None:
        """Take up what an earlier daemon left undone, before anything else happens."""
        moved = 0
        for source, target in await self.renames.begun():
            moved += await self.renames.finish(source, target)
        await self.renames.clear()
        drafts = await recovery.recover(self._mount, self.saving.ledger, self.saving)
        resumed, removed = await recovery.recover_uploads(self._mount, self.saving)
        if drafts or moved or removed:
            log.info(
                "recovery: %d drafts of an earlier mount will be uploaded, %d of them from where "
                "they were; %d unfinished uploads that nobody owes were removed; "
                "%d objects of a directory rename were moved",
                *(drafts, resumed, removed, moved),
            )

    def unsaved(self) -> list[tuple[str, int]]:
        """What is not in the store: path and bytes of each."""
        return [
            (path_of(file.node), draft.size)
            for file in self._mount.handles.files()
            if file.unsaved and (draft := file.draft or file.owed)
        ]

    # --- inside --------------------------------------------------------------------------------

    async def _open(self, node: Node, flags: int) -> Fh:
        access = flags & os.O_ACCMODE
        writable = access in {os.O_WRONLY, os.O_RDWR}
        if writable or flags & os.O_TRUNC:
            self._mount.writable()
        fh = self.contents.open(
            node,
            readable=access in {os.O_RDONLY, os.O_RDWR},
            writable=writable,
            append=bool(flags & os.O_APPEND),
        )
        if flags & os.O_TRUNC:
            try:
                await self.contents.truncate(self._mount.handles.get(fh).file, 0)
            except BaseException:
                await self.contents.release(fh)
                raise
            self._mount.handles.get(fh).changed = True
        return fh

    async def _believe(self, node: Node) -> None:
        """Ask the store again about a node whose attributes are old. Raises `Stale` if it is gone.

        Semantics: an open file keeps the version it shows (PROMISES P9).
        """
        parent, name = node.parent, node.name
        if parent is not None and self._is_old(node):
            await self._mount.refresh.name(parent, name)
            if not node.attached:
                raise Stale(f"{name!r} was replaced or removed in the store")

    def _is_old(self, node: Node) -> bool:
        if node.local or node.opens or node.parent is None:
            return False
        return self._mount.clock() >= node.expires

    def _own(self, node: Node, owner: tuple[int, int]) -> None:
        look = self._mount.tree.look
        if owner != (look.uid, look.gid):
            kept = self._mount.tree.change(node)
            kept.uid, kept.gid = owner

    def _referred(self, node: Node) -> Stat:
        node.lookups += 1
        self._mount.tree.nodes.settle(node)
        return self._mount.tree.stat(node, self._mount.clock())


def _must_fit(node: Node, target: Node | None) -> None:
    """Whether a file replaces a file and a directory a directory (rename(2))."""
    if target is None or target.kind is node.kind:
        return
    if target.kind is Kind.DIRECTORY:
        raise IsADirectory(f"{path_of(target)} is a directory")
    raise NotADirectory(f"{path_of(target)} is not a directory")
