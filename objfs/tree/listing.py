"""From the pages of a flat listing to directory entries: markers, implied directories, clashes.

A key is unique, a file name must be too, yet `a` and `a/b` may both be keys. Whether `a` needs its
escaped name is known only once the listing has passed `a/`, which in byte order comes after `a-x`
and `a.txt` and perhaps thousands more. So an object is held back while its own prefix can still
follow; the ones held form a chain of prefixes (`a`, `a-`, `a--`), hence very few at any time.

A page's objects and prefixes are put in byte order here, page by page. A store that lists in
another order (SeaweedFS: folder order, `a` then `a/` then `a-b`) only releases sooner.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter

from objfs.types import DELIMITER, ObjectInfo, Page


@dataclass(frozen=True, slots=True)
class Entry:
    """What one key component stands for: an object, a directory, or both (a clash)."""

    component: str
    info: ObjectInfo | None
    directory: bool


class Fold:
    """Feeds on the pages of one listing of `prefix` with the delimiter, in order.

    INVARIANT: `_held` is a chain, each component a proper prefix of the next.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._held: list[Entry] = []
        self.marker: ObjectInfo | None = None
        """The directory's own object, whose key is the prefix itself, once it was seen."""

    def feed(self, page: Page) -> list[Entry]:
        """The entries that this page settles; those of earlier pages come first."""
        found: list[Entry] = []
        for key, info in self._in_order(page):
            if info is not None and key == self._prefix:
                self.marker = info
                if not info.size:
                    continue  # Semantics: an empty marker is the directory itself, not a file in it
            found.extend(self._settle(key, info))
        return found

    def finish(self) -> list[Entry]:
        """What was still held when the listing ended."""
        held, self._held = self._held, []
        return held

    def _in_order(self, page: Page) -> list[tuple[str, ObjectInfo | None]]:
        merged: list[tuple[str, ObjectInfo | None]] = [(info.key, info) for info in page.objects]
        if page.prefixes:
            merged.extend((prefix, None) for prefix in page.prefixes)
            merged.sort(key=itemgetter(0))
        return merged

    def _settle(self, key: str, info: ObjectInfo | None) -> Iterator[Entry]:
        rest = key[len(self._prefix) :]
        component = rest.removesuffix(DELIMITER) if info is None else rest
        while self._held:
            last = self._held[-1]
            if info is None and last.component == component:
                self._held.pop()
                yield Entry(component, last.info, directory=True)
                return
            if rest < last.component + DELIMITER:  # str order is code point order is UTF-8 order
                break
            yield self._held.pop()
        if info is None:
            yield Entry(component, None, directory=True)
        else:
            folder = info.is_folder  # a directory, told by its marker, whether or not keys follow
            self._held.append(Entry(component, None if folder else info, directory=folder))
