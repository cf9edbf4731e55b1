"""What a person may ask of a mount that runs: what is owed, try it, drop it, ask the store anew.

Paths are those below the mount point, beginning with "/". Every answer is a JSON object (or
several, for `drain`); their fields are what `objfs status --json` and its like print, so a name
here does not change its meaning.
"""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any

import trio

from objfs.cache.journal import FROZEN, State
from objfs.cache.spool import Draft
from objfs.errors import Busy, IsADirectory, NotFound, ObjfsError, UsageError
from objfs.filesystem.base import Mount
from objfs.filesystem.neighbours import Counts
from objfs.filesystem.saving import Saving
from objfs.handles import OpenFile
from objfs.tree.tree import Invalidate, Node, key_of, path_of
from objfs.types import Kind, ObjectInfo

Document = dict[str, Any]
LISTINGS = 16
"""Directories that one `refresh` lists side by side."""
TICK = 0.25
"""Seconds between two reports of `drain`."""
NAG = 10.0
"""Seconds after which `drain` asks for everything again."""


class Operator:
    """The commands of one mount."""

    def __init__(self, mount: Mount, saving: Saving, ahead: Counts) -> None:
        self._mount = mount
        self._saving = saving
        self._ahead = ahead
        self._begun = mount.clock()

    async def answer(self, question: Mapping[str, Any]) -> AsyncGenerator[Document, None]:
        """One command. Raises `ObjfsError`."""
        path = question.get("path", "/")
        match question.get("command"):
            case "status":
                yield self.status()
            case "pending":
                yield {"drafts": self.pending(path)}
            case "retry":
                yield self.retry(path)
            case "discard":
                yield await self.discard(path)
            case "refresh":
                yield await self.refresh(path)
            case "drain":
                async with aclosing(self.drain(float(question.get("seconds", 300)))) as lines:
                    async for line in lines:
                        yield line
            case other:
                raise UsageError(
                    f"the daemon knows no command {other!r}",
                    remedy="It may be older than this objfs: unmount, and mount again.",
                )

    # --- what is owed --------------------------------------------------------------------------

    def status(self) -> Document:
        """How the mount does: uptime, cache, uploads, conflicts, traffic."""
        mount, drafts = self._mount, self.pending()
        states = [draft["state"] for draft in drafts]
        return {
            "uptime": round(mount.clock() - self._begun, 1),
            "cache": {
                "folder": mount.cache.folder,
                "limit": mount.shelf.limit,
                "clean": mount.shelf.clean,
                "dirty": mount.shelf.dirty,
            },
            "uploads": {
                "bytes": sum(draft["bytes"] for draft in drafts),
                **{state: states.count(state) for state in STATES},
            },
            "drafts": drafts,
            "conflicts": list(self._saving.conflicts.copies),
            "requests": dict(mount.bucket.requests),
            "refused": mount.bucket.refused,
            "ahead": asdict(self._ahead),
            "traffic": {"in": mount.bucket.bytes["in"], "out": mount.bucket.bytes["out"]},
        }

    def pending(self, path: str = "/") -> list[Document]:
        """The drafts at or below a path that the store does not have; those that fail first."""
        found = [
            self._draft(file, draft)
            for file in self._mount.handles.files()
            if file.node.attached and _below(path, path_of(file.node))
            for draft in _unsaved(file)
        ]
        return sorted(found, key=lambda d: (STATES.index(d["state"]), d["path"], d["number"]))

    def _draft(self, file: OpenFile, draft: Draft) -> Document:
        entry = self._saving.journal.get(draft.number)
        waits = entry and entry.state in {State.WAITING, State.PARKED} and not draft.sealed
        if entry and entry.error:
            state = "failing"  # also while it is tried again: it is not well until it is stored
        elif draft.sealed or (entry and entry.state is State.SENDING):
            state = "sending"
        else:
            state = "waiting" if entry and entry.state in FROZEN else "writing"
        due = (entry.due_ns - self._mount.wall_ns()) / 1e9 if entry and waits else None
        return {
            "path": path_of(file.node),
            "key": key_of(file.node),
            "number": draft.number,
            "bytes": draft.size,
            "state": state,
            "tries": entry.tries if entry else 0,
            "error": entry.error if entry else "",
            "next_try": None if due is None else round(max(0.0, due), 1),
        }

    # --- what becomes of it --------------------------------------------------------------------

    def retry(self, path: str = "/") -> Document:
        """Try all uploads at or below a path now. Raises `NotFound` when a file owes none."""
        drafts = self.pending(path)
        if not drafts and path != "/":
            raise NotFound(f"{path} has nothing to upload")
        numbers = [draft["number"] for draft in drafts if draft["state"] != "writing"]
        self._saving.ask(numbers)
        return {"asked": len(numbers)}

    async def drain(self, seconds: float) -> AsyncGenerator[Document, None]:
        """Have everything that was promised tried again and again, until all of it is stored.

        Reports `files` and `bytes` that are left; the last line has `done` and `drafts`.
        """
        end = trio.current_time() + seconds
        asked = -NAG
        while True:
            drafts = [draft for draft in self.pending() if draft["state"] != "writing"]
            now = trio.current_time()
            if not drafts or now >= end:
                yield {"done": not drafts, "drafts": drafts}
                return
            if now - asked >= NAG:
                asked = now
                self.retry()
            yield {"files": len(drafts), "bytes": sum(draft["bytes"] for draft in drafts)}
            await trio.sleep(min(TICK, end - now))

    async def discard(self, path: str) -> Document:
        """Drop what was written to a file and is not stored: it shows the store's version again.

        Raises `NotFound` when all of it is stored, `Busy` while the file is open, `IsADirectory`.
        """
        node = self._known(path)
        if node and node.kind is Kind.DIRECTORY:
            raise IsADirectory(f"{path} is a directory", remedy="Discard its files one by one")
        file = self._mount.handles.file_of(node) if node else None
        if node is None or file is None or not any(_unsaved(file)):
            raise NotFound(f"{path} has nothing that is not stored")
        size = sum(draft.size for draft in _unsaved(file))
        async with self._mount.turns.hold(key_of(node)):  # an upload under way ends first
            if file.handles:
                raise Busy(f"{path} is open", remedy="End the program that uses it, and try again")
            if not file.unsaved:
                raise NotFound(f"{path} was stored just now")
            draft = file.draft
            await self._saving.forget(file)
            if draft and draft is file.draft and not draft.sealed:
                file.draft = None
                draft.discard()
                await self._show_the_stores(file)
        return {"path": path, "bytes": size}

    async def _show_the_stores(self, file: OpenFile) -> None:
        """The draft is worth nothing any more: what stands there is for the store to say."""
        node, parent = file.node, file.node.parent
        if not file.handles:
            self._mount.put_away(file)
        if parent is None:
            return  # unlinked meanwhile
        known, name = node.info, node.name
        node.info = node.local = None
        node.expires = 0.0
        node.content += 1
        try:
            await self._mount.refresh.name(parent, name)
        except ObjfsError:  # the store cannot be asked now: what is known must do until it can
            self._unasked(node, parent, known)
        self._mount.refresh.invalidate(Invalidate(parent.ino, name))
        self._mount.refresh.invalidate(Invalidate(node.ino))

    def _unasked(self, node: Node, parent: Node, known: ObjectInfo | None) -> None:
        if not node.attached or node.info or node.local:
            return  # others have found out meanwhile
        if known:
            node.info = known
        else:
            self._mount.tree.remove(node, mtime_ns=self._mount.wall_ns(), now=self._mount.clock())
            parent.absent.pop(node.name, None)

    # --- what the store has --------------------------------------------------------------------

    async def refresh(self, path: str) -> Document:
        """Ask the store about a path, and all that is known below it, now (PROMISES P12)."""
        node = self._mount.tree.nodes.root
        asked = 0
        names = _names(path)
        for at, name in enumerate(names):
            parent, found = node, node.children.get(name)
            if found is None or at == len(names) - 1:
                # twice: the first may share the answer to a question from before the change
                for _ in range(2):
                    await self._mount.refresh.name(parent, name)
                asked += 1
                self._mount.refresh.invalidate(Invalidate(parent.ino, name))
                found = parent.children.get(name)
            if found is None:
                return {"path": path, "exists": False, "asked": asked}
            node = found
        if node.kind is Kind.DIRECTORY:
            asked += await self._list_again(node)
        return {"path": path, "exists": True, "asked": asked}

    async def _list_again(self, directory: Node) -> int:
        """List it, and every directory below of which anything is known; how many."""
        below = [directory, *(node for node in _directories(directory) if _is_known(node))]
        slots = trio.CapacityLimiter(LISTINGS)
        errors: list[ObjfsError] = []

        async def again(node: Node) -> None:
            async with slots:
                try:
                    await self._list(node)
                except ObjfsError as error:
                    errors.append(error)
                    nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for node in below:
                nursery.start_soon(again, node)
        if errors:
            raise errors[0]
        return len(below)

    async def _list(self, directory: Node) -> None:
        known = set(directory.children)
        directory.absent.clear()
        directory.complete_until = 0.0
        async with aclosing(self._mount.refresh.listing(directory)) as pages:
            async for nodes in pages:
                for node in nodes:
                    if node.name not in known:  # the kernel may remember its absence
                        self._mount.refresh.invalidate(Invalidate(directory.ino, node.name))

    # --- inside --------------------------------------------------------------------------------

    def _known(self, path: str) -> Node | None:
        """The node of a path, without asking the store: a draft's is always known."""
        node: Node | None = self._mount.tree.nodes.root
        for name in _names(path):
            node = node.children.get(name) if node else None
        return node


STATES = ("failing", "sending", "waiting", "writing")
"""What a draft may be doing; "writing": no program has closed it yet, so nothing is owed."""


def _names(path: str) -> list[bytes]:
    parts = PurePosixPath("/", path).parts[1:]
    return [part.encode("utf-8", "surrogateescape") for part in parts]


def _below(path: str, other: str) -> bool:
    return path in {"/", other} or other.startswith(path.rstrip("/") + "/")


def _unsaved(file: OpenFile) -> Iterator[Draft]:
    if file.owed:
        yield file.owed
    if file.draft and (file.draft.dirty or file.draft.sealed):
        yield file.draft


def _directories(top: Node) -> Iterator[Node]:
    for child in list(top.children.values()):
        if child.kind is Kind.DIRECTORY:
            yield child
            yield from _directories(child)


def _is_known(directory: Node) -> bool:
    return bool(directory.children or directory.absent or directory.complete_until)
