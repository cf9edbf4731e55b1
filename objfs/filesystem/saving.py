"""From drafts to objects: promises, uploads, conflicts, and trying again until the store has it.

`--write-back=sync`: close(2) uploads and returns the store's verdict. What could not be uploaded is
journaled before close returns its error, and tried again in the background.
`--write-back=async`: close(2) returns once bytes and intent are on the local disk; the upload
follows.

Every upload is conditional on the version that the draft derives from (PROMISES P10); what becomes
of a conflict is decided in `conflicts`.
"""

import logging
import random
from dataclasses import replace

import trio

from objfs.cache.journal import FROZEN, Entry, Event, Journal, State
from objfs.cache.ledger import Ledger
from objfs.cache.spool import Draft
from objfs.errors import BadCredentials, Forbidden, NoSpace, ObjfsError, Stale
from objfs.filesystem import doubts
from objfs.filesystem.base import Mount
from objfs.filesystem.conflicts import Conflicts
from objfs.filesystem.uploads import Uploads
from objfs.handles import OpenFile
from objfs.store.retry import LAST, pause
from objfs.tree.tree import key_of, path_of
from objfs.types import ABSENT, ETag, Expect, ObjectInfo

log = logging.getLogger(__name__)

REFUSALS = (Forbidden, NoSpace, Stale)
AT_ONCE = 16
"""Files that the background uploads side by side; the bucket's own limit is on requests."""


