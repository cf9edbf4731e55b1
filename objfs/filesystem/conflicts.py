"""An upload whose condition failed: what really is the case, and what becomes of the content.

Several things may be the case, and are told apart by asking the store:
- the object is exactly what was sent, now or by the draft before: that try landed and its answer
  was lost. It is stored, or may be replaced.
- there is no object any more: somebody removed it. Ours is stored as a new one.
- there is another: a conflict, settled as `--on-conflict` says (PROMISES P10).
"""

import logging
import secrets
import socket
import time

from objfs.cache.spool import Draft
from objfs.errors import NotFound, PreconditionFailed, Stale
from objfs.filesystem.base import Mount, headers_for
from objfs.filesystem.uploads import Uploads
from objfs.handles import OpenFile
from objfs.tree.listing import Entry as Listed
from objfs.tree.tree import Invalidate, path_of, prefix
from objfs.types import ABSENT, ANYTHING, DELIMITER, NAME_MAX, Expect, Headers, ObjectInfo

log = logging.getLogger(__name__)


class Conflicts:
    """Conditional uploads of one mount, and the conflict copies that came of them."""

    def __init__(self, mount: Mount, uploads: Uploads) -> None:
        self._mount = mount
        self._uploads = uploads
        self.copies: list[str] = []
        """Paths of the conflict copies made since the mount began, newest last."""

    async def not_lost(self, file: OpenFile) -> None:
        """A file whose name others have given to another object: what was written is a conflict.

        Raises `Stale` then, once both are kept.
        """
        draft = file.draft
        if file.node.lost and draft and draft.dirty and not draft.sealed:
            if file.info is None or self._mount.config.on_conflict == "fail":
                raise Stale("the file was replaced or removed in the store since it was opened")
            draft.sealed += 1
            try:
                conflict = await self.keep_both(file, draft, file.info.key)
            finally:
                draft.sealed -= 1
            draft.dirty = False
            raise conflict

    async def put(
        self, file: OpenFile, draft: Draft, key: str, expect: Expect
    ) -> ObjectInfo | None:
        """The stored version; None where a conflict is to be settled by keeping both."""
        bucket = self._mount.bucket
        try:
            return await self._put(draft, key, expect)
        except PreconditionFailed as error:
            theirs = await self._theirs(key)
            if theirs is None:
                log.info("%s was removed elsewhere: stored as new", key)
                return await self._put(draft, key, ABSENT)
            if theirs.etag == draft.sent or await bucket.is_same(theirs, draft.body()):
                return theirs  # an earlier try landed, and its answer was lost
            if await self._older_of_ours(file, draft, theirs):
                return await self._put(draft, key, Expect(etag=theirs.etag))
            mode = self._mount.config.on_conflict
            if mode == "overwrite":
                log.info("%s was changed elsewhere: overwritten, as --on-conflict says", key)
                return await self._put(draft, key, ANYTHING)
            if mode == "fail":
                raise Stale(
                    f"{path_of(file.node)}: the object was changed elsewhere since it was opened",
                    remedy="What was written is kept: see objfs pending",
                ) from error
            return None

    async def _put(
        self, draft: Draft, key: str, expect: Expect, headers: Headers | None = None
    ) -> ObjectInfo:
        """One upload, after those of older drafts to this key that might still be finished."""
        bucket, notes = self._mount.bucket, self._uploads.of(draft)
        await self._uploads.clear(bucket.full(key))
        headers = headers or headers_for(key)
        body, base = draft.body(), draft.derived
        return await bucket.put(key, body, headers, expect=expect, notes=notes, base=base)

    async def _older_of_ours(self, file: OpenFile, draft: Draft, theirs: ObjectInfo) -> bool:
        """Whether a draft before this one landed, and its answer was lost in a crash."""
        if theirs.etag in draft.ours:
            return True
        old = file.owed
        if old is None or old is draft:
            return False
        return await self._mount.bucket.is_same(theirs, old.body())

    async def _theirs(self, key: str) -> ObjectInfo | None:
        try:
            return await self._mount.bucket.head(key)
        except NotFound:
            return None

    async def keep_both(self, file: OpenFile, draft: Draft, key: str) -> Stale:
        """Store the content beside the other version; what close(2) has to say of it."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._mount.wall_ns() / 1e9))
        # Two mounts, also on hosts of one name, meet in one second: only chance tells them apart,
        # and where a store has no conditional PUT one copy would land on the other.
        chance = secrets.token_hex(4)
        name = _beside(key, f".conflict-{socket.gethostname()}-{stamp}-{chance}")
        copy = await self._put(draft, name, ABSENT, headers_for(key))
        theirs = await self._theirs(key)
        parent = file.node.parent
        if parent is not None:
            component = name[len(prefix(parent)) :]
            self._mount.refresh.tell(parent, Listed(component, copy, directory=False))
        self.copies.append(f"/{name}")
        name_now = (parent.ino, file.node.name) if parent is not None else None
        self._lost(file, draft, theirs)
        if name_now:
            self._mount.refresh.invalidate(Invalidate(*name_now))
        return Stale(
            f"/{key}: the object was changed elsewhere since it was opened",
            remedy=f"Both are kept; what was written here is /{name}",
        )

    def _lost(self, file: OpenFile, draft: Draft, theirs: ObjectInfo | None) -> None:
        """The name shows the other version from now on.

        Semantics: who has the file open stays with what was written here. Writing on to it is a
        conflict again, and never goes into the other version.
        """
        node = file.node
        if draft is not file.draft or not node.attached:
            return  # what is being written now derives from ours, and will conflict as well
        if file.handles:
            self._mount.tree.lose(node)
            return
        file.info = node.info = theirs
        node.content += 1
        file.draft = None
        node.local = None
        self._mount.refresh.invalidate(Invalidate(node.ino))


def _beside(key: str, suffix: str) -> str:
    """`key` with `suffix` at its end, its last component cut so that it still is a file name."""
    head, slash, name = key.rpartition(DELIMITER)
    room = NAME_MAX - len(suffix.encode())
    short = name.encode()[:room].decode(errors="ignore")
    return f"{head}{slash}{short}{suffix}"
