"""What bytes a file has: opening, reading, writing, truncating.

A file shows one version of its object until somebody writes; then it shows a draft, made empty or
as a copy of that version, and all handles see the draft. What becomes of a draft is `saving`'s.

Semantics: a shell's `> file` closes a duplicate before the first byte is written, which costs one
more, empty upload. FUSE's FLUSH does not say whether a descriptor is left that will be closed
later, and `: > file` must be stored when its last close(2) returns (PROMISES P1).
"""

import logging

from objfs.cache.policy import Window
from objfs.cache.spool import Draft
from objfs.errors import BadHandle, Corrupt, ObjfsError
from objfs.exclusive import SingleFlight
from objfs.filesystem.base import Mount
from objfs.filesystem.neighbours import Neighbours
from objfs.filesystem.saving import Saving
from objfs.handles import Handle, OpenFile
from objfs.tree.tree import Local, Node, path_of
from objfs.types import Fh, ObjectInfo

log = logging.getLogger(__name__)


class Contents:
    """The bytes of all open files."""

    def __init__(self, mount: Mount, saving: Saving, neighbours: Neighbours) -> None:
        self._mount = mount
        self._saving = saving
        self._neighbours = neighbours
        self._drafting: SingleFlight[None] = SingleFlight()

    # --- handles -------------------------------------------------------------------------------

    def open(self, node: Node, *, readable: bool, writable: bool, append: bool) -> Fh:
        """A new handle on a file."""
        file = self._mount.handles.use(node)
        window = Window(self._mount.cache.read_ahead)
        if readable and not writable:
            self._neighbours.opened(node)
        return self._mount.handles.add(Handle(file, readable, writable, append, window))

    async def release(self, fh: Fh) -> None:
        """The last reference to a handle is gone; nobody hears of an error any more."""
        file = self._mount.handles.remove(fh).file
        if self._mount.handles.unuse(file):
            if file.unsaved:
                # written through a mapping after the last close(2), or the upload failed
                await self._promise_quietly(file)
            else:
                self._mount.put_away(file)
        self._mount.tree.nodes.settle(file.node)

    def at_hand(self, fh: Fh, start: int, size: int) -> bool:
        """Whether these bytes are here, as far as is known: no wait for the store."""
        file = self._mount.handles.get(fh).file
        if file.draft or file.info is None:
            return True
        if file.version is None:
            return False
        blocks = file.version.blocks
        return all(map(blocks.has, blocks.blocks(start, min(start + size, file.info.size))))

    def is_writable_now(self, fh: Fh) -> bool:
        """Whether there is a draft to write to, so that nothing need be fetched."""
        draft = self._mount.handles.get(fh).file.draft
        return draft is not None and not draft.fixed

    # --- reading and writing -------------------------------------------------------------------

    async def read(self, fh: Fh, start: int, size: int) -> bytes | memoryview:
        """Up to `size` bytes. Raises `BadHandle`, `Stale`, and what the store raises."""
        handle = self._mount.handles.get(fh)
        if not handle.readable:
            raise BadHandle("the file was not opened for reading")
        file = handle.file
        if file.draft:
            return file.draft.read(start, size)
        if file.info is None or start >= file.info.size:
            return b""
        if file.version is None:
            file.version = self._mount.reads.open(file.info)
        ahead = handle.window.advance(start, min(start + size, file.info.size))
        if handle.window.strayed:
            self._mount.reads.strayed(file.version)
        try:
            return await self._mount.reads.read(file.version, start, start + size, ahead)
        except Corrupt:
            file.node.content += 1  # the kernel may hold pages of it: the next open drops them
            raise

    async def write(self, fh: Fh, start: int, data: bytes) -> int:
        """Write all of `data`. Raises `BadHandle`, `NoSpace`, and what reading raises."""
        handle = self._mount.handles.get(fh)
        if not handle.writable:
            raise BadHandle("the file was not opened for writing")
        draft = await self._draft(handle.file)
        if handle.append and start != draft.size:
            # the kernel had another end in mind, and has its page in the wrong place now
            start = draft.size  # open(2), O_APPEND
            handle.file.node.content += 1
        draft.write(start, data)
        self._wrote(handle.file, draft)
        return len(data)

    async def truncate(self, file: OpenFile, size: int) -> None:
        """Cut or extend a file. Raises what writing raises."""
        if size == 0 and (file.draft is None or file.draft.fixed):
            self._show(file, self._mount.spool.create())
        draft = await self._draft(file)
        if draft.size != size or not draft.dirty:
            draft.truncate(size)
        self._wrote(file, draft)

    async def truncate_path(self, node: Node, size: int) -> None:
        """truncate(2): no close follows, so the upload is now."""
        file = self._mount.handles.use(node)
        try:
            await self.truncate(file, size)
            await self._saving.close(file)
        finally:
            if self._mount.handles.unuse(file) and not file.unsaved:
                self._mount.put_away(file)

    def begin(self, node: Node) -> None:
        """A file was created: its draft is empty, and not in the store yet."""
        file = self._mount.handles.use(node)
        file.draft = self._mount.spool.create()
        self._wrote(file, file.draft)
        self._mount.handles.unuse(file)

    # --- names come and go ---------------------------------------------------------------------

    async def keep_readable(self, node: Node) -> None:
        """The object is about to go while its file is open: have all of it here (PROMISES P17)."""
        file = self._mount.handles.file_of(node)
        if file and file.handles and not file.draft and file.info:
            if file.version is None:
                file.version = self._mount.reads.open(file.info)
            await self._mount.reads.load(file.version)

    def abandon(self, node: Node) -> None:
        """The file was removed: a draft that nobody has open is worth nothing now."""
        file = self._mount.handles.file_of(node)
        if file and not file.handles:
            self._mount.put_away(file)

    # --- inside --------------------------------------------------------------------------------

    async def _promise_quietly(self, file: OpenFile) -> None:
        try:
            await self._saving.promise(file)
        except ObjfsError as error:
            log.warning("%s is not stored, and not in the journal: %s", path_of(file.node), error)

    async def _draft(self, file: OpenFile) -> Draft:
        """A draft that may be written to: the one there is, or a copy of what the file shows."""

        async def make() -> None:
            shown, info = file.draft, file.info
            if shown:
                draft = await self._mount.spool.copy(shown)
            else:
                draft = self._mount.spool.create()
                if info:
                    await self._fill(draft, file, info)
            if file.draft is shown and file.info == info:
                self._show(file, draft)
            else:
                draft.discard()  # somebody truncated it meanwhile

        while file.draft is None or file.draft.fixed:
            await self._drafting.run(file.node.ino, make)
        return file.draft

    async def _fill(self, draft: Draft, file: OpenFile, info: ObjectInfo) -> None:
        if file.version is None:
            file.version = self._mount.reads.open(info)
        try:
            await self._mount.reads.copy_to(file.version, draft.write)
            draft.derives_from(info)
        except BaseException:
            draft.discard()
            raise

    def _show(self, file: OpenFile, draft: Draft) -> None:
        old, file.draft = file.draft, draft
        if old and (old.frozen or old.promised) and (old.dirty or old.sealed):
            file.owed = old  # promised: it is uploaded unless the new one is closed before
        elif old and not old.sealed:
            old.discard()
        if file.version:
            self._mount.reads.release(file.version)
            file.version = None

    def _wrote(self, file: OpenFile, draft: Draft) -> None:
        file.node.local = Local(draft.size, self._mount.wall_ns())
        if file.node.changes:
            file.node.changes.mtime_ns = None  # a write sets the time anew (POSIX write)
        self._mount.reads.make_room(0)