class Saving:
    """All drafts of one mount that are on their way to the store.

    INVARIANT: `_files[number]` is the file of every journaled draft, as its `draft` or its `owed`.
    """

    def __init__(self, mount: Mount, ledger: Ledger) -> None:
        self._mount = mount
        self.ledger = ledger
        self.journal = Journal()
        self._files: dict[int, OpenFile] = {}
        self._drafts: dict[int, Draft] = {}
        self._rows: dict[OpenFile, set[int]] = {}
        """The numbers of the journaled drafts of each file."""
        self._wake = trio.Event()
        self._slots = trio.CapacityLimiter(AT_ONCE)
        self.uploads = Uploads(mount.bucket, ledger, self.journal)
        self.conflicts = Conflicts(mount, self.uploads)

    # --- verbs ---------------------------------------------------------------------------------

    async def close(self, file: OpenFile) -> None:
        """close(2). Raises what the store answered, `Stale` on a conflict."""
        if self._mount.config.write_back == "async":
            await self.promise(file)
        else:
            await self.store(file)

    async def store(self, file: OpenFile) -> None:
        """Have what the file shows in the store; the verdict is this call's."""
        await self.conflicts.not_lost(file)
        while file.unsaved or (file.draft and file.draft.sealed and file.node.attached):
            key = key_of(file.node)
            async with self._mount.turns.hold(key):
                draft = file.draft
                if draft and file.unsaved and key_of(file.node) == key:
                    await self._upload(file, draft, key)

    async def fsync(self, file: OpenFile) -> None:
        """fsync(2): the bytes and the intent are on the local disk, or in the store."""
        if self._mount.config.fsync == "store":
            await self.store(file)
        elif file.draft and file.draft.dirty and not file.draft.fixed and file.node.attached:
            await self._note(file, file.draft, Event.FSYNC)

    async def promise(self, file: OpenFile) -> None:
        """The draft will be uploaded, whatever happens from now on (PROMISES P3)."""
        await self.conflicts.not_lost(file)
        draft = file.draft
        if draft and (draft.dirty or draft.sealed) and not draft.frozen and file.node.attached:
            with doubts.sealed(file, draft):  # an upload of it may be under way, and end
                await self._note(file, draft, Event.CLOSE)
                if not draft.dirty and draft.sealed == 1:  # it was stored meanwhile
                    await self._settle(file, [draft.number])
            self._wake.set()

    async def run(self) -> None:
        """Upload what is owed, for ever; what fails waits, what is asked for is tried at once."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.uploads.run)
            while True:
                self._wake = trio.Event()
                for entry in self.journal.claimable(self._mount.wall_ns()):
                    file = self._files[entry.number]
                    if file.handles and self._mount.config.write_back == "sync":
                        continue  # its closer is at it
                    self.journal.put(entry.after(Event.CLAIM))
                    nursery.start_soon(self._in_background, file, entry.number)
                due = self.journal.next_due()
                wait = 3600.0 if due is None else (due - self._mount.wall_ns()) / 1e9
                with trio.move_on_after(max(0.05, wait)):
                    await self._wake.wait()

    # --- what people ask for ---------------------------------------------------------------------

    def ask(self, numbers: list[int]) -> None:
        """Try these now."""
        for number in numbers:
            entry = self.journal.get(number)
            if entry and entry.state in FROZEN:
                self.journal.put(replace(entry.after(Event.ASK), due_ns=0))
        self._wake.set()

    async def drain(self) -> dict[str, ObjfsError]:
        """Upload all that is not in the store, now; the paths that could not be, and why."""
        failed: dict[str, ObjfsError] = {}

        async def save(file: OpenFile) -> None:
            async with self._slots:
                try:
                    await self.store(file)
                except ObjfsError as error:
                    failed[path_of(file.node)] = error

        async with trio.open_nursery() as nursery:
            for file in self._mount.handles.files():
                under_way = file.draft and file.draft.sealed
                if file.unsaved or under_way or self.promised(file):
                    nursery.start_soon(save, file)
        await self.uploads.sweep()
        return failed

    # --- what changes names ------------------------------------------------------------------

    async def forget(self, file: OpenFile | None) -> None:
        """The object was removed: the drafts of the file owe nothing from now on.

        Semantics: a crash before this brings the newest content back, never an older one; where
        the object could not be removed, all is as it was.
        """
        if file:
            await self._settle(file, self._numbers(file))

    async def moved(self, files: list[OpenFile], *, instead_of: OpenFile | None = None) -> None:
        """The keys, or the stored versions, of these files changed: their rows follow.

        In the same transaction the drafts of the file that was in the way owe nothing any more.
        """
        gone = self._numbers(instead_of) if instead_of else []
        for file in files:
            if instead_of and file.draft:
                for old in (instead_of.draft, instead_of.owed):
                    if old:
                        await doubts.inherit(self._mount.bucket, instead_of, old, file.draft)
        entries = [entry for file in files for entry in self._rebased(file, self._numbers(file))]
        if entries or gone:
            await trio.to_thread.run_sync(self.ledger.write, entries, gone)
        if instead_of:
            self._drop(instead_of, gone)

    async def expect_copy(self, target: OpenFile | None, etag: ETag) -> None:
        """This version is about to be put over the target: no conflict for the target's drafts.

        They matter only if a crash comes before the rename is done.
        """
        if target and (numbers := self._numbers(target)):
            for draft in (target.draft, target.owed):
                if draft:
                    draft.ours |= {etag}
            entries = self._rebased(target, numbers)
            await trio.to_thread.run_sync(self.ledger.write, entries)

    def promised(self, file: OpenFile | None) -> bool:
        """Whether the journal has what the file shows, so that the store need not have it."""
        return bool(file and self._numbers(file))

    # --- inside --------------------------------------------------------------------------------

    def _numbers(self, file: OpenFile, *, before: int = 2**63) -> list[int]:
        return sorted(number for number in self._rows.get(file, ()) if number <= before)

    async def _note(self, file: OpenFile, draft: Draft, event: Event) -> None:
        """Make a promise true: bytes, name and row on the disk, in this order."""
        if event is Event.CLOSE:
            draft.frozen = True
        try:
            await draft.fsync()
            key = ""
            while file.node.attached and key != key_of(file.node):  # it may be renamed meanwhile
                key = key_of(file.node)
                await self._write_row(file, draft, key, event)
        except BaseException:
            if self.journal.get(draft.number) is None:
                draft.frozen = False  # nothing was promised: who writes need not copy it
            raise

    async def _write_row(self, file: OpenFile, draft: Draft, key: str, event: Event) -> None:
        fresh = Entry(draft.number, key, None, 0, State.OPEN, self._mount.wall_ns())
        base = file.info.etag if file.info else None
        entry = (self.journal.get(draft.number) or fresh).after(event)
        older = self._withdraw(file, draft) if event is Event.CLOSE else []
        try:
            # After an fsync the older ones are still uploaded, and may land before this row.
            for number in self._numbers(file, before=draft.number - 1):
                self._drafts[number].tried |= event is Event.FSYNC
            for number in self._numbers(file, before=draft.number - 1):
                if number in self._drafts:  # it may be stored meanwhile
                    await doubts.inherit(self._mount.bucket, file, self._drafts[number], draft)
            ours = " ".join(sorted(draft.ours))
            entry = replace(entry, key=key, base=base, size=draft.durable, ours=ours)
            await trio.to_thread.run_sync(self.ledger.write, [entry], older)
        except BaseException:
            for number in older:
                if number in self._drafts:
                    self._drafts[number].withdrawn = False
            raise
        self.known(file, draft, entry)
        self._drop(file, older)

    def known(self, file: OpenFile, draft: Draft, entry: Entry) -> None:
        """The journal has a row for this draft."""
        self.journal.put(entry)
        draft.promised = True
        self._drafts[draft.number] = draft
        self._files[draft.number] = file
        self._rows.setdefault(file, set()).add(draft.number)

    def draft(self, number: int) -> Draft:
        """A journaled draft."""
        return self._drafts[number]

    def _withdraw(self, file: OpenFile, draft: Draft) -> list[int]:
        """The older drafts that this one supersedes, kept from being uploaded from now on."""
        older = self._numbers(file, before=draft.number - 1)
        for number in older:
            self._drafts[number].withdrawn = True
        return older

    async def _settle(self, file: OpenFile, numbers: list[int]) -> None:
        """These drafts owe nothing any more: rows first, then files."""
        if numbers:
            await trio.to_thread.run_sync(self.ledger.write, [], numbers)
            self._drop(file, numbers)

    def _drop(self, file: OpenFile, numbers: list[int]) -> None:
        for number in numbers:
            self.journal.remove(number)
            self._files.pop(number, None)
            draft = self._drafts.pop(number, None)
            if draft is None:
                continue
            draft.promised = False
            self._rows[file].discard(number)
            if draft is file.owed:
                file.owed = None
            if draft is not file.draft and not draft.sealed:
                draft.discard()
        if not self._rows.get(file, True):
            del self._rows[file]
        self.uploads.look()

    async def _in_background(self, file: OpenFile, number: int) -> None:
        async with self._slots:
            entry = self.journal.get(number)
            draft = self._drafts.get(number)
            if entry is None or draft is None or not file.node.attached:
                return
            try:
                async with self._mount.turns.hold(entry.key):
                    uploadable = draft.dirty and not draft.withdrawn and not draft.gone
                    if uploadable and key_of(file.node) == entry.key:
                        await self._upload(file, draft, entry.key)
                    elif not draft.dirty and not draft.sealed:  # stored; its row could not go then
                        await self._settle(file, [number])
            except (ObjfsError, OSError) as error:
                level = logging.INFO if isinstance(error, BadCredentials) else logging.WARNING
                log.log(level, "%s is not stored yet: %s", path_of(file.node), error)
            entry = self.journal.get(number)
            if entry and entry.state is State.SENDING:
                # it was renamed before its turn came; or the disk that holds the journal is full
                due_ns = 0 if draft.dirty else self._mount.wall_ns() + int(LAST * 1e9)
                state = State.OWED if draft.dirty else State.WAITING
                self.journal.put(replace(entry, state=state, due_ns=due_ns))
                self._wake.set()
        if not file.handles and not file.unsaved:
            self._mount.put_away(file)

    async def _upload(self, file: OpenFile, draft: Draft, key: str) -> None:
        """One try, under the turn on the key."""
        if self._rows.get(file) and not draft.frozen:
            # else a crash finds rows that do not know what the store was sent, and sees a conflict
            await self._note(file, draft, Event.CLOSE)
            if draft.withdrawn or draft.gone:
                return
        expect = Expect(etag=file.info.etag) if file.info else ABSENT
        draft.sealed += 1
        draft.dirty = False
        tried, draft.tried = draft.tried, True
        try:
            info = await self.conflicts.put(file, draft, key, expect)
            conflict = None if info else await self.conflicts.keep_both(file, draft, key)
        except (ObjfsError, OSError) as error:
            draft.dirty = True
            draft.tried = tried or not isinstance(error, Forbidden)  # a refusal leaves no doubt
            await self._failed(file, draft, error)
            raise
        except BaseException:
            draft.dirty = True
            raise
        finally:
            doubts.unseal(file, draft)
            self.uploads.look()
        if conflict:
            await self._settle(file, self._numbers(file, before=draft.number))
            raise conflict
        if info:
            await self._stored(file, draft, info)

    async def _stored(self, file: OpenFile, draft: Draft, info: ObjectInfo) -> None:
        old = file.info
        draft.derives_from(info)
        self._mount.tree.stored(file.node, info, self._mount.clock())
        file.info = file.node.info
        if old and file.info and old.etag != file.info.etag:
            self._mount.reads.forget(old)
        if draft is file.draft and not draft.dirty:
            file.node.local = None
        done = self._numbers(file, before=draft.number)  # its own too, if it has a row
        # in one transaction: what is promised already derives from the version just stored
        newer = self._rebased(file, [n for n in self._numbers(file) if n > draft.number])
        if done or newer:
            await trio.to_thread.run_sync(self.ledger.write, newer, done)
        self._drop(file, done)
        if file.owed and file.owed.number <= draft.number:  # it never got into the journal
            doubts.give_up_owed(file)
        if not file.handles and not file.unsaved:
            self._mount.put_away(file)
        self._retry_others()

    def _rebased(self, file: OpenFile, numbers: list[int]) -> list[Entry]:
        """The rows of these drafts with the key and the version that they have now."""
        base = file.info.etag if file.info else None
        entries = [
            replace(
                entry,
                key=key_of(file.node),
                base=base,
                ours=" ".join(sorted(self._drafts[number].ours)),
            )
            for number in numbers
            if (entry := self.journal.get(number))
        ]
        for entry in entries:
            self.journal.put(entry)
        return entries

    async def _failed(self, file: OpenFile, draft: Draft, error: ObjfsError | OSError) -> None:
        """Note the failure, durably, and when to try again."""
        if not file.node.attached or (draft is not file.draft and draft is not file.owed):
            return  # a newer one was promised meanwhile
        refused = isinstance(error, REFUSALS) or not getattr(error, "retry", True)
        if self.journal.get(draft.number) is None or not draft.frozen:
            await self._note(file, draft, Event.CLOSE)
        entry = self.journal.get(draft.number)
        if entry is None:
            return
        if entry.state is not State.SENDING:
            entry = entry.after(Event.CLAIM)
        tries = entry.tries + 1
        wait = pause(tries, refused=refused, chance=random.random())  # noqa: S311  # jitter
        entry = replace(
            entry.after(Event.REFUSE if refused else Event.FAIL),
            tries=tries,
            error=str(error),
            due_ns=self._mount.wall_ns() + int(wait * 1e9),
        )
        try:
            await trio.to_thread.run_sync(self.ledger.write, [entry])
        finally:  # a full disk is no reason to try again at once
            if self.journal.get(draft.number):
                self.journal.put(entry)
            self._wake.set()

    def _retry_others(self) -> None:
        """The store answers: what waits for it need not wait any longer."""
        waiting = [entry.number for entry in self.journal if entry.state is State.WAITING]
        if waiting:
            self.ask(waiting)
