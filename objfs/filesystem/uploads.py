"""The multipart uploads of one mount: each is finished, gone on with, or aborted; none is lost.

An upload is in the journal from before its first part until the store has answered its end. It is
gone on with while a draft owes those bytes under that key; else it is aborted: its draft was
superseded, discarded, unlinked, renamed, settled as a conflict, or never promised before a crash.
A store that cannot be asked now is asked again, by the next mount at the latest.
"""

import logging
from dataclasses import replace
from functools import partial

import trio

from objfs.cache.journal import Journal
from objfs.cache.ledger import Ledger
from objfs.cache.spool import Draft
from objfs.errors import ObjfsError
from objfs.exclusive import SingleFlight
from objfs.store.bucket import Bucket
from objfs.types import ETag, Upload

log = logging.getLogger(__name__)

AGAIN = 60.0
"""Seconds until an abort that failed is tried again."""


class Uploads:
    """Which upload is whose.

    INVARIANT: every upload in `_drafts` or in `_ended` has a row in the ledger, or is getting it.
    """

    def __init__(self, bucket: Bucket, ledger: Ledger, journal: Journal) -> None:
        self._bucket = bucket
        self._ledger = ledger
        self._journal = journal
        self._drafts: dict[Upload, Draft | None] = {}
        """The draft whose bytes an upload has; None when nobody wants it."""
        self._ended: set[Upload] = set()
        """Their rows are to be removed."""
        self._wake = trio.Event()
        self._aborts: SingleFlight[None] = SingleFlight()

    def of(self, draft: Draft) -> "DraftUploads":
        """What a try to store this draft is given."""
        return DraftUploads(self, draft)

    def restore(self, uploads: list[tuple[Upload, int]], drafts: dict[str, Draft]) -> int:
        """Rows of an earlier daemon; `drafts` by full key. How many will be gone on with."""
        for upload, number in uploads:
            draft = drafts.get(upload.key)
            self._drafts[upload] = draft if draft and draft.number == number else None
        return sum(draft is not None for draft in self._drafts.values())

    # --- what a try to store a draft does --------------------------------------------------------

    def resumable(self, key: str, draft: Draft) -> Upload | None:
        """The upload of this draft to this full key; those to its former keys are given up."""
        found = None
        for upload, owner in self._drafts.items():
            if owner is draft and upload.key == key:
                found = upload
            elif owner is draft:
                self._drafts[upload] = None
        self.look()
        return found

    async def begun(self, upload: Upload, draft: Draft) -> bool:
        """Note it; False where that is impossible, as on a full disk, which an upload may mend."""
        self._drafts[upload] = draft
        try:
            await trio.to_thread.run_sync(self._ledger.begin_upload, upload, draft.number)
        except ObjfsError as error:
            log.warning("the upload of %s is not noted: %s", upload.key, error)
            del self._drafts[upload]
            return False
        return True

    async def expects(self, etag: ETag, draft: Draft) -> None:
        """What the store may have if its answer is lost; durable where the draft was promised."""
        draft.sent = etag
        draft.ours |= {etag}
        if entry := self._journal.get(draft.number):
            entry = replace(entry, ours=" ".join(sorted(draft.ours)))
            self._journal.put(entry)
            await trio.to_thread.run_sync(self._ledger.write, [entry])

    def ended(self, upload: Upload) -> None:
        """The store has it as an object, or knows it no more."""
        if upload in self._drafts:
            del self._drafts[upload]
            self._ended.add(upload)
            self.look()

    def unwanted(self, upload: Upload) -> None:
        """It is to be aborted when the store can be asked again."""
        if upload in self._drafts:
            self._drafts[upload] = None

    # --- ending what nobody wants ----------------------------------------------------------------

    def look(self) -> None:
        """A draft owes nothing any more, or will not be tried again as it is."""
        if self._drafts or self._ended:
            self._wake.set()

    async def clear(self, key: str) -> None:
        """Before a newer draft is stored under this full key: what is older never lands later."""
        if self._unwanted(key):
            await self.sweep(key)

    async def run(self) -> None:
        """Abort what nobody wants, for ever."""
        while True:
            self._wake = trio.Event()
            left = await self.sweep()
            with trio.move_on_after(AGAIN if left else float("inf")):
                await self._wake.wait()

    async def sweep(self, key: str | None = None) -> int:
        """Abort what nobody wants now, of this full key or at all; how many are left."""
        async with trio.open_nursery() as nursery:
            for upload in self._unwanted(key):
                nursery.start_soon(
                    self._aborts.run, upload, partial(self._bucket.multipart.abort, upload, self)
                )
        await self._forget()
        return self.left()

    def left(self) -> int:
        """How many are still to be aborted."""
        return len(self._unwanted(None))

    def _unwanted(self, key: str | None) -> list[Upload]:
        return [
            upload
            for upload, draft in self._drafts.items()
            if key in {None, upload.key} and not self._is_wanted(draft)
        ]

    def _is_wanted(self, draft: Draft | None) -> bool:
        return draft is not None and (
            bool(draft.sealed) or self._journal.get(draft.number) is not None
        )

    async def _forget(self) -> None:
        """Remove the rows of what has ended. Where that fails, the next sweep does it."""
        ended = list(self._ended)
        if ended:
            try:
                await trio.to_thread.run_sync(self._ledger.end_uploads, ended)
            except ObjfsError as error:
                log.info("%d uploads that have ended stay noted: %s", len(ended), error)
            else:
                self._ended.difference_update(ended)


class DraftUploads:
    """The `Notes` of one draft."""

    def __init__(self, uploads: Uploads, draft: Draft) -> None:
        self._uploads = uploads
        self._draft = draft

    def resumable(self, key: str) -> Upload | None:
        """See `Notes`."""
        return self._uploads.resumable(key, self._draft)

    async def begun(self, upload: Upload) -> bool:
        """See `Notes`."""
        return await self._uploads.begun(upload, self._draft)

    async def expects(self, etag: ETag) -> None:
        """See `Notes`."""
        await self._uploads.expects(etag, self._draft)

    def ended(self, upload: Upload) -> None:
        """See `Notes`."""
        self._uploads.ended(upload)

    def unwanted(self, upload: Upload) -> None:
        """See `Notes`."""
        self._uploads.unwanted(upload)
