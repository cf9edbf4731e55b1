"""The node table: inode numbers, parents and children, lookup counts, what may be forgotten.

A node is a place and what stands there. The kernel refers to it by number until it has forgotten
as many times as it looked up (libfuse, fuse_lowlevel.h, `forget`); handles refer to it until they
are released; until then its number means this node and no other.

Nodes that nobody refers to are kept a while as the memory of a listing, oldest first to go.

Numbers are made from the key, so that they are the same at the next mount as far as possible
(tar --listed-incremental and others compare them); a number in use is passed over.
"""

import hashlib
from dataclasses import dataclass, field

from objfs.tree.keys import component_of
from objfs.types import DELIMITER, ROOT, Ino, Kind, ObjectInfo


@dataclass(slots=True)
class Changes:
    """Attributes set by chmod, chown and utimensat; None where nobody did."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    mtime_ns: int | None = None
    atime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Local:
    """Content that is newer here than in the store: a draft's size and time."""

    size: int
    mtime_ns: int


@dataclass(slots=True, eq=False)
class Node:
    """One file or directory.

    INVARIANT: `parent is None` means the root, or a node that was unlinked or replaced.
    INVARIANT: `parent.children[name] is self` for every other node.
    """

    ino: Ino
    kind: Kind
    parent: "Node | None"
    name: bytes
    # what the store holds, as far as known
    info: ObjectInfo | None = None
    expires: float = 0.0
    """Until when the store's answer about this name is believed."""
    seen: int = -1
    """The listing that reported it last (its `as_of`)."""
    # what is newer here
    local: Local | None = None
    """A draft. For a directory: it exists although no key may say so."""
    changes: Changes | None = None
    lost: bool = False
    """Detached because others removed or replaced it, not because of anybody here."""
    content: int = 0
    """Counts the times that the bytes changed behind the kernel's back: its pages are worthless."""
    # who refers to it
    lookups: int = 0
    opens: int = 0
    # directories only
    children: dict[bytes, "Node"] = field(default_factory=dict)
    absent: dict[bytes, float] = field(default_factory=dict)
    """Names that do not exist, and until when that is believed."""
    complete_until: float = 0.0
    """Until when `children` is believed to be all there is."""
    changed_at: int = -1
    """The tree's change counter when this directory was last moved."""
    mtime_ns: int = 0

    @property
    def in_use(self) -> bool:
        """Whether anything but memory speaks for keeping it."""
        return bool(
            self.lookups or self.opens or self.children or (self.local and self.kind is Kind.FILE)
        )

    @property
    def lives_here(self) -> bool:
        """Whether it, or anything below it, is newer here: then others cannot take it away."""
        return bool(self.local) or any(child.lives_here for child in self.children.values())

    def lose(self) -> None:
        """Others removed or replaced it, and with it all that is below."""
        self.lost = True
        for child in self.children.values():
            child.lose()

    @property
    def attached(self) -> bool:
        """Whether a path leads to it."""
        return self.parent is not None or self.ino == ROOT


def prefix_of(node: Node) -> str:
    """The key prefix of a directory: "" for the root, else ending in "/"."""
    components: list[str] = []
    while node.parent is not None:
        components.append(component_of(node.name)[0])
        node = node.parent
    return DELIMITER.join([*reversed(components), ""]) if components else ""


def key_of(node: Node) -> str:
    """The key of a file, the prefix of a directory."""
    if node.kind is Kind.DIRECTORY or node.parent is None:
        return prefix_of(node)
    return prefix_of(node.parent) + component_of(node.name)[0]


def path_of(node: Node) -> str:
    """The path below the mountpoint, for people."""
    names: list[bytes] = []
    while node.parent is not None:
        names.append(node.name)
        node = node.parent
    return "/" + b"/".join(reversed(names)).decode("utf-8", "backslashreplace")


class Nodes:
    """All nodes by number.

    INVARIANT: every node is in `_by_ino` exactly once, detached ones included while in use.
    INVARIANT: `_idle` and `_kept` hold nodes that are not in use, least recently useful first.

    Semantics: an idle directory that lives only here (PROMISES P14) is not dropped to make room for
    others, which the store can tell of again. Of these, too, only `max_kept` stay.
    """

    def __init__(self, *, max_idle: int = 100_000, max_kept: int = 10_000) -> None:
        self.root = Node(ROOT, Kind.DIRECTORY, None, b"")
        self._by_ino: dict[Ino, Node] = {ROOT: self.root}
        self._idle: dict[Ino, Node] = {}
        self._kept: dict[Ino, Node] = {}
        """Directories that lived only here when it was their turn to go."""
        self._max_idle = max_idle
        self._max_kept = max_kept

    def __len__(self) -> int:
        return len(self._by_ino)

    def get(self, ino: Ino) -> Node | None:
        """The node of a number, or None when it was dropped."""
        return self._by_ino.get(ino)

    def add(self, parent: Node, name: bytes, kind: Kind) -> Node:
        """A new node under a name that is free."""
        assert name not in parent.children
        node = Node(Ino(0), kind, parent, name)
        node.ino = self._number(key_of(node))
        parent.children[name] = node
        self._by_ino[node.ino] = node
        self._not_idle(parent)
        self.settle(node)
        return node

    def detach(self, node: Node) -> None:
        """Take a node off its path; it lives on for whoever still refers to it."""
        parent = node.parent
        assert parent is not None
        del parent.children[node.name]
        for child in list(node.children.values()):
            self.detach(child)
        node.parent = None
        node.changes = None
        self.settle(node)
        self.settle(parent)

    def move(self, node: Node, parent: Node, name: bytes) -> None:
        """Put a node under another name, which is free; its number stays."""
        old = node.parent
        assert old is not None
        assert name not in parent.children
        del old.children[node.name]
        node.parent, node.name = parent, name
        parent.children[name] = node
        self._not_idle(parent)
        self.settle(old)

    def settle(self, node: Node) -> None:
        """Decide, after any change in who refers to it, whether a node stays."""
        self._not_idle(node)
        if node.ino == ROOT or node.in_use:
            return
        if node.parent is None:
            self._by_ino.pop(node.ino, None)
            return
        self._idle[node.ino] = node
        while len(self._idle) > self._max_idle:
            self._make_room(next(iter(self._idle.values())))

    def _make_room(self, oldest: Node) -> None:
        if not oldest.local:
            self._drop(oldest)
            return
        del self._idle[oldest.ino]
        self._kept[oldest.ino] = oldest
        if len(self._kept) > self._max_kept:
            self._drop(next(iter(self._kept.values())))

    def _not_idle(self, node: Node) -> None:
        self._idle.pop(node.ino, None)
        self._kept.pop(node.ino, None)

    def _drop(self, node: Node) -> None:
        parent = node.parent
        assert parent is not None
        parent.complete_until = 0.0  # what is dropped is no longer known to exist
        self._not_idle(node)
        del self._by_ino[node.ino]
        del parent.children[node.name]
        node.parent = None
        if not parent.in_use:
            self.settle(parent)

    def _number(self, key: str) -> Ino:
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        number = int.from_bytes(digest, "big") >> 1
        while number <= ROOT or Ino(number) in self._by_ino:
            number = (number + 1) & (2**63 - 1)
        return Ino(number)
