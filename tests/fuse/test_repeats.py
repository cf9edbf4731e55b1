"""What the kernel asks a second time, because the first time failed."""

import pytest

from objfs.errors import Corrupt, NotFound, TimedOut
from objfs.fuse.repeats import WITHIN, Repeats


def test_p23_what_timed_out_just_now_is_not_asked_again():
    """P23: the same question, and no other, has the same error for a moment."""
    repeats = Repeats()
    repeats.note("read 5", TimedOut("no answer"), 10.0)
    with pytest.raises(TimedOut):
        repeats.check("read 5", 10.0 + WITHIN / 2)
    repeats.check("read 6", 10.0)
    repeats.check("read 5", 10.0 + WITHIN)


@pytest.mark.parametrize("error", [NotFound("gone"), Corrupt("flipped")])
def test_what_may_be_otherwise_is_asked_again(error):
    """An answer of the store, or bytes that can be fetched anew, are no reason to refuse."""
    repeats = Repeats()
    repeats.note("read 5", error, 10.0)
    repeats.check("read 5", 10.0)


def test_old_failures_are_forgotten():
    """They take no memory for longer than they matter."""
    repeats = Repeats()
    for number in range(100):
        repeats.note(number, TimedOut("no answer"), number * WITHIN)
    assert len(repeats._failed) == 1
