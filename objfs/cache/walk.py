"""Which files of a directory are likely to be opened next, from those that were. Pure.

A file has a place in each of several orders of its directory: the order of the listing, which tar
and sorted globs follow, and that of the inode numbers, which cp -r and others sort by. Evidence is
an open right behind an earlier one in the same order. It grows the window twofold; a file that was
fetched ahead and is passed by halves it. An open that follows nothing is held against nobody:
several programs may walk one directory.

When much of a directory has been opened in no order at all, the rest is likely to follow (a
training loop, many threads): as many files may be ahead as were opened, so waste is at most half.

INVARIANT: no more than the window is ahead and unopened; an isolated open causes nothing.
"""

from collections.abc import Iterator, Sequence

MOST = 64
"""Files that may be ahead of one directory's readers."""
NEAR = 8
"""Places that programs side by side may be out of order, once there is evidence."""
SURE = 4
"""Steps of the window that are evidence enough for that: before, it would often be chance."""
STREAMS = 4
"""Walks through one directory that are told apart."""
DENSE = 8
"""One file in so many opened, and at least so many, is dense."""
LOOK = 4 * MOST
"""Places that are looked at for the next file, some of which may be here already."""


class Walk:
    """One directory of `count` files, which go by their places in the first order."""

    def __init__(self, orders: Sequence[Sequence[int]], *, steps: int = 0) -> None:
        """`orders[n][i]` is the file at place i of order n; `steps` is what a like one had."""
        self._orders = orders
        self._ranks: list[dict[int, int]] = [
            {file: place for place, file in enumerate(order)} for order in orders
        ]
        self.count = len(orders[0])
        self._streams: list[tuple[int, int]] = []
        """Order and place of the walks, the most recent last."""
        self.steps = steps
        """The window is 2 to the power of it."""
        self.order = 0
        """The order that evidence was for last."""
        self.seen: set[int] = set()
        self.ahead: set[int] = set()
        """Fetched and not opened yet."""
        self._tried: set[int] = set()

    @property
    def window(self) -> int:
        """Files that may be ahead now."""
        ordered = 2**self.steps if self.steps else 0
        dense = len(self.seen) if len(self.seen) >= max(DENSE, self.count // DENSE) else 0
        return min(MOST, max(ordered, dense))

    def opened(self, file: int) -> tuple[bool, int]:
        """A file is opened: whether it was fetched ahead, and how many were so for nothing."""
        used = file in self.ahead
        self.ahead.discard(file)
        self.seen.add(file)
        passed = self._follow(file)
        if passed is None:
            return used, 0
        self.ahead -= passed
        self.steps = max(0, min(self.steps + 1, _MOST_STEPS) - len(passed))
        return used, len(passed)

    def next(self, file: int) -> Iterator[int]:
        """Files to fetch now, after `file` (-1: from the first one on).

        Whoever takes one says so by `take`; those that are here already do not count.
        """
        order = self._orders[self.order]
        start = self._ranks[self.order][file] + 1 if file >= 0 else 0
        dense = len(self.seen) >= max(DENSE, self.count // DENSE)
        places = range(start, min(start + LOOK, self.count))
        around = range(min(start, LOOK)) if dense else ()
        for place in (*places, *around):
            if len(self.ahead) >= self.window:
                return
            found = order[place]
            if found not in self.seen and found not in self._tried:
                self._tried.add(found)
                yield found

    def take(self, file: int) -> None:
        """This one is being fetched."""
        self.ahead.add(file)

    @property
    def ending(self) -> bool:
        """Whether an ordered walk has asked for the last file: what comes next lies elsewhere."""
        return self.steps > 1 and self._orders[self.order][-1] in self._tried | self.seen

    def _follow(self, file: int) -> set[int] | None:
        """Find the walk that this open goes on with: the files it passed by; None for no walk."""
        reach = NEAR if self.steps >= SURE else 1
        for number in (self.order, *(n for n in range(len(self._orders)) if n != self.order)):
            rank = self._ranks[number][file]
            for stream in self._streams:
                order, place = stream
                if order == number and -reach < rank - place <= reach and rank != place:
                    self._streams.remove(stream)
                    self._streams.append((number, max(rank, place)))
                    self.order = number
                    return self._behind(number, range(place - NEAR, rank - NEAR))
        for number, ranks in enumerate(self._ranks):
            self._streams.append((number, ranks[file]))
        del self._streams[: -STREAMS * len(self._orders)]
        return None

    def _behind(self, number: int, places: range) -> set[int]:
        """What is ahead at places that a walk has left behind now."""
        order = self._orders[number]
        return {order[place] for place in places if place >= 0} & self.ahead


_MOST_STEPS = MOST.bit_length() - 1
