"""The only waiting primitives: at most one of these at a time.

`SingleFlight` lets many callers share one request. `Turns` lets one task at a time change what the
store holds under a key, or under a prefix; who waits is served in order of arrival.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import trio

from objfs.types import DELIMITER

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Flight(Generic[T]):
    done: trio.Event = field(default_factory=trio.Event)
    value: list[T] = field(default_factory=list)
    error: Exception | None = None


class SingleFlight(Generic[T]):
    """Callers that ask for the same thing while it is under way get the one answer."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[T]] = {}

    def __contains__(self, key: Hashable) -> bool:
        """Whether a call for this key is under way."""
        return key in self._flights

    async def run(self, key: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer of `ask`, or of the call that is under way for `key`.

        An error goes to all who wait. When the caller that asks is cancelled, one of those who
        wait asks again.
        """
        while flight := self._flights.get(key):
            await flight.done.wait()
            if flight.error is not None:
                raise flight.error
            if flight.value:
                return flight.value[0]
        flight = self._flights[key] = _Flight()
        try:
            flight.value.append(await ask())
        except Exception as error:
            flight.error = error
            raise
        finally:
            del self._flights[key]
            flight.done.set()
        return flight.value[0]


@dataclass(slots=True, eq=False)
class _Turn:
    keys: tuple[str, ...]
    ready: trio.Event = field(default_factory=trio.Event)


class Turns:
    """Keys, and prefixes (ending in "/", or "" for all), that one task at a time may change.

    INVARIANT: no two turns that are ready overlap; a turn waits for all earlier ones it overlaps.
    """

    def __init__(self) -> None:
        self._turns: list[_Turn] = []

    @asynccontextmanager
    async def hold(self, *keys: str) -> AsyncIterator[None]:
        """Wait for, and then have, the turn on all of `keys` at once."""
        turn = _Turn(keys)
        self._turns.append(turn)
        try:
            self._admit()
            await turn.ready.wait()
            yield
        finally:
            self._turns.remove(turn)
            self._admit()

    def held(self, key: str) -> bool:
        """Whether somebody has, or waits for, a turn on this key."""
        return any(_overlap(key, other) for turn in self._turns for other in turn.keys)

    def _admit(self) -> None:
        for at, turn in enumerate(self._turns):
            if not turn.ready.is_set() and not any(
                _overlap(mine, theirs)
                for earlier in self._turns[:at]
                for mine in turn.keys
                for theirs in earlier.keys
            ):
                turn.ready.set()


def _overlap(one: str, other: str) -> bool:
    return (
        one == other
        or (other.startswith(one) and (one == "" or one.endswith(DELIMITER)))
        or (one.startswith(other) and (other == "" or other.endswith(DELIMITER)))
    )
