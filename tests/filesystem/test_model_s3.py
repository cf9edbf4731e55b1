"""Random operations against the S3 driver on real servers, compared with the model."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from objfs.config import StoreConfig
from objfs.store.base import Driver
from objfs.store.s3 import S3Store
from tests.filesystem.engine import Limits
from tests.filesystem.runs import LENGTH, TIMES, count_operations
from tests.servers import Server, new_bucket

EXAMPLES = {"radosgw": 50, "seaweedfs": 5, "ministack": 5}
LIMITS = {
    "seaweedfs": Limits(
        # It keeps files in folders: no name can be a file and a folder, and a folder whose last
        # object was deleted is still listed for a while, with nothing in it. So: files only.
        files=("a", "b", "é", "a-", ".x"),
        directories=(),
        odd_keys=("50%.txt", "%dot"),
    ),
}


@contextmanager
def emptied(driver: Driver) -> Iterator[Driver]:
    """The same bucket each time, without objects."""
    while keys := [info.key for info in driver.list_page("").objects]:
        assert not driver.delete_many(keys)
    yield driver


@pytest.mark.usefixtures("refusals")
def test_s3(s3_server: Server, monkeypatch: pytest.MonkeyPatch):
    """At least 2,000 operations on radosgw, 200 on each of the others."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    bucket = new_bucket(s3_server)
    driver = S3Store(
        StoreConfig(
            url=f"s3://{bucket}",
            scheme="s3",
            bucket=bucket,
            endpoint_url=s3_server.endpoint,
            region=s3_server.region,
        )
    )
    name = s3_server.name
    examples = EXAMPLES[name]
    counted = count_operations(partial(emptied, driver), examples, LIMITS.get(name, Limits()))
    driver.close()
    assert counted >= examples * LENGTH * TIMES
