"""opendir and readdir: streamed from the store, or from memory while the tree knows it all.

A page of the store's listing is fetched when the kernel has read so far, and taught to the tree, so
`ls -l` of n entries costs ceil(n / page) requests and not one HEAD. Memory holds the names that one
open directory has shown, up to `KEEP` of them.

Semantics: a seek back further than `KEEP` names begins a new listing and counts up to the place;
entries made or removed meanwhile may then be shown twice or not at all, the others exactly once.
"""

from collections.abc import Callable

from objfs.errors import NotFound
from objfs.filesystem.base import Mount
from objfs.handles import DirHandle
from objfs.tree.tree import Node
from objfs.types import Fh, Stat

KEEP = 200_000

Emit = Callable[[bytes, Stat, int], bool]
"""Takes a name, its attributes and the offset behind it; False when the buffer is full."""


class Directories:
    """All open directories."""

    def __init__(self, mount: Mount) -> None:
        self._mount = mount

    def open(self, node: Node) -> Fh:
        """A new handle; nothing is asked before the first read."""
        node.opens += 1
        return self._mount.handles.add_dir(DirHandle(node))

    async def release(self, fh: Fh) -> None:
        """The counterpart of `open`."""
        handle = self._mount.handles.remove_dir(fh)
        handle.node.opens -= 1
        self._mount.tree.nodes.settle(handle.node)
        await self._stop(handle)

    async def read(self, fh: Fh, offset: int, emit: Emit) -> None:
        """Feed entries behind `offset` to `emit` until it has enough or there are no more."""
        handle = self._mount.handles.get_dir(fh)
        if not handle.node.attached:
            raise NotFound("the directory was removed")
        if offset < handle.dropped or offset == 0:
            await self._begin(handle)  # also after rewinddir, which wants to see what is new
        while True:
            while offset - handle.dropped < len(handle.names):
                name = handle.names[offset - handle.dropped]
                node = handle.node.children.get(name)
                if node is not None:  # else it was removed since the page was read
                    if not emit(name, self._mount.tree.stat(node, self._mount.clock()), offset + 1):
                        return
                    node.lookups += 1
                    self._mount.tree.nodes.settle(node)
                offset += 1
            if handle.done:
                return
            await self._more(handle)

    # --- inside --------------------------------------------------------------------------------

    async def _begin(self, handle: DirHandle) -> None:
        await self._stop(handle)
        handle.names, handle.dropped, handle.done = [], 0, False
        if self._mount.clock() < handle.node.complete_until:
            handle.names = sorted(handle.node.children)
            handle.done = True

    async def _more(self, handle: DirHandle) -> None:
        if handle.stream is None:
            handle.stream = self._mount.refresh.listing(handle.node)
        try:
            nodes = await anext(handle.stream, None)
        except BaseException:
            # the next read lists anew and counts up to its place: this is not the end
            handle.stream, handle.names, handle.dropped = None, [], 0
            raise
        if nodes is None:
            handle.done = True
            await self._stop(handle)
            return
        handle.names.extend(node.name for node in nodes)
        surplus = len(handle.names) - KEEP
        if surplus > 0:
            del handle.names[:surplus]
            handle.dropped += surplus

    @staticmethod
    async def _stop(handle: DirHandle) -> None:
        stream, handle.stream = handle.stream, None
        if stream is not None:
            await stream.aclose()
