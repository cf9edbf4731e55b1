"""Drivers around drivers: one that fails on demand, one that remembers what it was asked.

Both wrap any driver, so that every test of what is above works with every store below.
"""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from objfs.store.base import Body, Capabilities, Driver, Sink, Usage
from objfs.types import ANYTHING, Expect, Headers, ObjectInfo, Page, Part

T = TypeVar("T")


class Wrapped:
    """Hands every request on through `around`, which a subclass bends."""

    def __init__(self, inner: Driver) -> None:
        self.inner = inner

    def around(self, operation: str, key: str, call: Callable[[], T]) -> T:
        """Called in place of each request."""
        raise NotImplementedError

    @property
    def capabilities(self) -> Capabilities:
        """The wrapped driver's."""
        return self.inner.capabilities

    def check(self) -> None:
        """See `Driver`; so are all the others."""
        self.around("check", "", self.inner.check)

    def list_page(
        self,
        prefix: str,
        *,
        delimiter: str = "",
        after: str = "",
        token: str = "",
        limit: int = 1000,
    ) -> Page:
        """See `Driver`."""
        return self.around(
            "list",
            prefix,
            lambda: self.inner.list_page(
                prefix, delimiter=delimiter, after=after, token=token, limit=limit
            ),
        )

    def head(self, key: str) -> ObjectInfo:
        """See `Driver`."""
        return self.around("head", key, lambda: self.inner.head(key))

    def get(
        self, key: str, sink: Sink, *, start: int, stop: int, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """See `Driver`."""
        return self.around(
            "get", key, lambda: self.inner.get(key, sink, start=start, stop=stop, expect=expect)
        )

    def put(
        self, key: str, body: Body, headers: Headers, *, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """See `Driver`."""
        return self.around("put", key, lambda: self.inner.put(key, body, headers, expect=expect))

    def copy(
        self,
        source: str,
        target: str,
        *,
        size: int,
        expect: Expect = ANYTHING,
        target_expect: Expect = ANYTHING,
        headers: Headers | None = None,
    ) -> ObjectInfo:
        """See `Driver`."""
        return self.around(
            "copy",
            source,
            lambda: self.inner.copy(
                source,
                target,
                size=size,
                expect=expect,
                target_expect=target_expect,
                headers=headers,
            ),
        )

    def delete(self, key: str) -> None:
        """See `Driver`."""
        self.around("delete", key, lambda: self.inner.delete(key))

    def delete_many(self, keys: Sequence[str]) -> Mapping[str, Exception]:
        """See `Driver`."""
        key = keys[0] if keys else ""
        return self.around("delete_many", key, lambda: self.inner.delete_many(keys))

    def start_parts(self, key: str, headers: Headers) -> str:
        """See `Driver`."""
        return self.around("start_parts", key, lambda: self.inner.start_parts(key, headers))

    def put_part(self, key: str, upload: str, number: int, body: Body) -> Part:
        """See `Driver`."""
        return self.around("put_part", key, lambda: self.inner.put_part(key, upload, number, body))

    def copy_part(
        self,
        key: str,
        upload: str,
        number: int,
        source: str,
        *,
        start: int,
        stop: int,
        expect: Expect = ANYTHING,
    ) -> Part:
        """See `Driver`."""
        return self.around(
            "copy_part",
            key,
            lambda: self.inner.copy_part(
                key, upload, number, source, start=start, stop=stop, expect=expect
            ),
        )

    def list_parts(self, key: str, upload: str, *, limit: int = 1000) -> Sequence[Part]:
        """See `Driver`."""
        return self.around(
            "list_parts", key, lambda: self.inner.list_parts(key, upload, limit=limit)
        )

    def finish_parts(
        self, key: str, upload: str, parts: Sequence[Part], *, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """See `Driver`."""
        return self.around(
            "finish_parts",
            key,
            lambda: self.inner.finish_parts(key, upload, parts, expect=expect),
        )

    def abort_parts(self, key: str, upload: str) -> None:
        """See `Driver`."""
        self.around("abort_parts", key, lambda: self.inner.abort_parts(key, upload))

    def usage(self) -> Usage | None:
        """See `Driver`."""
        return self.around("usage", "", self.inner.usage)

    def close(self) -> None:
        """See `Driver`."""
        self.inner.close()


class RecordingDriver(Wrapped):
    """Remembers (operation, key) of every request, in order; a listing's key is its prefix."""

    def __init__(self, inner: Driver) -> None:
        super().__init__(inner)
        self.calls: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    def around(self, operation: str, key: str, call: Callable[[], T]) -> T:
        """Note it and hand it on."""
        with self._lock:
            self.calls.append((operation, key))
        return call()

    def count(self) -> Counter[str]:
        """Requests by operation since the last `clear`."""
        return Counter(operation for operation, _ in self.calls)

    def clear(self) -> None:
        """Begin anew."""
        self.calls.clear()


@dataclass
class Fault:
    """What becomes of some requests. Set exactly the fields that the test is about."""

    operation: str
    error: Exception | None = None
    late: bool = False
    """Do it first, then raise `error`."""
    key: str | None = None
    """Only this key."""
    skip: int = 0
    """Requests that are served well before the first one that is hit."""
    times: int = 1
    """Requests that are hit; then the fault is spent."""
    stall: threading.Event | None = None
    """Wait for it before anything else (ten seconds at most)."""
    stalled: threading.Event = field(default_factory=threading.Event)
    """Set when a request waits for `stall`."""
    twice: bool = False
    """Send it a second time, and answer with the second answer."""
    body: Callable[[bytes], bytes] | None = None
    """What becomes of a get's bytes: cut, extended, changed."""


class FaultyDriver(Wrapped):
    """Applies the faults that were planned, each to the requests it names."""

    def __init__(self, inner: Driver, *faults: Fault) -> None:
        super().__init__(inner)
        self._faults = list(faults)
        self._lock = threading.Lock()

    def plan(self, operation: str, error: Exception | None = None, **how: Any) -> Fault:
        """One more fault."""
        fault = Fault(operation, error, **how)
        with self._lock:
            self._faults.append(fault)
        return fault

    def around(self, operation: str, key: str, call: Callable[[], T]) -> T:
        """Hand it on, unless a fault has it."""
        fault = self._hit(operation, key)
        if fault is None:
            return call()
        if fault.stall:
            fault.stalled.set()
            fault.stall.wait(10)
        if fault.twice:
            call()
        if fault.error and not fault.late:
            raise fault.error
        answer = call()
        if fault.error:
            raise fault.error
        return answer

    def get(
        self, key: str, sink: Sink, *, start: int, stop: int, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """As planned, bent bodies included."""
        with self._lock:
            fault = self._find("get", key)
            bend = fault.body if fault else None
        if bend is None:
            return super().get(key, sink, start=start, stop=stop, expect=expect)
        self._hit("get", key)
        body = bytearray()
        info = self.inner.get(key, body.extend, start=start, stop=stop, expect=expect)
        sink(memoryview(bend(bytes(body))))
        return info

    def _find(self, operation: str, key: str) -> Fault | None:
        for fault in self._faults:
            if fault.operation == operation and fault.key in {None, key} and fault.times:
                return fault if not fault.skip else None
        return None

    def _hit(self, operation: str, key: str) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.operation == operation and fault.key in {None, key} and fault.times:
                    if fault.skip:
                        fault.skip -= 1
                        return None
                    fault.times -= 1
                    return fault
        return None
