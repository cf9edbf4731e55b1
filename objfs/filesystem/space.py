"""What df(1) shows: the store's own totals, asked for once in a while."""

import logging

from objfs.errors import ObjfsError
from objfs.exclusive import SingleFlight
from objfs.filesystem.base import Mount
from objfs.store.base import Usage

log = logging.getLogger(__name__)

EVERY = 60.0
"""Seconds for which an answer is believed: some stores count slowly, and desktops ask often."""


class Space:
    """The totals of one mount."""

    def __init__(self, mount: Mount) -> None:
        self._mount = mount
        self._asking: SingleFlight[None] = SingleFlight()
        self._known: Usage | None = None
        self._until = float("-inf")

    async def used(self) -> Usage:
        """Bytes and objects; zeros where the store keeps no totals, or cannot be asked now."""

        async def ask() -> None:
            try:
                self._known = await self._mount.bucket.usage()
            except ObjfsError as error:  # a df that shows old totals is better than one that fails
                log.info("the totals are not known: %s", error)
            self._until = self._mount.clock() + EVERY

        if self._mount.clock() >= self._until:
            await self._asking.run("usage", ask)
        return self._known or Usage(0, 0)
