"""How long botocore may go on repeating one request, given `--timeout`.

By itself it repeats up to `ATTEMPTS` times whatever the time: against a server that accepts and
never answers that is four times the read time-out, and a write cannot be abandoned meanwhile. So a
request that failed late is not repeated; whoever asked repeats it, with the whole mount in view.
It also ignores Retry-After (RFC 9110 section 10.2.3), which a throttling store sends.

A hot call (`lean`) has had its first try already when botocore gets it: `going_on` tells it so.
"""

import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

_BEGUN: Final = "objfs_begun"
"""Where in botocore's context of one call its beginning is kept."""
_TRIED: Final = "objfs_tried"
"""And how many tries it had before."""
SHARE: Final = 0.5
"""Of the time-out: a try that begins behind it might not end before the time-out does."""
PAUSE: Final = 0.05
THROTTLED: Final = 1.0


class Patience:
    """One client's; `timeout` is in seconds."""

    def __init__(self, timeout: float, attempts: int) -> None:
        self._timeout = timeout
        self._attempts = attempts
        self._earlier = threading.local()

    def watch(self, events: Any) -> None:
        """Have the client ask here first."""
        events.register_first("before-call.s3", self.begin)
        events.register_first("needs-retry.s3", self.decide)

    def begin(self, params: dict[str, Any], **_: Any) -> None:
        """A call begins."""
        begun = getattr(self._earlier, "begun", None)
        params["context"][_BEGUN] = time.monotonic() if begun is None else begun
        params["context"][_TRIED] = 0 if begun is None else 1

    @contextmanager
    def going_on(self, begun: float) -> Iterator[None]:
        """What this thread calls inside is the second try of what began at `begun`."""
        self._earlier.begun = begun
        try:
            yield
        finally:
            self._earlier.begun = None

    def pause(self, begun: float, headers: Mapping[str, str], *, throttled: bool) -> float | None:
        """The seconds to wait between the first try and the second; None for no second.

        Without Retry-After they are random up to `PAUSE`, or `THROTTLED`: botocore's own figures.
        """
        passed = time.monotonic() - begun
        if self._attempts == 1 or passed > SHARE * self._timeout:
            return None
        wait = asked_to_wait(headers)
        if wait is None:
            return random.random() * (THROTTLED if throttled else PAUSE)  # noqa: S311  # jitter
        return wait if passed + wait < self._timeout else None

    def decide(
        self, response: Any, attempts: int, request_dict: dict[str, Any], **_: Any
    ) -> float | bool | None:
        """The seconds to wait before another try, False for none, None for botocore's own ways."""
        passed = time.monotonic() - request_dict["context"].get(_BEGUN, 0.0)
        if response is not None and response[0].status_code < 400:  # noqa: PLR2004
            return None  # may still be an error in a 200: botocore knows them
        tried = request_dict["context"].get(_TRIED, 0)
        attempts += tried
        if passed > SHARE * self._timeout or (tried and attempts >= self._attempts):
            return False
        wait = asked_to_wait(response[0].headers) if response is not None else None
        if wait is None:
            return None
        return wait if passed + wait < self._timeout and attempts < self._attempts else False


def asked_to_wait(headers: Any) -> float | None:
    """The seconds of a Retry-After header; None for none, and for a date (S3 sends none)."""
    text = str(headers.get("retry-after", ""))
    return float(text) if text.isdecimal() else None
