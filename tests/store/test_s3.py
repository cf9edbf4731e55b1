"""The S3 driver keeps the contract on real servers.

What a server does otherwise is data: each entry was met on that server and says what it does.
"""

from collections.abc import Iterator

import pytest

from objfs.config import StoreConfig
from objfs.store.base import Driver
from objfs.store.s3 import S3Store
from tests.servers import Server, new_bucket
from tests.store.contract import DriverContract
from tests.store.kit import Bucket, Quirks

_CLEANED = "it keeps files in folders, and cleans the path: components are merged or refused"
QUIRKS = {
    "radosgw": Quirks(
        finish_unknown="it answers 500 InternalError, a completion that is already in progress",
    ),
    "seaweedfs": Quirks(
        refused_keys={
            "backslash": "a backslash comes back as a slash",
            "empty component": _CLEANED,
            "leading slash": _CLEANED,
            "only slash": _CLEANED,
            "dot": _CLEANED,
            "dots": _CLEANED,
            "only dots": _CLEANED,
            "folder": "the body of a key that ends in a slash is lost",
            "two slashes": _CLEANED,
        },
        no_marker_beside_file="it answers 409 ExistingObjectIsFile to a put of `a/` beside `a`",
        folder_order="it lists in the order of folders: `a/b` before `a-b`",
        no_after="StartAfter=a leaves out `a/b`, where `a` is a file and a folder",
        replaced_part="it keeps both; where a page ends between them it lists one",
        one_entry_pages="with max-keys=1 `a/b/c` is lost behind `a/b`, or two entries come",
    ),
    "ministack": Quirks(),
}


class TestS3(DriverContract):
    """Once against each server."""

    @pytest.fixture
    def bucket(self, s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
        """A new bucket, and a driver that knows which product it talks to."""
        for name, value in s3_server.environment().items():
            monkeypatch.setenv(name, value)
        name = new_bucket(s3_server)
        driver: Driver = S3Store(
            StoreConfig(
                url=f"s3://{name}",
                scheme="s3",
                bucket=name,
                endpoint_url=s3_server.endpoint,
                region=s3_server.region,
            )
        )
        driver.check()
        yield Bucket(driver, QUIRKS[s3_server.name])
        driver.close()
