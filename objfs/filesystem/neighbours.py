"""Directory read-ahead: the next small files of a directory are fetched before they are opened.

Where a store is 20 ms away, a program that opens one small file after another waits for it 50 times
a second, however fast everything else is. `objfs.cache.walk` judges which files come next; here
they are fetched, conditional on the versions that the listing named, without a HEAD. When a walk
nears the end of its directory, the next directory is listed and begun.

What was fetched and not opened is counted, and `objfs status` tells it.
"""

import logging
import math
from contextlib import aclosing
from dataclasses import dataclass, field

import trio

from objfs.cache.walk import Walk
from objfs.errors import ObjfsError
from objfs.filesystem.base import Mount
from objfs.tree.tree import Node, path_of
from objfs.types import Ino, Kind

log = logging.getLogger(__name__)

LARGEST = 2**20
"""Bytes of the largest file that is fetched whole because its neighbours were read."""
BYTES_AHEAD = 16 * 2**20
"""That may be ahead of the readers of one directory."""
MOST_FILES = 50_000
"""Entries of the largest directory that is followed, some 300 bytes each while it is (P21)."""
MOST_DIRECTORIES = 64
"""Directories that are followed at once, and their files together are at most `MOST_FILES`, too."""
FORGET = 30.0
"""Seconds without an open after which evidence is worth nothing."""
HABIT = 3
"""Most steps of the window with which the next directory begins: 8 files."""


@dataclass(slots=True)
class Counts:
    """What became of files that were fetched ahead of their opening."""

    fetched: int = 0
    bytes: int = 0
    used: int = 0
    unused: int = 0


@dataclass(slots=True)
class _Followed:
    """A directory in which files are opened."""

    first: Node
    at: float
    """When a file was opened last, in seconds."""
    walk: Walk | None = None
    files: list[Node] = field(default_factory=list)
    """In the order of their names."""
    places: dict[Ino, int] = field(default_factory=dict)
    told: bool = False
    """Whether the next directory was begun."""


class Neighbours:
    """The walks through the directories of one mount."""

    def __init__(self, mount: Mount) -> None:
        self._mount = mount
        self.counts = Counts()
        self._followed: dict[Ino, _Followed] = {}
        """By directory, least recently used first."""
        self._habits: dict[Ino, int] = {}
        """How sure the walks through the directories below a directory were."""
        self._send, self._next = trio.open_memory_channel[tuple[Node, int]](math.inf)

    async def run(self) -> None:
        """Begin the directories that will be walked next; runs until it is cancelled."""
        async for directory, steps in self._next:
            try:
                await self._visit(directory, steps)
            except ObjfsError as error:
                log.debug("%s is not listed ahead: %s", path_of(directory), error)

    def opened(self, node: Node) -> None:
        """A file is opened for reading."""
        parent = node.parent
        if parent is None or not _worth(node):
            return
        followed = self._follow(parent, node)
        walk = followed.walk
        if walk is None or node.ino not in followed.places:
            return
        place = followed.places[node.ino]
        used, unused = walk.opened(place)
        self.counts.used += used
        self.counts.unused += unused
        if used and parent.parent is not None:
            self._habits[parent.parent.ino] = min(HABIT, walk.steps)
        self._fetch(parent, followed, walk, place)
        if walk.ending and not followed.told:
            followed.told = True
            if (after := _next_directory(parent, walk.order)) is not None:
                self._send.send_nowait((after, walk.steps))

    # --- inside --------------------------------------------------------------------------------

    def _follow(self, directory: Node, node: Node) -> _Followed:
        now = self._mount.clock()
        followed = self._followed.pop(directory.ino, None)
        if followed is not None and now - followed.at > FORGET:
            self._leave(directory.ino, followed)
            followed = None
        if followed is None:
            followed = _Followed(node, now)
            steps = self._inherited(directory)
            if steps:
                self._begin(directory, followed, steps)
        elif followed.walk is None:
            self._begin(directory, followed, 0)
            if followed.walk and followed.first.ino in followed.places:
                followed.walk.opened(followed.places[followed.first.ino])
        elif node.ino not in followed.places and 2 * len(directory.children) > 3 * len(
            followed.files
        ):
            self._begin(directory, followed, followed.walk.steps)
        followed.at = now
        self._followed[directory.ino] = followed
        self._limit()
        return followed

    def _limit(self) -> None:
        files = sum(len(followed.files) for followed in self._followed.values())
        while len(self._followed) > 1 and (
            len(self._followed) > MOST_DIRECTORIES or files > MOST_FILES
        ):
            oldest = next(iter(self._followed))
            files -= len(self._followed[oldest].files)
            self._leave(oldest, self._followed.pop(oldest))

    def _begin(self, directory: Node, followed: _Followed, steps: int) -> None:
        if len(directory.children) > MOST_FILES:
            return
        files = [node for node in directory.children.values() if _worth(node)]
        files.sort(key=lambda node: node.name)
        if not files:
            return
        followed.files = files
        followed.places = {node.ino: place for place, node in enumerate(files)}
        by_number = sorted(range(len(files)), key=lambda place: files[place].ino)
        followed.walk = Walk([range(len(files)), by_number], steps=steps)

    def _fetch(self, directory: Node, followed: _Followed, walk: Walk, place: int) -> None:
        now, files = self._mount.clock(), followed.files
        held = sum(info.size for ahead in walk.ahead if (info := files[ahead].info))
        for found in walk.next(place):
            node = files[found]
            info = node.info
            if info is None or node.parent is not directory or now >= node.expires or node.local:
                continue
            if held + info.size > BYTES_AHEAD:
                return
            asked = self._mount.reads.fetch_ahead(directory.ino, info)
            if asked:
                walk.take(found)
                held += asked
                self.counts.fetched += 1
                self.counts.bytes += asked

    def _inherited(self, directory: Node) -> int:
        """How sure to begin; less each time that nothing came of it."""
        above = directory.parent
        steps = self._habits.pop(above.ino, 0) if above else 0
        if above and steps > 1:
            self._habits[above.ino] = steps - 1
        return steps

    def _leave(self, ino: Ino, followed: _Followed) -> None:
        self._mount.reads.forgo(ino)
        if followed.walk:
            self.counts.unused += len(followed.walk.ahead)

    async def _visit(self, directory: Node, steps: int) -> None:
        if not directory.attached or directory.ino in self._followed:
            return
        if self._mount.clock() >= directory.complete_until:
            async with aclosing(self._mount.refresh.listing(directory)) as pages:
                async for _ in pages:
                    break
        if directory.ino in self._followed or not directory.attached:
            return
        followed = _Followed(directory, self._mount.clock())
        self._begin(directory, followed, min(HABIT, steps))
        if followed.walk:
            self._followed[directory.ino] = followed
            self._limit()
            self._fetch(directory, followed, followed.walk, -1)


def _worth(node: Node) -> bool:
    info = node.info
    small = info is not None and 0 < info.size <= LARGEST
    return small and node.kind is Kind.FILE and node.local is None


def _next_directory(directory: Node, order: int) -> Node | None:
    """The one behind it among its siblings, by name or (order 1) by number."""
    above = directory.parent
    if above is None:
        return None
    siblings = (node for node in above.children.values() if node.kind is Kind.DIRECTORY)
    if order:
        later = [node for node in siblings if node.ino > directory.ino]
        return min(later, key=lambda node: node.ino, default=None)
    later = [node for node in siblings if node.name > directory.name]
    return min(later, key=lambda node: node.name, default=None)
