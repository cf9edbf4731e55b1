"""How one request to the store is made: in which thread, for how long, how often.

- Threads: a driver blocks, so each call runs in a worker thread, at most `connections` at once.
- Cancellation: a read that nobody waits for any more is abandoned (its thread ends by the driver's
  own time-outs); a write is waited for, since it may land.
- Credentials: that they are refused is said once, until they are accepted again.

Semantics: reads are tried `READ_TRIES` times on errors that may pass; a driver's SDK has tried
before. Writes are not repeated here: a repeated write needs to know what became of the first.
"""

import logging
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import trio

from objfs.errors import BadCredentials, Forbidden, ObjfsError, TimedOut

T = TypeVar("T")
log = logging.getLogger(__name__)

READ_TRIES = 3
PAUSE = 0.2
"""Seconds before a read is tried again; doubled each time."""
PATIENCE = "Check the network and the endpoint, or mount with a longer --timeout"


class Requests:
    """The requests of one bucket; `timeout` is in seconds."""

    def __init__(self, connections: int, timeout: float) -> None:
        self._timeout = timeout
        self.limiter = trio.CapacityLimiter(connections)
        self.sent: Counter[str] = Counter()
        """How many so far, by operation."""
        self.refused = ""
        """What the store said when it refused the credentials last; "" while it takes them."""

    async def call(self, operation: str, call: Callable[[], T], *, abandon: bool = False) -> T:
        """Once; with `abandon` a cancelled caller does not wait for its end."""
        self.sent[operation] += 1
        try:
            run = trio.to_thread.run_sync
            answer = await run(call, abandon_on_cancel=abandon, limiter=self.limiter)
        except BadCredentials as error:
            self._refuse(error)
            raise
        except Forbidden as error:
            if self.refused:  # an answer to HEAD cannot say why
                raise BadCredentials(error.message, remedy=error.remedy) from error
            raise
        if self.refused:
            log.info("the store takes the credentials again, which it refused: %s", self.refused)
        self.refused = ""
        return answer

    async def read(self, operation: str, call: Callable[[], T]) -> T:
        """Again and again within the time-out. Raises `TimedOut`, and what the last try raised."""
        failed: list[ObjfsError] = []
        try:
            with trio.fail_after(self._timeout):
                return await self._retried(operation, call, failed)
        except trio.TooSlowError:
            if failed:  # what the store did say is worth more than that time is up
                raise failed[-1] from None
            raise TimedOut(
                f"{operation}: no answer in {self._timeout:g} s", remedy=PATIENCE
            ) from None

    async def _retried(self, operation: str, call: Callable[[], T], failed: list[ObjfsError]) -> T:
        pause = PAUSE
        while True:
            try:
                return await self.call(operation, call, abandon=True)
            except ObjfsError as error:
                failed.append(error)
                if not error.retry or len(failed) == READ_TRIES:
                    raise
            await trio.sleep(pause)
            pause *= 2

    def _refuse(self, error: BadCredentials) -> None:
        if not self.refused:
            log.warning("the store refuses the credentials, and uploads wait: %s", error)
        self.refused = str(error)
