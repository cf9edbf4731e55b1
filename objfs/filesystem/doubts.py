"""What the store may have although no answer said so: uploads whose answer was lost in a crash.

An upload that was begun may have landed. Until the store has said what it has, a draft that
supersedes such an upload remembers the ETags that the store would have given to those bytes
(`Draft.ours`, and its row): a condition that fails on one of them is no conflict, and a name that
is removed or left is removed in the store too.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from objfs.cache.spool import Draft
from objfs.errors import NotFound
from objfs.handles import OpenFile
from objfs.store.bucket import Bucket
from objfs.types import ETag


def in_doubt(file: OpenFile | None) -> bool:
    """Whether the store may have something of this file that it never told us of."""
    return file is not None and any(draft.tried or draft.ours for draft in _drafts(file))


async def possible(bucket: Bucket, draft: Draft) -> frozenset[ETag]:
    """The ETags of what the store may have of this draft, and of those before it."""
    if not draft.tried or draft.gone:
        return draft.ours
    return draft.ours | await bucket.etags(draft.body())


async def landed(bucket: Bucket, file: OpenFile, key: str) -> bool:
    """Whether the store has, under this key, something that is ours beyond doubt."""
    try:
        theirs = await bucket.head(key)
    except NotFound:
        return False
    for draft in _drafts(file):
        with sealed(file, draft):
            if {theirs.etag, theirs.md5} & await possible(bucket, draft):
                return True
    return False


async def inherit(bucket: Bucket, file: OpenFile, old: Draft, draft: Draft) -> None:
    """`draft` takes the place of `old`, which may have landed."""
    with sealed(file, old), trio.CancelScope(shield=True):
        draft.ours |= await possible(bucket, old)


@contextmanager
def sealed(file: OpenFile, draft: Draft) -> Iterator[None]:
    """Nobody changes or removes it in this block."""
    draft.sealed += 1
    try:
        yield
    finally:
        unseal(file, draft)


def unseal(file: OpenFile, draft: Draft) -> None:
    """Nobody reads it any more; it goes if a newer draft took its place meanwhile."""
    draft.sealed -= 1
    if draft is not file.draft and draft is not file.owed and not draft.sealed:
        draft.discard()


def give_up_owed(file: OpenFile) -> None:
    """The older draft owes nothing any more."""
    owed, file.owed = file.owed, None
    if owed and not owed.sealed:
        owed.discard()


def _drafts(file: OpenFile) -> list[Draft]:
    return [draft for draft in (file.draft, file.owed) if draft]
