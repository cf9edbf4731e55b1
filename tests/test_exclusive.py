"""One at a time: shared requests, and turns on keys."""

import pytest
import trio
import trio.testing

from objfs.errors import NotFound
from objfs.exclusive import SingleFlight, Turns


async def test_callers_share_one_request():
    """Who asks while it is under way gets the same answer; who asks later asks anew."""
    flights: SingleFlight[int] = SingleFlight()
    asked: list[int] = []
    answers: list[int] = []

    async def ask() -> int:
        asked.append(len(asked))
        await trio.testing.wait_all_tasks_blocked()
        return asked[-1]

    async def run() -> None:
        answers.append(await flights.run("a", ask))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(run)
    assert (asked, answers) == ([0], [0, 0, 0])
    assert await flights.run("a", ask) == 1


async def test_error_goes_to_all_who_wait():
    """And the next call asks again."""
    flights: SingleFlight[None] = SingleFlight()
    failed: list[str] = []

    async def ask() -> None:
        await trio.testing.wait_all_tasks_blocked()
        raise NotFound("gone")

    async def run() -> None:
        with pytest.raises(NotFound):
            await flights.run("a", ask)
        failed.append("a")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        nursery.start_soon(run)
    assert failed == ["a", "a"]


async def test_cancelled_leader_hands_over():
    """One of those who wait asks in its place."""
    flights: SingleFlight[str] = SingleFlight()
    leader = trio.CancelScope()
    answers: list[str] = []

    async def lead() -> None:
        with leader:
            await flights.run("a", trio.sleep_forever)

    async def follow() -> None:
        answers.append(await flights.run("a", answer))

    async def answer() -> str:
        await trio.lowlevel.checkpoint()
        return "mine"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lead)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(follow)
        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        leader.cancel()
    assert answers == ["mine", "mine"]


class Order:
    """Tasks that take turns and note when they have them."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.turns = Turns()
        self.having: list[str] = []
        self._nursery = nursery
        self._ends: dict[str, trio.Event] = {}

    async def take(self, name: str, *keys: str) -> None:
        """Ask for a turn, and let everybody get as far as they can."""
        self._ends[name] = trio.Event()
        self._nursery.start_soon(self._run, name, keys)
        await trio.testing.wait_all_tasks_blocked()

    async def end(self, name: str) -> None:
        """Give it back."""
        self._ends[name].set()
        await trio.testing.wait_all_tasks_blocked()

    async def _run(self, name: str, keys: tuple[str, ...]) -> None:
        async with self.turns.hold(*keys):
            self.having.append(name)
            await self._ends[name].wait()
            self.having.remove(name)


async def test_turns_come_in_order_of_arrival():
    """The same key is one's at a time; other keys do not wait."""
    async with trio.open_nursery() as nursery:
        order = Order(nursery)
        for name in ("first", "second", "third"):
            await order.take(name, "a")
        await order.take("other", "ab")
        assert order.having == ["first", "other"]
        await order.end("first")
        assert order.having == ["other", "second"]
        for name in ("second", "third", "other"):
            await order.end(name)
        assert not order.turns.held("a")


async def test_prefix_waits_for_keys_below_and_they_for_it():
    """A directory's turn excludes all below it, and nothing beside it."""
    async with trio.open_nursery() as nursery:
        order = Order(nursery)
        await order.take("key", "d/a")
        await order.take("directory", "d/")
        await order.take("later", "d/b")
        await order.take("beside", "d-")
        await order.take("namesake", "d")
        assert order.having == ["key", "beside", "namesake"]
        await order.end("key")
        assert order.having == ["beside", "namesake", "directory"]
        assert order.turns.held("d/x/y")
        assert not order.turns.held("e")
        for name in ("directory", "later", "beside", "namesake"):
            await order.end(name)


async def test_several_keys_are_taken_at_once():
    """Who waits for two keys holds neither, so two renames across each other cannot lock up."""
    async with trio.open_nursery() as nursery:
        order = Order(nursery)
        await order.take("one", "b")
        await order.take("there", "a", "b")
        await order.take("back", "b", "a")
        assert order.having == ["one"]
        await order.end("one")
        assert order.having == ["there"]
        await order.end("there")
        assert order.having == ["back"]
        await order.end("back")


async def test_cancelled_wait_lets_the_next_in():
    """A turn that nobody waits for any more is in nobody's way."""
    turns = Turns()
    async with turns.hold("a"):
        with trio.move_on_after(0):
            async with turns.hold("a"):
                raise AssertionError
    with trio.fail_after(1):
        async with turns.hold(""):
            assert turns.held("a")
