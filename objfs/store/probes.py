"""What can be tried out on a store, by requests to temporary objects.

A probe answers whether something holds, and in a few words what was seen. It raises what the driver
raises: `objfs.store.guarantees` says what that means.
"""

import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from objfs.errors import Forbidden, NotFound, ObjfsError, PreconditionFailed, ReadOnly
from objfs.store.insight import Insight
from objfs.store.oddkeys import odd_keys
from objfs.store.scratch import Scratch
from objfs.types import ABSENT, ETag, Expect

WRONG: Final = ETag("0123456789abcdef0123456789abcdef")
"""A well-formed ETag that no object of ours has."""
RACERS: Final = 8
ROUNDS: Final = 6
"""A store that looks and then writes lets two of eight through in nearly every round."""
OVERWRITES: Final = 12
READERS: Final = 2
WHOLE: Final = 256 * 1024
"""Bytes of the object that is overwritten while it is read."""
CLOCK_SLACK: Final = 5.0
"""Seconds of difference that no tool minds."""
_SECOND: Final = 10**9


@dataclass(frozen=True, slots=True)
class Seen:
    """What a probe found; `holds` is None where it could not tell."""

    holds: bool | None
    detail: str = ""


def writes(scratch: Scratch, _: Insight) -> Seen:
    """Whether anything can be stored, and comes back."""
    try:
        scratch.put("hello", b"hello")
    except (Forbidden, ReadOnly) as error:
        return Seen(holds=False, detail=str(error))
    same = scratch.get("hello", 5) == b"hello"
    return Seen(same, "" if same else "other bytes came back")


def _refused(attempt: Callable[[], object]) -> bool:
    """Whether the store found the condition not met."""
    try:
        attempt()
    except PreconditionFailed:
        return True
    return False


def create(scratch: Scratch, _: Insight) -> Seen:
    """A put that wants no object under the key."""
    scratch.put("create", b"first", ABSENT)
    refused = _refused(lambda: scratch.put("create", b"other", ABSENT))
    return _kept(scratch, "create", b"first", refused=refused)


def replace(scratch: Scratch, _: Insight) -> Seen:
    """A put that wants one version, with a wrong ETag and with the right one."""
    first = scratch.put("replace", b"first").etag
    refused = _refused(lambda: scratch.put("replace", b"other", Expect(etag=WRONG)))
    seen = _kept(scratch, "replace", b"first", refused=refused)
    if not seen.holds:
        return seen
    if _refused(lambda: scratch.put("replace", b"again", Expect(etag=first))):
        return Seen(holds=False, detail="the right ETag is refused, too")
    return seen


def finish_create(scratch: Scratch, _: Insight) -> Seen:
    """As `create`, at the end of a multipart upload."""
    scratch.put("finish-create", b"first")
    refused = _refused(lambda: scratch.finish("finish-create", b"other", ABSENT))
    return _kept(scratch, "finish-create", b"first", refused=refused)


def finish_replace(scratch: Scratch, _: Insight) -> Seen:
    """As `replace`, at the end of a multipart upload."""
    first = scratch.put("finish", b"first").etag
    refused = _refused(lambda: scratch.finish("finish", b"other", Expect(etag=WRONG)))
    seen = _kept(scratch, "finish", b"first", refused=refused)
    if not seen.holds:
        return seen
    if _refused(lambda: scratch.finish("finish", b"again", Expect(etag=first))):
        return Seen(holds=False, detail="the right ETag is refused, too")
    return seen


def copy_source(scratch: Scratch, _: Insight) -> Seen:
    """A copy that wants one version of its source."""
    first = scratch.put("copy-from", b"first").etag
    source, target = scratch.key("copy-from"), scratch.key("copy-to")
    driver = scratch.driver
    refused = _refused(lambda: driver.copy(source, target, size=5, expect=Expect(etag=WRONG)))
    if not refused or scratch.exists("copy-to"):
        return Seen(holds=False, detail="ignored")
    if _refused(lambda: driver.copy(source, target, size=5, expect=Expect(etag=first))):
        return Seen(holds=False, detail="the right ETag is refused, too")
    return Seen(holds=True)


def _kept(scratch: Scratch, name: str, body: bytes, *, refused: bool) -> Seen:
    if not refused:
        return Seen(holds=False, detail="ignored")
    if scratch.get(name, len(body)) != body:
        return Seen(holds=False, detail="refused, and written all the same")
    return Seen(holds=True)


def race(scratch: Scratch, _: Insight) -> Seen:
    """Creates of one name at the same time: one may win."""
    scratch.put("race", b"first", ABSENT)
    if not _refused(lambda: scratch.put("race", b"other", ABSENT)):
        return Seen(holds=False, detail="no create is exclusive")
    for number in range(ROUNDS):
        won = _winners(scratch, f"race{number}")
        if won > 1:
            return Seen(holds=False, detail=f"{won} of {RACERS} creates at once succeeded")
    return Seen(holds=True, detail=f"{ROUNDS} times {RACERS} at once")


