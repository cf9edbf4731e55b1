"""The Swift driver keeps the contract on real servers.

What a server does otherwise is data: each entry was met on that server and says what it does.
"""

from collections.abc import Iterator

import pytest

from objfs.store.swift.driver import SwiftStore
from tests.servers import Server
from tests.store.contract import DriverContract
from tests.store.kit import Bucket, Quirks
from tests.swift import new_container, store_on

QUIRKS = {
    "swift": Quirks(
        racing_creates="If-None-Match is checked before the write, not in one step with it",
    ),
    "radosgw": Quirks(),
}


class TestSwift(DriverContract):
    """Once against each server."""

    @pytest.fixture
    def bucket(self, swift_server: Server) -> Iterator[Bucket]:
        """A new container, and a driver that knows which product it talks to."""
        driver: SwiftStore = store_on(swift_server, new_container(swift_server))
        driver.check()
        yield Bucket(driver, QUIRKS[swift_server.name])
        driver.close()
