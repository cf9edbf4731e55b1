"""The reference driver keeps the contract, with everything on and with everything off."""

import pytest
from hypothesis import given

from objfs.errors import InvalidArgument, InvalidName, InvalidRange, StoreError
from objfs.store.base import Capabilities, Driver
from objfs.store.memory import MemoryStore
from objfs.types import Headers
from tests.store.contract import DriverContract
from tests.store.contract_listing import Listing, listings
from tests.store.kit import Bucket

NOTHING = Capabilities(
    put_if_absent=False,
    put_if_match=False,
    finish_if_absent=False,
    finish_if_match=False,
    copy_if_match=False,
    copy_if_absent=False,
)


class TestMemory(DriverContract):
    """With every capability."""

    @pytest.fixture
    def bucket(self) -> Bucket:
        """A new store."""
        driver: Driver = MemoryStore()
        return Bucket(driver)


class TestMemoryWithoutConditions(DriverContract):
    """As a product that honours no condition: refusing them is the contract too."""

    @pytest.fixture
    def bucket(self) -> Bucket:
        """A new store."""
        return Bucket(MemoryStore(NOTHING))


@given(listing=listings)
def test_any_listing(listing: Listing) -> None:
    """Any listing of any keys is right, page by page."""
    bucket = Bucket(MemoryStore())
    for key in listing.keys:
        bucket.put(key)
    listing.check(bucket)


def test_misuse() -> None:
    """What no caller may ask is refused, so that tests above find it."""
    bucket = Bucket(MemoryStore(NOTHING))
    bucket.put("x", b"123")
    for start, stop in [(0, 0), (2, 1), (0, 4), (-1, 2)]:
        with pytest.raises(InvalidRange):
            bucket.read("x", start, stop)
    with pytest.raises(InvalidName):
        bucket.put("\udc80")
    with pytest.raises(InvalidArgument):
        bucket.driver.delete_many(["x"] * 1001)
    with pytest.raises(InvalidArgument):
        bucket.page(limit=0)
    upload = bucket.driver.start_parts("x", Headers())
    parts = [bucket.driver.put_part("x", upload, number, b"small") for number in (1, 2)]
    with pytest.raises(StoreError, match="under"):
        bucket.driver.finish_parts("x", upload, parts)
