"""What the parts of the file system share: the objects they work on, and the clocks."""

import mimetypes
from collections.abc import Callable
from dataclasses import dataclass

from objfs.cache.policy import Shelf
from objfs.cache.reads import ReadCache
from objfs.cache.spool import Draft, Spool
from objfs.config import CacheConfig, MountConfig
from objfs.errors import InvalidName, NameTooLong, NotFound, ReadOnly, Unsupported
from objfs.exclusive import Turns
from objfs.handles import Handles, OpenFile
from objfs.refresh import Refresher
from objfs.store.bucket import Bucket
from objfs.tree.keys import child_key, component_of, name_of
from objfs.tree.tree import Doubt, Local, Node, Tree, prefix
from objfs.types import DELIMITER, DIRECTORY_TYPE, ETag, Headers, Ino, Kind, ObjectInfo


@dataclass(frozen=True, slots=True)
class Mount:
    """Everything that one mount consists of, built once by `objfs.daemon`."""

    bucket: Bucket
    tree: Tree
    refresh: Refresher
    handles: Handles
    reads: ReadCache
    spool: Spool
    shelf: Shelf
    turns: Turns
    config: MountConfig
    cache: CacheConfig
    clock: Callable[[], float]
    """Seconds, monotonic."""
    wall_ns: Callable[[], int]
    """Nanoseconds since the epoch."""

    def node(self, ino: Ino) -> Node:
        """The node of a number. Raises `NotFound` for one that the kernel should have forgotten."""
        node = self.tree.nodes.get(ino)
        if node is None:
            raise NotFound(f"inode {ino} is not known")
        return node

    def directory(self, ino: Ino) -> Node:
        """The node of a directory. Raises `NotFound`, also for a removed one (POSIX unlink)."""
        node = self.node(ino)
        if not node.attached:
            raise NotFound(f"inode {ino} was removed")
        return node

    async def find(self, parent: Node, name: bytes) -> Node | None:
        """The node of a name, asking the store only when the tree cannot say. None if absent."""
        component_of(name)
        for _ in range(3):  # with a time to live of zero each answer is old at once
            answer = self.tree.lookup(parent, name, self.clock())
            if answer is Doubt.ABSENT:
                return None
            if isinstance(answer, Node):
                return answer
            await self.refresh.name(parent, name)
            if self.tree.ttl <= 0:
                break
        return parent.children.get(name)

    async def get(self, parent: Node, name: bytes) -> Node:
        """The node of a name. Raises `NotFound`."""
        node = await self.find(parent, name)
        if node is None:
            raise NotFound(f"{name!r} does not exist")
        return node

    def new_key(self, parent: Node, name: bytes, kind: Kind) -> str:
        """The key that a new entry would have. Raises `NameTooLong`, `InvalidName`, `ReadOnly`."""
        self.writable()
        key = child_key(self.prefix(parent), name, directory=kind is Kind.DIRECTORY)
        if not self.bucket.top_level_objects and DELIMITER not in key:
            raise Unsupported(
                f"{key}: only buckets can be here",
                remedy="Make one with mkdir, and put files into it",
            )
        if len(key.encode()) > self.bucket.max_key:
            raise NameTooLong(f"{key[:60]}...: the key is longer than this store takes")
        mangled = self.bucket.mangled(key)
        if mangled:
            raise InvalidName(f"{key}: {mangled}", remedy="Choose another name.")
        return key

    def prefix(self, directory: Node) -> str:
        """The key prefix of a directory."""
        return prefix(directory)

    def writable(self) -> None:
        """Raises `ReadOnly` on a read-only mount."""
        if self.config.read_only:
            raise ReadOnly("this mount is read-only")

    def restore(self, key: str, base: ETag | None, draft: Draft, mtime_ns: int) -> OpenFile:
        """A file, and the directories above it, that exist here although nobody was asked yet."""
        *above, last = key.split(DELIMITER)
        node = self.tree.nodes.root
        for component in above:
            name = name_of(component)
            node = node.children.get(name) or self.tree.nodes.add(node, name, Kind.DIRECTORY)
        node = self.tree.create(node, name_of(last), Kind.FILE, mtime_ns=mtime_ns, now=self.clock())
        node.local = Local(draft.size, mtime_ns)
        if base:
            node.info = ObjectInfo(key, 0, base, mtime_ns)
        file = self.handles.use(node)
        file.draft = draft
        self.handles.unuse(file)
        return file

    def put_away(self, file: OpenFile) -> None:
        """Nobody uses the file, and the store has it, or it was removed."""
        if file.version:
            self.reads.release(file.version)
            file.version = None
        if file.draft and not file.draft.sealed:
            if file.info and not file.draft.dirty and file.node.attached:
                self.reads.adopt(file.info, file.draft)
            else:
                file.draft.discard()
            file.draft = None
            file.node.local = None
        if file.owed and not file.owed.sealed:
            file.owed.discard()
            file.owed = None
        if file.draft is None:
            self.handles.forget(file)
            self.tree.nodes.settle(file.node)


MARKER = Headers(content_type=DIRECTORY_TYPE)


def headers_for(key: str) -> Headers:
    """What is stored beside a file's bytes: the content type that its name suggests."""
    guessed, encoding = mimetypes.guess_type(key, strict=False)
    if encoding:  # the bytes are compressed; Content-Encoding would make clients unpack them
        guessed = {"gzip": "application/gzip", "bzip2": "application/x-bzip2"}.get(encoding)
    return Headers(content_type=guessed or "application/octet-stream")
