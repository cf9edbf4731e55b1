"""The contract that every driver keeps; what each rule is stands in `objfs.store.base`.

A product's test module derives from `DriverContract` and gives the fixture `bucket`: a driver on
an empty bucket, with the product's quirks as data. Where `capabilities` says that a condition is
not honoured, the same test wants `Unsupported` instead.
"""

from tests.store.contract_listing import ListingContract
from tests.store.contract_objects import ObjectContract
from tests.store.contract_parts import PartContract
from tests.store.contract_writes import WriteContract


class DriverContract(ObjectContract, WriteContract, ListingContract, PartContract):
    """All of it."""
