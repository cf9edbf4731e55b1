"""Which bytes of a draft are not those of the version that it derives from. Pure."""

import bisect

GAP = 2**20
"""Bytes: changes that lie nearer to one another than this are one, which bounds their number."""


class Ranges:
    """Half-open ranges, in order, apart by more than `GAP`; what lies in a smaller gap counts."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def add(self, start: int, stop: int) -> None:
        """These bytes too."""
        if start >= stop:
            return
        first = bisect.bisect_left(self._stops, start - GAP)
        last = bisect.bisect_right(self._starts, stop + GAP)
        if first < last:
            start, stop = min(start, self._starts[first]), max(stop, self._stops[last - 1])
        self._starts[first:last] = [start]
        self._stops[first:last] = [stop]

    def clear(self) -> None:
        """None any more."""
        self._starts.clear()
        self._stops.clear()

    def copy(self) -> "Ranges":
        """The same, to be changed by itself."""
        copy = Ranges()
        copy._starts, copy._stops = self._starts[:], self._stops[:]
        return copy

    def within(self, size: int) -> tuple[tuple[int, int], ...]:
        """Those below `size`, cut there."""
        return tuple(
            (start, min(stop, size))
            for start, stop in zip(self._starts, self._stops, strict=True)
            if start < size
        )
