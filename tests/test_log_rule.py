"""The log rule finds what it is for, and nothing else."""

import logging

import pytest

from tests.log_rule import ExpectedLogs, check_daemon_log, no_surprises

CRASH = """10:00:00 INFO objfs.daemon: mounted
Traceback (most recent call last):
  File "x.py", line 1, in f
ValueError: the cause
"""


@pytest.mark.parametrize("name", ["objfs", "objfs.cache.reads", "pyfuse3"])
def test_an_undeclared_warning_fails(name, expected_logs):
    """A warning from objfs, from below it or from pyfuse3 is a failure that quotes it."""
    expected_logs.allow("disk on fire")  # for the rule that watches this test as well
    with pytest.raises(AssertionError, match="disk on fire"), no_surprises(ExpectedLogs()):
        logging.getLogger(name).warning("disk on %s", "fire")


def test_a_declared_warning_passes(expected_logs):
    """What a test allows may be logged, here through the fixture that every test has."""
    expected_logs.allow(r"conflict .* kept")
    logging.getLogger("objfs.filesystem").warning("conflict on %s, both kept", "a/b")


def test_others_and_information_do_not_count():
    """Neither other packages' warnings nor our own progress are failures."""
    with no_surprises(ExpectedLogs()):
        logging.getLogger("elsewhere").warning("not ours")
        logging.getLogger("objfs").info("mounted")


@pytest.mark.parametrize(
    "line", ["10:00 WARNING objfs.store: slow", "ERROR x", "Exception ignored in: <f>", CRASH]
)
def test_a_daemon_log_with_trouble_fails(line):
    """Each of the ways in which a daemon's log shows trouble is found."""
    with pytest.raises(AssertionError):
        check_daemon_log(f"INFO objfs: fine\n{line}")


def test_a_daemon_traceback_is_quoted_to_its_end():
    """The failure shows the line that names the cause, not only the traceback's first."""
    with pytest.raises(AssertionError, match="ValueError: the cause"):
        check_daemon_log(CRASH)


def test_a_clean_or_allowed_daemon_log_passes():
    """Information passes, and so does a warning that was allowed."""
    check_daemon_log("INFO objfs: no ERRORS here\nWARNING objfs: retry 1 of 3", [r"retry \d"])
