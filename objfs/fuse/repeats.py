"""What just failed for want of an answer: the kernel asks once more, and must not wait twice.

Two calls of a reader would else take 2 x `--timeout` while the store hangs (measured: 8 s of 4):

- read(2): the pages that the kernel's read-ahead asked for have failed, so it asks for the first of
  them by itself (mm/filemap.c, filemap_update_page).
- any path, once an entry is no longer believed: that its revalidation failed is taken for "not
  valid", and the name is looked up anew (fs/fuse/dir.c, fuse_dentry_revalidate).

State only.
"""

from collections.abc import Hashable

from objfs.errors import ObjfsError, Unavailable

WITHIN = 0.5
"""Seconds after a failure in which the same question has the same answer."""


class Repeats:
    """Questions that failed a moment ago."""

    def __init__(self) -> None:
        self._failed: dict[Hashable, tuple[float, ObjfsError]] = {}

    def check(self, question: Hashable, now: float) -> None:
        """Raises the error that the same question met just now."""
        if self._failed:
            at, error = self._failed.get(question, (now - WITHIN, None))
            if error and now - at < WITHIN:
                raise error

    def note(self, question: Hashable, error: ObjfsError, now: float) -> None:
        """It failed; what may be otherwise next time is not noted."""
        if isinstance(error, Unavailable):
            recent = {q: it for q, it in self._failed.items() if now - it[0] < WITHIN}
            self._failed = {**recent, question: (now, error)}
