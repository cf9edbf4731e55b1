"""The tree: what is known of names, since when, and until when it is believed.

Asking the store is somebody else's work (`objfs.refresh`). It takes a `Question` before it asks,
and brings the answer back with it. The question carries the tree's change counter of that moment:

INVARIANT: an answer never undoes a local change made after its question was asked. A listing in
flight neither resurrects a file unlinked meanwhile nor hides one just created.

Semantics, where the store and this mount disagree:
- A file with a draft exists here, whatever the store says; the upload finds out about conflicts.
- A directory that a local user emptied, or is creating a file in, stays until it is removed here.
- An object that was replaced while it is open here becomes a new node: the open one keeps its
  number, its version and its kernel pages, so that no reader ever sees two versions mixed.
- A name that is both an object and a prefix is two entries; see `objfs.tree.keys`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from objfs.errors import InvalidName, NameTooLong
from objfs.tree.keys import component_of, name_of
from objfs.tree.listing import Entry
from objfs.tree.nodes import Changes, Local, Node, Nodes, key_of, path_of, prefix_of
from objfs.types import ROOT, Ino, Kind, ObjectInfo, Stat

__all__ = ["Doubt", "Invalidate", "Local", "Look", "Node", "Question", "Tree", "key_of", "path_of"]


class Doubt(Enum):
    """An answer that is not a node."""

    ABSENT = "absent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Question:
    """What a request to the store is asked under: the change counter and the time (seconds)."""

    as_of: int
    at: float


@dataclass(frozen=True, slots=True)
class Invalidate:
    """The kernel must forget a name in a directory, or (no name) the attributes of an inode."""

    ino: Ino
    name: bytes | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What files look like where nobody said otherwise; modes have the umask applied."""

    uid: int = 0
    gid: int = 0
    file_mode: int = 0o644
    dir_mode: int = 0o755
    born_ns: int = 0
    """Time of directories that carry none: when the mount began."""


