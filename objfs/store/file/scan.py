"""Pages of a listing, by jumping: what lies under a common prefix is never read.

A page costs one index search for each common prefix in it, plus one, and reads one row for each
entry; how many keys the prefixes hold does not matter.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from objfs.errors import InvalidArgument
from objfs.types import ETag, ObjectInfo, Page

_OBJECT, _PREFIX = "k", "p"
"""A token is the last entry of its page behind the letter that says which kind it was."""


@dataclass(frozen=True, slots=True)
class _Position:
    """Where a search starts: at `key`, or strictly behind it."""

    key: bytes
    operator: str = ">="


def page(
    db: sqlite3.Connection, prefix: str, *, delimiter: str, after: str, token: str, limit: int
) -> Page:
    """One page, as `Driver.list_page` promises it. Raises `InvalidArgument` for a wrong token."""
    if limit < 1:
        raise InvalidArgument(f"list {prefix!r}: a page of {limit} entries was asked for")
    wanted, cut = prefix.encode(), delimiter.encode()
    objects: list[ObjectInfo] = []
    prefixes: list[str] = []
    last = ""
    for entry in _entries(db, wanted, cut, _start(wanted, cut, after, token)):
        if len(objects) + len(prefixes) == limit:
            return Page(tuple(objects), tuple(prefixes), token=last)
        if isinstance(entry, ObjectInfo):
            objects.append(entry)
            last = _OBJECT + entry.key
        else:
            prefixes.append(entry)
            last = _PREFIX + entry
    return Page(tuple(objects), tuple(prefixes))


def successor(prefix: bytes) -> bytes:
    """The first key behind all that start with `prefix`, which must not be empty.

    UTF-8 never has the byte 0xFF, so adding one to the last byte cannot overflow.
    """
    return prefix[:-1] + bytes((prefix[-1] + 1,))


def _start(prefix: bytes, delimiter: bytes, after: str, token: str) -> _Position:
    if token.startswith(_PREFIX):
        return _Position(successor(token[1:].encode()))
    if token and not token.startswith(_OBJECT):
        raise InvalidArgument(f"list {prefix!r}: {token!r} is no token of this store")
    last = (token[1:] or after).encode()
    if last < prefix or not last:
        return _Position(prefix)
    # A common prefix that is <= `after` is not repeated: start behind all of it.
    common = _common(last, prefix, delimiter)
    return _Position(successor(common)) if common else _Position(last, operator=">")


def _entries(
    db: sqlite3.Connection, prefix: bytes, delimiter: bytes, start: _Position
) -> Iterator[ObjectInfo | str]:
    end = successor(prefix) if prefix else b"\xff"
    at: _Position | None = start
    while at is not None:
        # S608 sees a query made of text: it is one of two operators.
        rows = db.execute(
            f"SELECT key, size, etag, mtime_ns FROM objects WHERE key {at.operator} ? AND key < ?"  # noqa: S608
            " ORDER BY key",
            (at.key, end),
        )
        at = None
        for key, size, etag, mtime_ns in rows:
            common = _common(key, prefix, delimiter)
            if common:
                at = _Position(successor(common))
                yield common.decode()
                break
            yield ObjectInfo(key.decode(), size, ETag(etag), mtime_ns)
        rows.close()


def _common(key: bytes, prefix: bytes, delimiter: bytes) -> bytes:
    """The common prefix that stands for `key` in a listing; empty when the key itself does."""
    if not delimiter or not key.startswith(prefix):
        return b""
    end = key.find(delimiter, len(prefix))
    return b"" if end < 0 else key[: end + len(delimiter)]
