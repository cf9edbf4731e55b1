"""Asking the store about names: at most one question in flight for each, its answer to the tree.

A lookup costs one round trip: HEAD of the key and a listing of one key below it, side by side. The
answer carries what it was asked under, so that the tree can tell what changed meanwhile. Programs
that open many files of one directory that nobody listed are answered by a page of its names.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from functools import partial

import trio

from objfs.errors import BadCredentials, NotFound
from objfs.exclusive import SingleFlight
from objfs.store.bucket import Bucket
from objfs.tree.keys import component_of, name_of
from objfs.tree.listing import Entry, Fold
from objfs.tree.tree import Invalidate, Node, Question, Tree, prefix
from objfs.types import DELIMITER, Ino, ObjectInfo

log = logging.getLogger(__name__)

SINGLE_NAMES = 2
"""Names of one directory that are asked for one by one within the time to live."""
MOST_ASKED = 1000
"""Directories for which that is counted."""


class Refresher:
    """Feeds the tree. What the kernel must forget goes to `invalidate`, which must not block."""

    def __init__(
        self,
        tree: Tree,
        bucket: Bucket,
        clock: Callable[[], float],
        invalidate: Callable[[Invalidate], None],
    ) -> None:
        self._tree = tree
        self._bucket = bucket
        self._clock = clock
        self._invalidate = invalidate
        self._names: SingleFlight[None] = SingleFlight()
        self._asked: dict[Ino, tuple[int, float]] = {}
        """Single names asked for by directory, and since when."""
        self._unnamed = 0

    async def name(self, parent: Node, name: bytes) -> None:
        """Learn what the store has under one name.

        Who asks for several names of one directory, two requests each, is likely to ask for more:
        the third question is for a page of names. It tells what is there; a name that it does not
        show is still asked for by itself, since others may make it at any time.
        """
        component, _ = component_of(name)
        if self._asks_much(parent):
            await self._names.run((parent.ino, None), partial(self._page, parent))
            if isinstance(self._tree.lookup(parent, name, self._clock()), Node):
                return

        async def ask() -> None:
            with self._question() as question:
                entry = await self._entry(prefix(parent), component)
                self._report(self._tree.learn(parent, entry, question))

        await self._names.run((parent.ino, component), ask)

    async def listing(self, directory: Node) -> AsyncGenerator[list[Node], None]:
        """Stream a directory: the nodes to show, page by page, those that live only here last.

        A listing that went to its end leaves the directory completely known.
        """
        below = prefix(directory)  # a token belongs to it, even if the directory moves meanwhile
        fold = Fold(below)
        shown = 0
        with self._question() as question:
            token, partial = "", False
            while True:
                page = await self._bucket.list_page(below, token=token)
                entries = fold.feed(page)
                token, partial = page.token, partial or page.partial
                if not token:
                    entries += fold.finish()
                nodes, changes = self._tree.learn_entries(directory, entries, question)
                self._report(changes)
                shown += len(nodes)
                if token:
                    yield nodes
                    continue
                if partial:  # what it did not show may exist all the same
                    yield nodes + [
                        node
                        for node in directory.children.values()
                        if node.seen != question.as_of and self._clock() < node.expires
                    ]
                    return
                ours, changes = self._tree.learn_end(directory, question)
                self._report(changes)
                self._tree.learn_complete(directory, question, shown)
                yield nodes + ours
                return

    async def is_empty(self, directory: Node) -> bool:
        """Whether the store has no key below a directory but its marker, asked anew."""
        below = prefix(directory)
        page = await self._bucket.list_page(below, delimiter="", limit=2)
        return all(info.key == below and not info.size for info in page.objects)

    def tell(self, parent: Node, entry: Entry) -> None:
        """Something that this mount knows without asking."""
        with self._question() as question:
            self._report(self._tree.learn(parent, entry, question))
            self._invalidate(Invalidate(parent.ino, name_of(entry.component)))

    def invalidate(self, change: Invalidate) -> None:
        """The kernel must forget this."""
        self._invalidate(change)

    # --- inside --------------------------------------------------------------------------------

    def _asks_much(self, directory: Node) -> bool:
        """Whether a page is due: once within the time to live."""
        now, ttl = self._clock(), self._tree.ttl
        count, since = self._asked.pop(directory.ino, (0, now))
        if now - since >= ttl:
            count, since = 0, now
        self._asked[directory.ino] = (count + 1, since)
        if len(self._asked) > MOST_ASKED:
            del self._asked[next(iter(self._asked))]
        under_way = (directory.ino, None) in self._names
        return ttl > 0 and (count == SINGLE_NAMES or under_way)

    async def _page(self, directory: Node) -> None:
        below = prefix(directory)
        fold = Fold(below)
        with self._question() as question:
            page = await self._bucket.list_page(below)
            entries = fold.feed(page)
            if not page.token:
                entries += fold.finish()
            known, absent = set(directory.children), set(directory.absent)
            listed = directory.complete_until > 0  # then absences were told that are not noted
            nodes, changes = self._tree.learn_entries(directory, entries, question)
            self._report(changes)
            for node in nodes:
                if node.name not in known and (listed or node.name in absent):
                    # nobody asked for it just now, so the kernel goes on believing it absent
                    self._invalidate(Invalidate(directory.ino, node.name))

    @contextmanager
    def _question(self) -> Iterator[Question]:
        question = self._tree.ask(self._clock())
        try:
            yield question
        finally:
            self._tree.answered(question)

    async def _entry(self, below: str, component: str) -> Entry:
        key = below + component
        found: list[ObjectInfo] = []
        inside: list[bool] = []
        errors: list[Exception] = []

        async def head() -> None:
            try:
                if key:  # there is no object without a key
                    found.append(await self._bucket.head(key, quick=True))
            except NotFound:
                return
            except Exception as error:  # noqa: BLE001  # raised below, out of the nursery
                errors.append(error)

        async def look_inside() -> None:
            try:
                page = await self._bucket.list_page(key + DELIMITER, delimiter="", limit=1)
                inside.append(bool(page.objects))
            except Exception as error:  # noqa: BLE001  # raised below, out of the nursery
                errors.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(head)
            nursery.start_soon(look_inside)
        if errors:  # a refused HEAD cannot say why, a listing can
            raise next((e for e in errors if isinstance(e, BadCredentials)), errors[0])
        info = found[0] if found else None
        if info and not component and not info.size:
            info = None  # the directory's own marker
        if info and info.is_folder:
            return Entry(component, None, directory=True)
        return Entry(component, info, directory=inside[0])

    def _report(self, changes: list[Invalidate]) -> None:
        for change in changes:
            self._invalidate(change)
        if self._tree.unnamed > self._unnamed:
            self._unnamed = self._tree.unnamed
            log.warning("%d keys have a component of over 255 bytes: not shown", self._unnamed)
