"""What changes names: create, mkdir, unlink, rmdir, and rename of a file.

Each holds the turn on its keys while it talks to the store, so that an upload in flight lands
before its key is removed or moved, and looks again at the tree after every wait.

Semantics, with the store unreachable: a new file can be made (`--write-back=async`) where the
directory is completely known, not elsewhere. The kernel asks LOOKUP before CREATE, and does not say
what for; to answer ENOENT would show a file that exists as deleted to everybody who only looks.
"""

import logging
from dataclasses import replace

from objfs.errors import (
    Exists,
    InvalidName,
    IsADirectory,
    NotADirectory,
    NotEmpty,
    NotFound,
    PreconditionFailed,
    Stale,
)
from objfs.filesystem import doubts
from objfs.filesystem.base import MARKER, Mount
from objfs.filesystem.contents import Contents
from objfs.filesystem.saving import Saving
from objfs.tree.keys import component_of, name_of
from objfs.tree.tree import Node, key_of, path_of
from objfs.types import ABSENT, Kind, ObjectInfo

log = logging.getLogger(__name__)


class Names:
    """Changes of names on one mount."""

    def __init__(self, mount: Mount, contents: Contents, saving: Saving) -> None:
        self._mount = mount
        self._contents = contents
        self._saving = saving

    async def create(self, parent: Node, name: bytes, mode: int, *, exclusive: bool) -> Node:
        """A new empty file, in the store once it is closed; or the one that is there.

        Raises `Exists`, `IsADirectory`, `InvalidName`, `NameTooLong`, `ReadOnly`, `NoSpace`.
        """
        await self._may_be_file(parent, name)
        node = await self._mount.find(parent, name)
        if node is not None:
            if exclusive:
                raise Exists(f"{path_of(node)} exists")
            if node.kind is Kind.DIRECTORY:
                raise IsADirectory(f"{path_of(node)} is a directory")
            return node
        node = self._mount.tree.create(
            parent, name, Kind.FILE, mtime_ns=self._mount.wall_ns(), now=self._mount.clock()
        )
        try:
            self._contents.begin(node)
        except BaseException:
            self._mount.tree.remove(node, mtime_ns=0, now=self._mount.clock())
            raise
        self._set_mode(node, mode, self._mount.tree.look.file_mode)
        return node

    async def mkdir(self, parent: Node, name: bytes, mode: int) -> Node:
        """A new directory, with its marker in the store. Raises `Exists`, `ReadOnly` and more."""
        key = self._mount.new_key(parent, name, Kind.DIRECTORY)
        component, clash = component_of(name)
        if clash or not component:
            raise InvalidName(f"{name!r} cannot name a directory of its own")
        async with self._mount.turns.hold(key):
            if await self._mount.find(parent, name) is not None:
                raise Exists(f"{name!r} exists")
            try:
                marker = await self._mount.bucket.put(key, b"", MARKER, expect=ABSENT)
            except PreconditionFailed as error:
                raise Exists(f"{key} was just made by somebody else") from error
            found = parent.children.get(name)  # another request may have seen the marker by now
            node = found or self._mount.tree.create(
                parent, name, Kind.DIRECTORY, mtime_ns=marker.mtime_ns, now=self._mount.clock()
            )
        self._set_mode(node, mode, self._mount.tree.look.dir_mode)
        return node

    async def unlink(self, parent: Node, name: bytes) -> None:
        """Remove a file. Raises `NotFound`, `IsADirectory`, and what the store raises."""
        self._mount.writable()
        node = await self._mount.get(parent, name)
        if node.kind is Kind.DIRECTORY:
            raise IsADirectory(f"{path_of(node)} is a directory")
        async with self._mount.turns.hold(key_of(node)):
            if not node.attached:
                raise NotFound(f"{name!r} was just removed")
            await self._contents.keep_readable(node)
            file = self._mount.handles.file_of(node)
            if node.info or doubts.in_doubt(file):
                await self._mount.bucket.delete(key_of(node))
            await self._saving.forget(file)
            self._removed(node)

    async def rmdir(self, parent: Node, name: bytes) -> None:
        """Remove an empty directory. Raises `NotFound`, `NotADirectory`, `NotEmpty`."""
        self._mount.writable()
        node = await self._mount.get(parent, name)
        if node.kind is Kind.FILE:
            raise NotADirectory(f"{path_of(node)} is not a directory")
        async with self._mount.turns.hold(key_of(node)):
            await self.must_be_empty(node)
            await self._mount.bucket.delete(key_of(node))
            self._removed(node)

    async def rename_file(self, node: Node, parent: Node, name: bytes, target: Node | None) -> None:
        """Give a file another name, onto the file `target` where there is one.

        The store copies and deletes; the content that only this machine has just changes its key.
        """
        key = await self._may_be_file(parent, name)
        async with self._mount.turns.hold(key_of(node), key):
            self._still(node, target)
            if target:
                await self._contents.keep_readable(target)
            file = self._mount.handles.file_of(node)
            in_the_way = self._mount.handles.file_of(target) if target else None
            copied = None
            if file and self._saving.promised(file):
                # The journal has the content, so the old object goes first: a crash leaves the
                # file under one of its names, and no older content under the other.
                if node.info or await doubts.landed(self._mount.bucket, file, key_of(node)):
                    await self._mount.bucket.delete(key_of(node))
            elif node.info:
                await self._saving.expect_copy(in_the_way, node.info.etag)
                copied = await self._copy_object(node, key)
            self._take_place(node, parent, name, target, copied[1] if copied else None)
            file = self._mount.handles.file_of(node)
            await self._saving.moved([file] if file else [], instead_of=in_the_way)
            if target:
                self._contents.abandon(target)
            if copied:
                await self._mount.bucket.delete(copied[0].key)

    async def must_be_empty(self, node: Node) -> None:
        """Raises `NotEmpty` where the store, or this mount, has anything in a directory."""
        if any(child.lives_here for child in node.children.values()):
            raise NotEmpty(f"{path_of(node)} is not empty")
        if not await self._mount.refresh.is_empty(node):
            raise NotEmpty(f"{path_of(node)} is not empty")

    # --- inside --------------------------------------------------------------------------------

    async def _may_be_file(self, parent: Node, name: bytes) -> str:
        """The key of a file that is to have this name. Raises `InvalidName`."""
        key = self._mount.new_key(parent, name, Kind.FILE)
        component, clash = component_of(name)
        if not key:
            raise InvalidName(f"{name!r}: there is no object without a key")
        if clash:
            beside = await self._mount.find(parent, name_of(component))
            if beside is None or beside.kind is Kind.FILE:
                raise InvalidName(f"{name!r} is how an object beside a directory is shown")
        return key

    def _take_place(
        self, node: Node, parent: Node, name: bytes, target: Node | None, stored: ObjectInfo | None
    ) -> None:
        """The tree's half of a rename; `stored` is the copy under the new key, if there is one."""
        now, wall = self._mount.clock(), self._mount.wall_ns()
        replaced, left = target.info if target else None, node.parent
        self._make_way(target, parent, name)
        if left is None:  # another request has seen that the old key is gone, and forgot it
            raise Stale(f"{name!r}: the file was renamed, and must be looked up anew")
        self._mount.tree.rename(node, parent, name, mtime_ns=wall, now=now)
        self._mount.tree.keep(left)
        if stored:
            self._mount.tree.stored(node, stored, now)
        else:
            self._mount.tree.keep(parent)
            node.info = replaced
        if file := self._mount.handles.file_of(node):
            # what the next upload will replace: the copy, or the object that was in the way
            file.info = stored or replaced

    async def _copy_object(self, node: Node, key: str) -> tuple[ObjectInfo, ObjectInfo]:
        """Copy in the store; what was copied, and the copy. A version that changed moves too."""
        source = node.info
        assert source is not None
        try:
            copy = await self._mount.bucket.copy(source, key)
        except PreconditionFailed:
            source = await self._mount.bucket.head(source.key)
            copy = await self._mount.bucket.copy(source, key)
        copy = replace(copy, size=source.size, mtime_ns=source.mtime_ns)
        self._mount.reads.renamed(source, copy)
        return source, copy

    @staticmethod
    def _still(node: Node, target: Node | None) -> None:
        for each in (node, target):
            if each and not each.attached:
                raise NotFound("the file was just removed or replaced")

    def _make_way(self, target: Node | None, parent: Node, name: bytes) -> None:
        """Take what was replaced off its name, and what another request has just learned of it.

        Its drafts are given up by the caller, once the journal has followed.
        """
        for node in (target, parent.children.get(name)):
            if node and node.parent is not None:
                self._off(node)

    def _removed(self, node: Node) -> None:
        self._off(node)
        self._contents.abandon(node)

    def _off(self, node: Node) -> None:
        parent = node.parent
        if parent is not None:  # else another request has seen that the key is gone
            self._mount.tree.remove(node, mtime_ns=self._mount.wall_ns(), now=self._mount.clock())
            self._mount.tree.keep(parent)
        node.lost = False

    def _set_mode(self, node: Node, mode: int, usual: int) -> None:
        if mode & 0o7777 != usual:
            self._mount.tree.change(node).mode = mode & 0o7777
