"""Rename of a directory: every object below it is copied, then every original deleted.

Semantics: an error while copying leaves the source as it was and takes the copies back; an error
while deleting leaves both, says which keys are left, and just these versions go at the next mount.
A crash anywhere in between is finished at the next mount (PROMISES P16). The tree moves once, when
all copies are made.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace

import trio

from objfs.errors import InvalidArgument, NotFound, ObjfsError, StoreError, Unsupported
from objfs.filesystem import recovery
from objfs.filesystem.base import MARKER, Mount
from objfs.filesystem.names import Names
from objfs.filesystem.saving import Saving
from objfs.handles import OpenFile
from objfs.tree.tree import Node, key_of, path_of
from objfs.types import DELIMITER, ETag, Headers, Kind, ObjectInfo

log = logging.getLogger(__name__)

COPIES_AT_ONCE = 16


class Renames:
    """Renames of directories on one mount."""

    def __init__(self, mount: Mount, names: Names, saving: Saving) -> None:
        self._mount = mount
        self._names = names
        self._saving = saving
        self._ledger = saving.ledger

    async def rename_directory(
        self, node: Node, parent: Node, name: bytes, target: Node | None
    ) -> None:
        """Move a directory and all below it, onto an empty directory where there is one."""
        below = self._mount.new_key(parent, name, Kind.DIRECTORY)
        source = key_of(node)
        if below.startswith(source):
            raise InvalidArgument(f"{path_of(node)} cannot be moved into itself")
        if not self._mount.bucket.top_level_objects and 1 in {source.count("/"), below.count("/")}:
            raise Unsupported(
                f"{path_of(node)}: a bucket keeps its name, and a directory becomes none",
                remedy="Make a bucket with mkdir, and move what is in here into it",
            )
        async with self._mount.turns.hold(source, below):
            if not node.attached:
                raise NotFound("the directory was just removed")
            if target:
                await self._names.must_be_empty(target)
            await self._begin(source, below)
            try:
                copies = await self._copy_all(source, below)
                marked = await self._copy_folder(source, below)
            except ObjfsError:
                await self._end(source)
                raise
            self._move(node, parent, name, target, copies)
            await self._saving.moved(list(self._files_below(node)))
            failed = await self._delete_all([info for info, _ in copies])
            if marked:
                await self._drop_folder(source)
            left = {info.key: info.etag for info, _ in copies if info.key in failed}
            await self._end(source, left)
            if failed:
                key, error = next(iter(failed.items()))
                raise StoreError(
                    f"{len(failed)} of {len(copies)} originals could not be removed,"
                    f" {key}: {error}",
                    remedy="Both the copies and these originals exist until the next mount, which"
                    " tries again",
                )

    async def begun(self) -> list[tuple[str, str]]:
        """Renames that were begun and not ended: source and target prefix."""
        return await trio.to_thread.run_sync(self._ledger.renames)

    async def finish(self, source: str, below: str) -> int:
        """Go on with a rename that a crash cut short, and end it; how many objects were moved.

        Copies first, then the rows of the drafts below follow, then the originals go: a crash
        anywhere in this is finished in the same way.
        Semantics: what others stored under a target key since then is not overwritten; its source
        stays.
        """
        moved: list[ObjectInfo] = []
        versions: dict[str, tuple[ObjectInfo, ObjectInfo]] = {}
        async for page in self._mount.bucket.pages(source, delimiter=""):
            for info in page.objects:
                target = below + info.key[len(source) :]
                try:
                    found = await self._mount.bucket.head(target, quick=True)
                except NotFound:
                    found = await self._copy(info, target)
                    versions[info.key] = info, found
                    moved.append(info)
                    continue
                if await self._same(info, found):
                    versions[info.key] = info, found
                    moved.append(info)
                else:
                    log.warning("%s stays: %s is another object by now", info.key, target)
        await recovery.follow(self._saving.ledger, source, below, versions)
        failed = await self._delete_all(moved)
        if await self._copy_folder(source, below):
            await self._drop_folder(source)
        left = {info.key: info.etag for info in moved if info.key in failed}
        await self._end(source, left)
        return len(moved)

    async def clear(self) -> None:
        """Remove the originals that earlier renames could not, where they are what was copied."""
        ledger = self._saving.ledger
        gone = []
        for key, etag in (await trio.to_thread.run_sync(ledger.leftovers)).items():
            try:
                if (await self._mount.bucket.head(key)).etag == etag:
                    await self._mount.bucket.delete(key)
            except NotFound:
                log.debug("%s is gone already", key)
            except ObjfsError as error:
                log.warning("%s was renamed, and its original stays: %s", key, error)
                continue
            gone.append(key)
        if gone:
            await trio.to_thread.run_sync(ledger.cleared, gone)

    async def _same(self, info: ObjectInfo, found: ObjectInfo) -> bool:
        """Whether two objects have the same bytes."""
        if info.size != found.size:
            return False
        if info.etag == found.etag or info.size == 0:
            return True
        digests = []
        for each in (info, found):  # copies of what went up in parts have another ETag
            digest = hashlib.sha256()
            await self._mount.bucket.get(each, 0, each.size, digest.update)
            digests.append(digest.digest())
        return digests[0] == digests[1]

    # --- inside --------------------------------------------------------------------------------

    async def _begin(self, source: str, target: str) -> None:
        """From now on the rename of this prefix will be finished, whatever happens."""
        await trio.to_thread.run_sync(self._ledger.begin_rename, source, target)

    async def _end(self, source: str, left: Mapping[str, ETag] | None = None) -> None:
        """The rename is finished, or was taken back; originals that could not be removed."""
        await trio.to_thread.run_sync(self._ledger.end_rename, source, left or {})

    async def _copy_all(self, source: str, below: str) -> list[tuple[ObjectInfo, ObjectInfo]]:
        copies: list[tuple[ObjectInfo, ObjectInfo]] = []
        errors: list[ObjfsError] = []
        slots = trio.CapacityLimiter(COPIES_AT_ONCE)

        async def copy(info: ObjectInfo) -> None:
            try:
                new = await self._copy(info, below + info.key[len(source) :])
                copies.append((info, replace(new, size=info.size, mtime_ns=info.mtime_ns)))
            except ObjfsError as error:
                errors.append(error)
                nursery.cancel_scope.cancel()
            finally:
                slots.release_on_behalf_of(info)

        async with (
            aclosing(self._mount.bucket.pages(source, delimiter="")) as pages,
            trio.open_nursery() as nursery,
        ):
            try:
                async for page in pages:
                    for info in page.objects:
                        await slots.acquire_on_behalf_of(info)  # so that tasks do not pile up
                        nursery.start_soon(copy, info)
            except ObjfsError as error:  # out of a nursery it would come in a group
                errors.append(error)
                nursery.cancel_scope.cancel()
        if errors:
            await self._mount.bucket.delete_many([new.key for _, new in copies])
            raise errors[0]
        return copies

    async def _copy(self, info: ObjectInfo, target: str) -> ObjectInfo:
        try:
            return await self._mount.bucket.copy(info, target)
        except NotFound:
            if info.size or not info.key.endswith(DELIMITER):
                raise
            # SeaweedFS lists a marker and answers HEAD, but cannot copy it: make one like it
            found = await self._mount.bucket.head(info.key)
            headers = Headers(found.content_type or MARKER.content_type, found.metadata or {})
            return await self._mount.bucket.put(target, b"", headers)

    async def _copy_folder(self, source: str, below: str) -> bool:
        """Give the target the marker that does not lie below the source, if there is one.

        It is Swift's (`ObjectInfo.is_folder`), so no other store is asked for it.
        """
        bucket = self._mount.bucket
        if not bucket.folder_objects:
            return False
        try:
            if not (await bucket.head(source.removesuffix(DELIMITER))).is_folder:
                return False
        except NotFound:
            return False
        await bucket.put(below, b"", MARKER)
        return True

    async def _drop_folder(self, source: str) -> None:
        """Remove that marker; the driver knows it by the directory's name."""
        try:
            await self._mount.bucket.delete(source)
        except ObjfsError as error:
            log.warning("%s was renamed, and its marker may stay: %s", source, error)

    async def _delete_all(self, originals: list[ObjectInfo]) -> Mapping[str, Exception]:
        """What could not be removed, and why."""
        keys = [info.key for info in originals]
        try:
            return await self._mount.bucket.delete_many(keys)
        except ObjfsError as error:  # no telling how far it came
            return dict.fromkeys(keys, error)

    def _move(
        self,
        node: Node,
        parent: Node,
        name: bytes,
        target: Node | None,
        copies: list[tuple[ObjectInfo, ObjectInfo]],
    ) -> None:
        now, wall = self._mount.clock(), self._mount.wall_ns()
        if target:
            self._mount.tree.remove(target, mtime_ns=wall, now=now)
        left = node.parent
        self._mount.tree.rename(node, parent, name, mtime_ns=wall, now=now)
        if left:
            self._mount.tree.keep(left)
        if not copies:
            self._mount.tree.keep(node)  # it lives only here, like all that is in it
        moved = {old.key: (old, new) for old, new in copies}
        for old, new in copies:
            self._mount.reads.renamed(old, new)
        self._tell(node, moved)

    def _files_below(self, node: Node) -> Iterator[OpenFile]:
        for child in node.children.values():
            if file := self._mount.handles.file_of(child):
                yield file
            yield from self._files_below(child)

    def _tell(self, node: Node, moved: dict[str, tuple[ObjectInfo, ObjectInfo]]) -> None:
        """The nodes below a moved directory learn where their objects are now."""
        if node.info and (pair := moved.get(node.info.key)):
            new = replace(pair[1], mtime_ns=node.info.mtime_ns)
            node.info = new
            if file := self._mount.handles.file_of(node):
                file.info = new
        for child in node.children.values():
            self._tell(child, moved)
