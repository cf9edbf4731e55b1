"""Which files still owe bytes to the store: the states of a draft, as a table. Pure.

    OPEN      being written; nobody was promised anything
    KEPT      being written, and fsync(2) has returned: a crash must not lose it
    OWED      closed; its upload is due
    SENDING   its upload is under way
    WAITING   its upload failed in a way that may pass; it is tried again at a time
    PARKED    its upload was refused (credentials, permission, no space); it is tried again, slowly,
              and at once when somebody asks

Rule 1: an entry is a draft, by its number; its key may change under it.
Rule 2: at most one draft of a key is SENDING, and an older draft is never claimed after a newer
one: a late success of the older would put stale bytes over newer ones.
Rule 3: what is OWED, SENDING, WAITING or PARKED does not change any more; who writes gets a copy,
and the copy, once it is closed, supersedes it.

Everything else about drafts (files, fsync, SQLite) obeys this table: see `ledger` and `spool`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from objfs.types import ETag


class State(Enum):
    """What a draft owes."""

    OPEN = "open"
    KEPT = "kept"
    OWED = "owed"
    SENDING = "sending"
    WAITING = "waiting"
    PARKED = "parked"


class Event(Enum):
    """What happens to a draft."""

    FSYNC = "fsync"
    CLOSE = "close"
    CLAIM = "claim"
    FAIL = "fail"
    REFUSE = "refuse"
    ASK = "ask"
    """Somebody wants it tried now."""


TABLE: dict[State, dict[Event, State]] = {
    State.OPEN: {Event.FSYNC: State.KEPT, Event.CLOSE: State.OWED},
    State.KEPT: {Event.FSYNC: State.KEPT, Event.CLOSE: State.OWED},
    State.OWED: {Event.CLAIM: State.SENDING, Event.CLOSE: State.OWED, Event.ASK: State.OWED},
    State.SENDING: {
        Event.FAIL: State.WAITING,
        Event.REFUSE: State.PARKED,
        Event.CLOSE: State.SENDING,
        Event.ASK: State.SENDING,
    },
    State.WAITING: {Event.CLAIM: State.SENDING, Event.CLOSE: State.OWED, Event.ASK: State.OWED},
    State.PARKED: {Event.CLAIM: State.SENDING, Event.CLOSE: State.OWED, Event.ASK: State.OWED},
}
FROZEN = frozenset({State.OWED, State.SENDING, State.WAITING, State.PARKED})
"""States in which the bytes do not change (rule 3)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One draft, as the journal knows it. Times are nanoseconds since the epoch."""

    number: int
    key: str
    base: ETag | None
    """The version that it derives from; None when the store had none."""
    size: int
    state: State
    mtime_ns: int
    tries: int = 0
    error: str = ""
    """What the last try met, in plain words."""
    due_ns: int = 0
    """When it is tried next."""
    ours: str = ""
    """ETags, with spaces between, that the store may have of the drafts that it superseded."""

    def after(self, event: Event) -> "Entry":
        """The entry once `event` has happened. Raises `ValueError` where it cannot happen."""
        try:
            state = TABLE[self.state][event]
        except KeyError:
            raise ValueError(
                f"{event.value} cannot happen to a draft that is {self.state.value}"
            ) from None
        return replace(self, state=state)


class Journal:
    """All drafts that were promised anything, in the order in which they were promised.

    INVARIANT: at most one entry of a key is SENDING.
    """

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, number: int) -> Entry | None:
        """The entry of a draft."""
        return self._entries.get(number)

    def put(self, entry: Entry) -> None:
        """Note a draft, or what became of it."""
        self._entries[entry.number] = entry

    def remove(self, number: int) -> None:
        """The draft owes nothing any more."""
        self._entries.pop(number, None)

    def claimable(self, now_ns: int) -> list[Entry]:
        """The drafts whose upload may begin now: due, the newest of their key, its key free."""
        newest: dict[str, Entry] = {}
        busy: set[str] = set()
        for entry in self._entries.values():
            if entry.state is State.SENDING:
                busy.add(entry.key)
            if entry.state in FROZEN and entry.number > newest.get(entry.key, _NONE).number:
                newest[entry.key] = entry
        return [
            entry
            for entry in newest.values()
            if entry.key not in busy
            and entry.state is not State.SENDING
            and (entry.state is State.OWED or entry.due_ns <= now_ns)
        ]

    def next_due(self) -> int | None:
        """When the next draft that waits is to be tried, or None."""
        due = [
            entry.due_ns
            for entry in self._entries.values()
            if entry.state in {State.WAITING, State.PARKED}
        ]
        return min(due, default=None)


_NONE = Entry(-1, "", None, 0, State.OPEN, 0)
