"""The table of states, and what may be claimed."""

from dataclasses import replace

import pytest

from objfs.cache.journal import FROZEN, TABLE, Entry, Event, Journal, State


def entry(number: int, key: str = "k", state: State = State.OWED, due_ns: int = 0) -> Entry:
    """A row."""
    return Entry(number, key, None, 1, state, 0, due_ns=due_ns)


def test_only_what_was_promised_is_frozen():
    """A draft that may still change is never uploaded in the background."""
    journal = Journal()
    for number, state in enumerate(State):
        journal.put(entry(number, key=str(number), state=state))
    claimable = {each.state for each in journal.claimable(0)}
    assert claimable == FROZEN - {State.SENDING}


def test_a_frozen_draft_stays_frozen():
    """No event brings a draft that was promised back to one that may change."""
    for state in FROZEN:
        assert set(TABLE[state].values()) <= FROZEN


@pytest.mark.parametrize("event", [Event.CLAIM, Event.FAIL, Event.REFUSE])
def test_what_cannot_happen_is_said(event: Event):
    """A draft that is being written has no upload."""
    with pytest.raises(ValueError, match="cannot happen"):
        entry(1, state=State.KEPT).after(event)


def test_an_older_draft_is_never_claimed_before_a_newer():
    """Rule 2: only the newest of a key."""
    journal = Journal()
    journal.put(entry(2))
    journal.put(entry(1))
    assert [each.number for each in journal.claimable(0)] == [2]


def test_a_key_with_an_upload_in_flight_is_not_claimable():
    """Rule 2: a late success of the older would put stale bytes over newer ones."""
    journal = Journal()
    journal.put(entry(1, state=State.SENDING))
    journal.put(entry(2))
    journal.put(entry(3, key="other"))
    assert [each.number for each in journal.claimable(0)] == [3]


def test_what_waits_is_claimed_when_it_is_due_or_asked_for():
    """Back-off, and its end."""
    journal = Journal()
    journal.put(entry(1, state=State.WAITING, due_ns=10))
    assert not journal.claimable(9)
    assert journal.next_due() == 10
    assert journal.claimable(10)
    journal.put(replace(entry(1, state=State.WAITING, due_ns=10).after(Event.ASK)))
    assert journal.claimable(0)