class Tree:
    """All names of one mount. Seconds of belief: `ttl`."""

    def __init__(self, look: Look, *, ttl: float, max_idle: int = 100_000) -> None:
        # fixed
        self.look = look
        self.ttl = ttl
        # changes
        self.nodes = Nodes(max_idle=max_idle)
        self.unnamed = 0
        """Keys seen that no file name can hold."""
        self._counter = 0
        self._asked: set[int] = set()
        self._touched: dict[tuple[Ino, str], int] = {}

    # --- asking --------------------------------------------------------------------------------

    def ask(self, now: float) -> Question:
        """Take a question; `answered` must follow, whatever became of the request."""
        self._counter += 1  # so that no two questions are alike
        self._asked.add(self._counter)
        return Question(self._counter, now)

    def answered(self, question: Question) -> None:
        """The answer has been learned, or will never come."""
        self._asked.discard(question.as_of)
        oldest = min(self._asked, default=self._counter)
        while self._touched:
            first = next(iter(self._touched))
            if self._touched[first] > oldest:
                break
            del self._touched[first]

    # --- knowing -------------------------------------------------------------------------------

    def lookup(self, parent: Node, name: bytes, now: float) -> Node | Doubt:
        """What is known of one name. Raises nothing: a bad name is simply absent."""
        node = parent.children.get(name)
        if node is not None:
            known = now < node.expires or (node.local and node.kind is Kind.FILE)
            return node if known else Doubt.UNKNOWN
        if now < parent.complete_until or now < parent.absent.get(name, 0.0):
            return Doubt.ABSENT
        return Doubt.UNKNOWN

    def stat(self, node: Node, now: float) -> Stat:
        """Its attributes, and for how long they are believed."""
        changes, look, info = node.changes or _UNCHANGED, self.look, node.info
        directory = node.kind is Kind.DIRECTORY
        mode = look.dir_mode if directory else look.file_mode
        if node.local and not directory:
            size, mtime = node.local.size, node.local.mtime_ns
        elif info:
            size, mtime = info.size, info.mtime_ns
        else:
            size, mtime = 0, node.mtime_ns or look.born_ns
        mtime = mtime if changes.mtime_ns is None else changes.mtime_ns
        return Stat(
            ino=node.ino,
            kind=node.kind,
            size=size,
            mode=mode if changes.mode is None else changes.mode,
            uid=look.uid if changes.uid is None else changes.uid,
            gid=look.gid if changes.gid is None else changes.gid,
            mtime_ns=mtime,
            ctime_ns=mtime,
            atime_ns=mtime if changes.atime_ns is None else changes.atime_ns,
            ttl=self.ttl if node.ino == ROOT or node.local else max(0.0, node.expires - now),
        )

    # --- learning ------------------------------------------------------------------------------

    def learn(self, parent: Node, entry: Entry, question: Question) -> list[Invalidate]:
        """The store's answer about one component: an object, a directory, both or neither."""
        if self._outdated(parent, entry.component, question):
            return []
        changes: list[Invalidate] = []
        self._place(parent, entry, question, changes)
        if entry.info is None and not entry.directory:
            self._remember_absence(parent, entry.component, question)
        return changes

    def learn_entries(
        self, parent: Node, entries: Iterable[Entry], question: Question
    ) -> tuple[list[Node], list[Invalidate]]:
        """A stretch of a listing: the nodes to show for it, and what the kernel must forget."""
        shown: list[Node] = []
        changes: list[Invalidate] = []
        for entry in entries:
            if self._outdated(parent, entry.component, question):
                shown.extend(self._named(parent, entry.component))
                continue
            shown.extend(self._place(parent, entry, question, changes))
        for node in shown:
            node.seen = question.as_of
        return shown, changes

    def learn_end(self, parent: Node, question: Question) -> tuple[list[Node], list[Invalidate]]:
        """The listing is over: what it did not show is gone, or lives only here.

        Returns the nodes that live only here (to be shown too) and what the kernel must forget.
        """
        ours: dict[Ino, Node] = {}
        changes: list[Invalidate] = []
        for node in list(parent.children.values()):
            if node.seen == question.as_of or node.parent is not parent or node.ino in ours:
                continue
            component = component_of(node.name)[0]
            if self._outdated(parent, component, question):
                ours[node.ino] = node
                continue
            nothing = Entry(component, None, directory=False)
            for each in self._place(parent, nothing, question, changes):
                ours[each.ino] = each
        return list(ours.values()), changes

    def learn_complete(self, parent: Node, question: Question, count: int) -> None:
        """All `count` entries that the listing showed are still children: absences are known."""
        present = sum(node.seen == question.as_of for node in parent.children.values())
        if present >= count and parent.changed_at <= question.as_of:
            parent.complete_until = question.at + self.ttl

    # --- changing ------------------------------------------------------------------------------

    def create(self, parent: Node, name: bytes, kind: Kind, *, mtime_ns: int, now: float) -> Node:
        """A new entry made here. The caller has made sure that the name is free."""
        node = self.nodes.add(parent, name, kind)
        node.mtime_ns = mtime_ns
        node.expires = now + self.ttl
        self._touch(parent, name, mtime_ns)
        if kind is Kind.DIRECTORY:
            node.complete_until = now + self.ttl  # nobody else knows it yet
        else:
            above: Node | None = parent
            while above is not None:  # a path to a draft outlives what others do to it
                self.keep(above)
                above = above.parent
        return node

    def remove(self, node: Node, *, mtime_ns: int, now: float) -> None:
        """The entry was removed here."""
        parent = node.parent
        assert parent is not None
        self._touch(parent, node.name, mtime_ns)
        self._vacated(node, now)
        self.nodes.detach(node)

    def rename(self, node: Node, parent: Node, name: bytes, *, mtime_ns: int, now: float) -> None:
        """The entry was renamed here, onto a name that is free by now."""
        old = node.parent
        assert old is not None
        self._touch(old, node.name, mtime_ns)
        self._vacated(node, now)
        self.nodes.move(node, parent, name)
        self._touch(parent, name, mtime_ns)
        node.expires = now + self.ttl
        self._moved(node)

    def stored(self, node: Node, info: ObjectInfo | None, now: float) -> None:
        """What the store holds for a file changed by our own doing; its local time stays."""
        if info is not None and node.local:
            info = replace(info, mtime_ns=node.local.mtime_ns)
        node.info = info
        node.expires = now + self.ttl
        if node.parent is not None:
            self._touch(node.parent, node.name, 0)
            if info is not None:
                self._exists(node.parent)

    def lose(self, node: Node) -> None:
        """Others have taken the name of a file that is open here: it goes on without one."""
        if (parent := node.parent) is not None:
            self._touch(parent, node.name, 0)
            node.lose()
            self.nodes.detach(node)
            parent.complete_until = 0.0

    def keep(self, directory: Node) -> None:
        """A directory must not vanish under its local users (PROMISES P14)."""
        if directory.parent is not None:
            directory.local = Local(0, 0)
            self._touch(directory.parent, directory.name, 0)

    def change(self, node: Node) -> Changes:
        """The attributes set here, to be set further."""
        node.changes = node.changes or Changes()
        return node.changes

    # --- inside --------------------------------------------------------------------------------

    def _touch(self, parent: Node, name: bytes, mtime_ns: int) -> None:
        self._counter += 1
        spot = (parent.ino, component_of(name)[0])
        self._touched.pop(spot, None)  # keeps the dictionary in order of the counter
        self._touched[spot] = self._counter
        parent.absent.pop(name, None)
        parent.mtime_ns = mtime_ns or parent.mtime_ns

    def _vacated(self, node: Node, now: float) -> None:
        """Its name becomes free, unless an object beside the directory now takes it."""
        parent = node.parent
        assert parent is not None
        beside = _names(component_of(node.name)[0])[1]
        twin = parent.children.get(beside) if beside else None
        if node.kind is Kind.DIRECTORY and twin is not None:
            twin.expires = parent.complete_until = 0.0  # the store is asked, and renames it
        else:
            parent.absent[node.name] = now + self.ttl

    def _moved(self, node: Node) -> None:
        node.changed_at = self._counter
        for child in node.children.values():
            if child.kind is Kind.DIRECTORY:
                self._moved(child)

    def _exists(self, directory: Node) -> None:
        """An object below it was stored: the directory and all above it exist for everybody."""
        node: Node | None = directory
        while node is not None:
            node.local = None
            node = node.parent

    def _outdated(self, parent: Node, component: str, question: Question) -> bool:
        touched = self._touched.get((parent.ino, component), -1)
        return max(touched, parent.changed_at) > question.as_of or not parent.attached

    def _named(self, parent: Node, component: str) -> list[Node]:
        found = (parent.children.get(name) for name in _names(component) if name)
        return [node for node in found if node is not None]

    def _remember_absence(self, parent: Node, component: str, question: Question) -> None:
        if len(parent.absent) >= _MAX_ABSENT:
            parent.absent.clear()
        for name in _names(component):
            if name and name not in parent.children:
                parent.absent[name] = question.at + self.ttl

    def _place(
        self, parent: Node, entry: Entry, question: Question, changes: list[Invalidate]
    ) -> list[Node]:
        """Make the children agree with one entry; the nodes that stand for it now."""
        plain, clash = _names(entry.component)
        if plain is None:
            self.unnamed += 1
            return []
        folder, file = self._standing(parent, plain, clash)
        directory = entry.directory or bool(folder and folder.lives_here)
        if folder and not directory:
            self._gone(folder, changes)
        wanted = clash if directory else plain
        if file and wanted and file.name != wanted:
            changes.append(Invalidate(parent.ino, file.name))
            self.nodes.move(file, parent, wanted)
        shown: list[Node] = []
        if directory:
            folder = folder or self.nodes.add(parent, plain, Kind.DIRECTORY)
            if entry.directory:
                folder.local = None
            folder.expires = question.at + self.ttl
            shown.append(folder)
        if entry.info and wanted:
            shown.append(self._version(parent, wanted, entry.info, question, changes))
        elif file and not file.local:
            self._gone(file, changes)
        elif file:
            file.info = None  # only the draft is left of it
            shown.append(file)
        for node in shown:
            parent.absent.pop(node.name, None)
        return shown

    @staticmethod
    def _standing(
        parent: Node, plain: bytes, clash: bytes | None
    ) -> tuple[Node | None, Node | None]:
        """The directory and the file that stand for one component now."""
        node = parent.children.get(plain)
        if node is not None and node.kind is Kind.FILE:
            return None, node
        return node, parent.children.get(clash) if clash else None

    def _version(
        self,
        parent: Node,
        name: bytes,
        info: ObjectInfo,
        question: Question,
        changes: list[Invalidate],
    ) -> Node:
        """The file node that shows this version of an object."""
        node = parent.children.get(name)
        if node and node.info and node.info.etag == info.etag:
            # Semantics: same version, same time: what was shown before stays
            if info.metadata is not None:
                node.info = replace(info, mtime_ns=node.info.mtime_ns)
        elif node and node.opens and not node.local:
            self._gone(node, changes)
            node = None
        elif node:
            node.info, node.changes = info, None
            node.content += 1
            if node.lookups and not node.local:
                changes.append(Invalidate(node.ino))
        if node is None:
            node = self.nodes.add(parent, name, Kind.FILE)
            node.info = info
        node.expires = question.at + self.ttl
        return node

    def _gone(self, node: Node, changes: list[Invalidate]) -> None:
        parent = node.parent
        assert parent is not None
        if node.lookups:
            changes.append(Invalidate(parent.ino, node.name))
        node.lose()
        self.nodes.detach(node)


_UNCHANGED = Changes()
_MAX_ABSENT = 10_000
"""Absent names remembered in one directory; then all of them are forgotten."""


def _names(component: str) -> tuple[bytes | None, bytes | None]:
    """The plain name and the clash name of a component; None where there is none."""
    try:
        plain = name_of(component)
    except (NameTooLong, InvalidName):
        return None, None
    try:
        return plain, name_of(component, clash=True)
    except NameTooLong:
        return plain, None


prefix = prefix_of