def _winners(scratch: Scratch, name: str) -> int:
    start = threading.Barrier(RACERS)

    def attempt(racer: int) -> bool:
        start.wait(30)
        with suppress(ObjfsError):
            scratch.put(name, b"racer %d" % racer, ABSENT)
            return True
        return False

    with ThreadPoolExecutor(RACERS) as pool:
        return sum(pool.map(attempt, range(RACERS)))


def checksum(scratch: Scratch, insight: Insight) -> Seen:
    """Bytes under a checksum that is not theirs."""
    refused = insight.put_corrupt(scratch.key("corrupt"))
    if refused is None:
        return Seen(None, "no way to send a false one")
    if not refused:
        return Seen(holds=False, detail="bytes under a false checksum were stored")
    kept = scratch.exists("corrupt")
    return Seen(not kept, "refused, and stored all the same" if kept else "")


def told_md5(scratch: Scratch, _: Insight) -> Seen:
    """Whether the store tells the MD5 of what was put, as the ETag or beside it."""
    body = b"what is the name of these bytes"
    scratch.put("md5", body)
    found = scratch.driver.head(scratch.prefix + "md5")
    told = found.md5 or found.etag
    same = told == hashlib.md5(body, usedforsecurity=False).hexdigest()
    beside = "beside the ETag" if found.md5 else ""
    return Seen(same, beside if same else f"it tells {told}")


def atomic(scratch: Scratch, _: Insight) -> Seen:
    """Readers beside a writer: each body is of one letter, so a mixture is seen."""
    scratch.put("atomic", b"a" * WHOLE)
    done = threading.Event()

    def read() -> tuple[int, str]:
        reads = 0
        while not done.is_set() or not reads:
            try:
                body = scratch.get("atomic", WHOLE)
            except NotFound:
                return reads, "a reader found nothing"
            except ObjfsError:
                if done.is_set():
                    break
                continue
            if len(set(body)) > 1:
                return reads, "a reader found a mixture"
            reads += len(body) == WHOLE
        return reads, ""

    with ThreadPoolExecutor(READERS) as pool:
        try:
            readers = [pool.submit(read) for _ in range(READERS)]
            for number in range(OVERWRITES):
                scratch.put("atomic", bytes([ord("b") + number]) * WHOLE)
        finally:
            done.set()
        found = [reader.result() for reader in readers]
    reads = sum(count for count, _ in found)
    wrong = next((problem for _, problem in found if problem), "")
    if not wrong and not reads:
        return Seen(None, "no reader got an answer")
    return Seen(not wrong, wrong or f"{reads} reads beside {OVERWRITES} writes")


def listed_at_once(scratch: Scratch, _: Insight) -> Seen:
    """What was put is listed, what was deleted is not, asked right behind it."""
    names = [f"list/{number}" for number in range(4)]
    for at, name in enumerate(names):
        scratch.put(name, b"x")
        if sorted(scratch.listed("list/")) != names[: at + 1]:
            return Seen(holds=False, detail="a new object is not listed at once")
    for at, name in enumerate(names):
        scratch.driver.delete(scratch.prefix + name)
        if scratch.exists(name) or sorted(scratch.listed("list/")) != names[at + 1 :]:
            return Seen(holds=False, detail="a deleted object is still there")
    return Seen(holds=True)


def ordered(scratch: Scratch, _: Insight) -> Seen:
    """Keys around `/` and beyond ASCII, where orders differ."""
    names = [f"order/{name}" for name in ("x-y", "x.y", "x/y", "xy", "Z", "é", "\uffee", "😀")]
    for name in names:
        scratch.put(name, b"x")
    found = scratch.listed("order/")
    if sorted(found) != sorted(names):
        return Seen(None, "not all keys are listed")
    ordered = found == sorted(names, key=str.encode)
    first = " ".join(name.removeprefix("order/") for name in found)
    return Seen(ordered, "" if ordered else f"listed as {first}")


def keys(scratch: Scratch, _: Insight) -> Seen:
    """See `objfs.store.oddkeys`."""
    failed = odd_keys(scratch)
    return Seen(not failed, ", ".join(failed))


def clock(scratch: Scratch, _: Insight) -> Seen:
    """The store's time of an object, which is in whole seconds, beside ours."""
    before = time.time_ns()
    scratch.put("clock", b"x")
    after = time.time_ns()
    found = scratch.driver.head(scratch.prefix + "clock").mtime_ns
    late = max(0, found - after - _SECOND)
    early = max(0, before - _SECOND - found)
    seconds = (late - early) / _SECOND
    detail = f"{seconds:+.0f} s" if round(seconds) else "under a second apart"
    return Seen(abs(seconds) <= CLOCK_SLACK, detail)
