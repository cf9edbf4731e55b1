"""What is to be fetched ahead, and when its turn is. Pure.

Read-ahead has a share of the requests that may be under way, and never all of them: a read that
somebody waits for does not queue behind guesses. Those who want something ahead (a file that is
read from begin to end, a directory that is walked) take turns.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")

SHARE = 0.75
"""Of the connections."""
BUDGET = 96 * 2**20
"""Bytes fetched ahead that may be under way, for the whole mount."""


class AheadQueue(Generic[T]):
    """Jobs by owner. INVARIANT: `_jobs` has no owner without a job."""

    def __init__(self, connections: int, budget: int = BUDGET) -> None:
        self._slots = max(1, int(connections * SHARE))
        self._budget = budget
        self._jobs: dict[Hashable, list[tuple[T, int]]] = {}
        self.flying = 0
        """Requests that were made ahead and are under way."""
        self.bytes = 0

    def add(self, owner: Hashable, job: T, size: int) -> None:
        """A job of `size` bytes, behind the others of its owner."""
        self._jobs.setdefault(owner, []).append((job, size))

    def take(self) -> tuple[T, int] | None:
        """The next job, which begins now, and its size; `done` ends it. None: it is not the time.

        A job larger than the budget begins when nothing else is under way.
        """
        if not self._jobs or self.flying >= self._slots:
            return None
        owner = next(iter(self._jobs))
        job, size = self._jobs[owner][0]
        if self.flying and self.bytes + size > self._budget:
            return None
        left = self._jobs.pop(owner)[1:]
        if left:  # behind all others: they take turns
            self._jobs[owner] = left
        self.flying += 1
        self.bytes += size
        return job, size

    def done(self, size: int) -> None:
        """A job of this size has ended."""
        self.flying -= 1
        self.bytes -= size

    def forget(self, owner: Hashable) -> None:
        """What this owner wanted and did not get yet is wanted no more."""
        self._jobs.pop(owner, None)
