"""Runs of the engine under Hypothesis, counted."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from objfs.store.base import Driver
from tests.filesystem.engine import Engine, Limits
from tests.filesystem.rig import TTL, mounted
from tests.strategies import steps

LENGTH = 40
"""Steps in one example."""
TIMES = max(1, settings().max_examples // 100)
"""1, or 10 with HYPOTHESIS_PROFILE=long."""


def count_operations(
    store: Callable[[], AbstractContextManager[Driver]],
    examples: int,
    limits: Limits = Limits(),  # noqa: B008  # frozen
) -> int:
    """Run so many examples, each on an empty store; the operations that were compared."""
    counted = 0

    @settings(max_examples=examples * TIMES)
    @given(
        taken=st.lists(steps, min_size=LENGTH, max_size=LENGTH),
        ttl=st.sampled_from([0.0, TTL]),
    )
    def compared(taken: list[tuple[int, int, int, int]], ttl: float) -> None:
        nonlocal counted
        with store() as driver:
            counted += trio.run(_drive, driver, taken, ttl, limits)

    compared()
    return counted


async def _drive(
    store: Driver, taken: list[tuple[int, int, int, int]], ttl: float, limits: Limits
) -> int:
    async with mounted(store, ttl=ttl) as rig:
        engine = Engine(rig.kernel, store, expire=rig.advance, settle=rig.settle, limits=limits)
        await engine.run(taken)
        rig.kernel.check()
    return engine.operations
