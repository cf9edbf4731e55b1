"""Open files and directories: which bytes a handle sees, where a readdir is. State only.

All handles on one inode share one `OpenFile`, so they see one another's writes. It shows either one
version of the object, pinned when it was first opened, or a draft. It stays for as long as a handle
or a draft that the store does not hold yet speaks for it.
"""

from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field

from objfs.cache.policy import Window
from objfs.cache.reads import Version
from objfs.cache.spool import Draft
from objfs.errors import BadHandle
from objfs.tree.tree import Node
from objfs.types import Fh, Ino, ObjectInfo


@dataclass(slots=True, eq=False)
class OpenFile:
    """The content behind an inode that somebody uses."""

    node: Node
    info: ObjectInfo | None
    """The version it shows, or that its draft derives from; None when the store had none."""
    version: Version | None = None
    """That version in the read cache, from the first read on."""
    draft: Draft | None = None
    owed: Draft | None = None
    """An older draft that was promised and is not stored yet, while `draft` is being written."""
    handles: int = 0

    @property
    def unsaved(self) -> bool:
        """Whether it holds bytes that the store does not, under a name that still exists."""
        if not self.node.attached:
            return False
        return (self.draft is not None and self.draft.dirty) or self.owed is not None


@dataclass(slots=True, eq=False)
class Handle:
    """One open file description."""

    file: OpenFile
    readable: bool
    writable: bool
    append: bool
    window: Window
    changed: bool = False
    """Its open(2) made or emptied the file: a change, whatever the handle itself may do."""


@dataclass(slots=True, eq=False)
class DirHandle:
    """One open directory, and the entries that it has shown so far.

    `names[i]` has the readdir offset `dropped + i + 1`; offsets are never reused, so a seek to one
    goes on behind the same name, whatever was removed since (POSIX telldir).
    """

    node: Node
    names: list[bytes] = field(default_factory=list)
    dropped: int = 0
    """Names at the front that are no longer kept."""
    stream: AsyncGenerator[list[Node], None] | None = None
    """The listing under way; None before the first page."""
    done: bool = False
    """Whether `names` goes to the end of the directory."""


class Handles:
    """All handles of a mount, and the open files behind them.

    INVARIANT: a file is in `_files` while it has a handle or is unsaved, or its draft is sealed.
    """

    def __init__(self) -> None:
        self._next = 1
        self._open: dict[Fh, Handle] = {}
        self._dirs: dict[Fh, DirHandle] = {}
        self._files: dict[Ino, OpenFile] = {}

    def file_of(self, node: Node) -> OpenFile | None:
        """The content of a node, if anybody uses it."""
        return self._files.get(node.ino)

    def files(self) -> Iterator[OpenFile]:
        """All of them, in a list of their own."""
        return iter(list(self._files.values()))

    def use(self, node: Node) -> OpenFile:
        """The content of a node, from now on in use; `unuse` ends it."""
        file = self._files.get(node.ino)
        if file is None:
            file = self._files[node.ino] = OpenFile(node, node.info)
        elif not file.handles and file.draft is None:
            file.info = node.info
        file.handles += 1
        node.opens += 1
        return file

    def unuse(self, file: OpenFile) -> bool:
        """One user less; whether it was the last."""
        file.handles -= 1
        file.node.opens -= 1
        return not file.handles

    def forget(self, file: OpenFile) -> None:
        """Nobody speaks for the content any more."""
        assert not file.handles
        if self._files.get(file.node.ino) is file:  # it may have been opened anew since
            del self._files[file.node.ino]

    def add(self, handle: Handle) -> Fh:
        """The number of a new handle."""
        fh = self._number()
        self._open[fh] = handle
        return fh

    def get(self, fh: Fh) -> Handle:
        """The handle of a number. Raises `BadHandle`."""
        try:
            return self._open[fh]
        except KeyError:
            raise BadHandle(f"no open file has the handle {fh}") from None

    def remove(self, fh: Fh) -> Handle:
        """Take a handle off the table. Raises `BadHandle`."""
        handle = self.get(fh)
        del self._open[fh]
        return handle

    def add_dir(self, handle: DirHandle) -> Fh:
        """The number of a new directory handle."""
        fh = self._number()
        self._dirs[fh] = handle
        return fh

    def get_dir(self, fh: Fh) -> DirHandle:
        """The directory handle of a number. Raises `BadHandle`."""
        try:
            return self._dirs[fh]
        except KeyError:
            raise BadHandle(f"no open directory has the handle {fh}") from None

    def remove_dir(self, fh: Fh) -> DirHandle:
        """Take a directory handle off the table. Raises `BadHandle`."""
        handle = self.get_dir(fh)
        del self._dirs[fh]
        return handle

    def _number(self) -> Fh:
        self._next += 1
        return Fh(self._next - 1)
