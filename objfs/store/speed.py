"""How fast a store answers from here: requests one after the other, as one program would wait."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from typing import Final

from objfs.errors import NotFound
from objfs.store.base import Driver
from objfs.store.scratch import Scratch

TIMES: Final = 5
SMALL: Final = 16 * 1024
LARGE: Final = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Latency:
    """Medians of `TIMES`, in seconds."""

    head: float | None
    """None where nothing was asked: a whole account has no objects of its own."""
    list: float


@dataclass(frozen=True, slots=True)
class Throughput:
    """Of a small object (medians, in seconds) and of a large one (bytes in a second)."""

    small_put: float
    small_get: float
    large_put: float
    large_get: float
    large: int
    """Its bytes."""


def latency(driver: Driver, prefix: str, *, objects: bool) -> Latency:
    """Without a write: HEADs of a key that is not there, and lists of one page under `prefix`."""

    def head() -> None:
        with suppress(NotFound):
            driver.head(f"{prefix}objfs-doctor-asks-for-nothing")

    listing = _median(lambda: driver.list_page(prefix, delimiter="/", limit=100))
    return Latency(_median(head) if objects else None, listing)


def throughput(scratch: Scratch) -> Throughput:
    """Bytes that cannot be compressed, in one request each. Raises what the driver raises."""
    small = os.urandom(SMALL)
    large = os.urandom(min(LARGE, scratch.driver.capabilities.max_put))
    put_small = _median(lambda: scratch.put("small", small))
    get_small = _median(lambda: scratch.get("small", SMALL))
    put_large = _seconds(lambda: scratch.put("large", large))
    get_large = _seconds(lambda: scratch.get("large", len(large)))
    return Throughput(
        put_small, get_small, len(large) / put_large, len(large) / get_large, len(large)
    )


def _median(request: Callable[[], object]) -> float:
    request()  # the first may connect and log in
    return median(_seconds(request) for _ in range(TIMES))


def _seconds(request: Callable[[], object]) -> float:
    begun = time.perf_counter()
    request()
    return max(time.perf_counter() - begun, 1e-9)
