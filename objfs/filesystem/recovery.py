"""What an earlier daemon left undone: drafts that it owed, and rows of a rename cut short."""

import logging
from dataclasses import replace

import trio

from objfs.cache.journal import State
from objfs.cache.ledger import Ledger
from objfs.cache.spool import Draft
from objfs.filesystem import doubts
from objfs.filesystem.base import Mount
from objfs.filesystem.saving import Saving
from objfs.handles import OpenFile
from objfs.store.multipart import ABORT_SECONDS
from objfs.types import ETag, ObjectInfo

log = logging.getLogger(__name__)


async def follow(
    ledger: Ledger, source: str, target: str, versions: dict[str, tuple[ObjectInfo, ObjectInfo]]
) -> None:
    """Before `recover`: the rows below `source` go where a directory rename took their objects.

    `versions` has the original and the copy of each object by its old key.
    """
    entries = []
    for entry in await trio.to_thread.run_sync(ledger.entries):
        if entry.key.startswith(source):
            old, new = versions.get(entry.key, (None, None))
            base = new.etag if old and new and entry.base == old.etag else entry.base
            entries.append(replace(entry, key=target + entry.key[len(source) :], base=base))
    if entries:
        await trio.to_thread.run_sync(ledger.write, entries)


async def recover(mount: Mount, ledger: Ledger, saving: Saving) -> int:
    """Take up what an earlier daemon owed; how many drafts.

    Of a key's drafts the newest counts; those before it may have landed, and tell whether what
    the store has is ours. A draft whose file is gone is reported, and dropped.
    """
    files: dict[str, OpenFile] = {}
    lost: list[int] = []
    older: list[Draft] = []
    for entry in reversed(ledger.entries()):  # the newest first
        draft = mount.spool.find(entry.number, entry.size)
        if draft is None:
            log.error("the draft %d of %s is gone from the spool", entry.number, entry.key)
            lost.append(entry.number)
            continue
        draft.ours = frozenset(ETag(etag) for etag in entry.ours.split())
        file = files.get(entry.key)
        if file and file.draft:
            file.draft.ours |= await doubts.possible(mount.bucket, draft)
            lost.append(entry.number)
            older.append(draft)
            continue
        file = mount.restore(entry.key, entry.base, draft, entry.mtime_ns)
        files[entry.key] = file
        saving.known(file, draft, replace(entry, state=State.OWED, due_ns=0, size=draft.size))
    for file in files.values():
        if file.draft and (heir := saving.journal.get(file.draft.number)):
            saving.journal.put(replace(heir, ours=" ".join(sorted(file.draft.ours))))
    ledger.write(list(saving.journal), lost)
    for draft in older:
        draft.discard()
    kept = {entry.number for entry in saving.journal}
    for path in mount.spool.orphans(kept):
        path.unlink()
    return len(kept)


async def recover_uploads(mount: Mount, saving: Saving) -> tuple[int, int]:
    """After `recover`: multipart uploads that were cut short. How many go on, how many are gone.

    What cannot be removed at once is removed in the background: a slow store holds no mount up.
    """
    rows = await trio.to_thread.run_sync(saving.ledger.uploads)
    owed = {mount.bucket.full(entry.key): entry.number for entry in saving.journal}
    drafts = {key: saving.draft(number) for key, number in owed.items()}
    resumed = saving.uploads.restore(rows, drafts)
    with trio.move_on_after(ABORT_SECONDS):
        await saving.uploads.sweep()
    return resumed, len(rows) - resumed - saving.uploads.left()
