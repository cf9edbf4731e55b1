"""The rule that a warning nobody expected is a failure, for tests and for daemons they start.

In a test's own process the autouse fixture of `conftest` watches the loggers; a test that provokes
a warning says so first, with `expected_logs.allow(regex)`. A daemon is another process: its log
goes through `check_daemon_log`.
"""

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

WATCHED = ("objfs", "pyfuse3")
BAD_LINE = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b|^Traceback \(most recent|^Exception ignored")


class ExpectedLogs:
    """What a test may log at WARNING and above."""

    def __init__(self) -> None:
        self._patterns: list[re.Pattern[str]] = []

    def allow(self, regex: str) -> None:
        """Allows messages in which *regex* is found, for the rest of this test."""
        self._patterns.append(re.compile(regex))

    def covers(self, text: str) -> bool:
        """Was this message declared?"""
        return any(pattern.search(text) for pattern in self._patterns)


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def _text(record: logging.LogRecord) -> str:
    text = f"{record.levelname} {record.name}: {record.getMessage()}"
    if record.exc_info and record.exc_info[1] is not None:
        text += f" [{record.exc_info[1]!r}]"
    return text


@contextmanager
def no_surprises(expected: ExpectedLogs) -> Iterator[None]:
    """Raises AssertionError at its end if a watched logger said something that was not expected."""
    collector = _Collector()
    loggers = [logging.getLogger(name) for name in WATCHED]
    for logger in loggers:
        logger.addHandler(collector)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(collector)
    lines = [_text(record) for record in collector.records]
    surprises = [line for line in lines if not expected.covers(line)]
    assert not surprises, "logged, and not declared by expected_logs.allow():\n" + "\n".join(
        surprises
    )


def check_daemon_log(text: str, allowed: Iterable[str] = ()) -> None:
    """Raises AssertionError if a daemon's log has a warning, an error or a traceback.

    A line in which one of the regexes *allowed* is found does not count.
    """
    patterns = [re.compile(regex) for regex in allowed]
    lines = text.splitlines()
    bad = [
        number
        for number, line in enumerate(lines)
        if BAD_LINE.search(line) and not any(pattern.search(line) for pattern in patterns)
    ]
    # A traceback says what went wrong in its last line, some twenty further down.
    shown = sorted({near for number in bad for near in range(number, number + 25)})
    assert not bad, "the daemon's log is not clean:\n" + "\n".join(
        lines[number] for number in shown if number < len(lines)
    )
