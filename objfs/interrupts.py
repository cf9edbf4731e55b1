"""System calls that a signal ends, while the store does not answer (PROMISES P23).

The kernel tells the daemon of a signal by FUSE_INTERRUPT, and waits on; a process is not even
killable while its request is being served. libfuse takes that message, and pyfuse3 has no way to
hear of it. So a task looks, a few times in a second, whether a signal waits for those whose request
has been under way for a while (`proc`), and has it answered with EINTR. A request that ends fast
costs a cancel scope, 7 us; one that will not wait for the store need not come here at all.

What becomes of the work:

- What only asks (`asking`) is cancelled.
- What changes something (`changing`) is not undone: it runs in a task of its own, which goes on to
  its end. Nobody hears its error any more, so that goes to the log; what must be safe before the
  caller goes is made so (`first`), and what the kernel must be told, since it has no answer, is
  told at the end (`late`).

A caller is a thread that pyfuse3 names, or the one that opened the handle where it names none. The
kernel repeats a read that its read-ahead began, and a signal that waited waits still: who was
interrupted just now is looked at without delay.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

from objfs import proc
from objfs.errors import Interrupted, ObjfsError

log = logging.getLogger(__name__)
T = TypeVar("T")

EVERY = 0.25
"""Seconds between two looks."""
PATIENCE = 2
"""Looks that a request is left alone for: it is between 0.25 and 0.5 s old by then."""
LONG = 20
"""Looks after which an alarm is meant for the call: 5 s."""


class Call:
    """One request that somebody waits for."""

    __slots__ = ("caller", "changes", "family", "looks", "scope")

    def __init__(self, caller: int, *, family: bool, changes: bool) -> None:
        self.caller = caller
        """A thread; 0 where the kernel cannot name it (another PID namespace)."""
        self.family = family
        """Whether others may be the ones who wait: those who share the opened file."""
        self.changes = changes
        self.looks = 0
        self.scope = trio.CancelScope()


class Calls:
    """The requests under way. State only.

    INVARIANT: a call is in `_under_way` for exactly as long as its handler waits in its scope.
    """

    def __init__(self) -> None:
        self._under_way: set[Call] = set()
        self._just_now: dict[int, int] = {}
        """Callers that were interrupted at the last look, and how many looks that took."""

    def begin(self, call: Call) -> None:
        """Somebody waits."""
        call.looks = self._just_now.get(call.caller, 0)
        self._under_way.add(call)

    def end(self, call: Call) -> None:
        """Nobody waits any more."""
        self._under_way.discard(call)

    def due(self) -> list[tuple[int, bool, bool]]:
        """Whom to look at now: caller, whether it is a family, whether its call waits for long."""
        for call in self._under_way:
            call.looks += 1
        return list({_question(call) for call in self._under_way if call.looks > PATIENCE})

    def interrupt(self, called: set[tuple[int, bool, bool]]) -> None:
        """Answer those who, as `due` put it, are called away."""
        self._just_now.clear()
        for call in self._under_way:
            if call.looks > PATIENCE and _question(call) in called:
                self._just_now[call.caller] = call.looks
                call.scope.cancel()


def _question(call: Call) -> tuple[int, bool, bool]:
    return call.caller, call.family, call.looks > LONG and not call.changes


async def asking(calls: Calls, caller: int, work: Awaitable[T], *, family: bool = False) -> T:
    """Wait for `work`, which a signal to the caller cancels. Raises `Interrupted`."""
    call = Call(caller, family=family, changes=False)
    calls.begin(call)
    try:
        with call.scope:
            return await work
    finally:
        calls.end(call)
    raise Interrupted("a signal came while the store was being asked")


class _Outcome(Generic[T]):
    """What became of work that goes on without its caller, if need be."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.error: Exception | None = None
        self.values: list[T] = []
        self.left = False
        """Whether the caller has gone."""

    def value(self) -> T:
        if self.error:
            raise self.error
        return self.values[0]


class Changes:
    """Work that goes on when its caller is interrupted. It runs in `nursery`."""

    def __init__(self, calls: Calls, nursery: trio.Nursery) -> None:
        self._calls = calls
        self._nursery = nursery

    async def changing(
        self,
        caller: int,
        what: str,
        work: Callable[[], Awaitable[T]],
        *,
        family: bool = False,
        first: Callable[[], Awaitable[None]] | None = None,
        late: Callable[[T | None], None] | None = None,
    ) -> T:
        """Wait for `work`, which goes on to its end if a signal comes. Raises `Interrupted`.

        `what` names it in the log. `late` gets its value, or None for an error, where nobody else
        does.
        """
        outcome: _Outcome[T] = _Outcome()
        self._nursery.start_soon(self._to_its_end, what, work, late, outcome)
        call = Call(caller, family=family, changes=True)
        self._calls.begin(call)
        try:
            with call.scope:
                await outcome.done.wait()
        finally:
            self._calls.end(call)
        if not outcome.done.is_set() and first:
            await first()
        if outcome.done.is_set():
            return outcome.value()
        outcome.left = True
        log.info("%s goes on, although its caller was interrupted", what)
        raise Interrupted(f"{what}: a signal came before the store answered; it goes on")

    @staticmethod
    async def _to_its_end(
        what: str,
        work: Callable[[], Awaitable[T]],
        late: Callable[[T | None], None] | None,
        outcome: _Outcome[T],
    ) -> None:
        try:
            outcome.values.append(await work())
        except (ObjfsError, OSError) as error:
            outcome.error = error
            if outcome.left:
                log.warning("%s failed after its caller was interrupted: %s", what, error)
        except Exception as error:
            # raised on, here, it would end all that goes on, and with it the mount (PROMISES P24)
            outcome.error = error
            if outcome.left:
                log.exception("%s failed in a way that nobody foresaw", what)
        finally:
            outcome.done.set()
        if outcome.left and late:
            late(outcome.values[0] if outcome.values else None)

    async def settled(self) -> None:
        """Wait until nothing goes on any more."""
        while self._nursery.child_tasks:  # noqa: ASYNC110  # a nursery has no event for it
            await trio.sleep(EVERY)


async def watch(calls: Calls) -> None:
    """Look for signals, for as long as requests are served; runs until it is cancelled."""
    while True:
        await trio.sleep(EVERY)
        due = calls.due()
        called = await trio.to_thread.run_sync(_called, due, abandon_on_cancel=True) if due else []
        calls.interrupt(set(called))


def _called(due: list[tuple[int, bool, bool]]) -> list[tuple[int, bool, bool]]:
    return [
        (caller, family, long)
        for caller, family, long in due
        if caller
        and (proc.family_is_called if family else proc.thread_is_called)(caller, long=long)
    ]
