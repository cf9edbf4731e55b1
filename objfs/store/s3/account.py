"""The buckets of one S3 account, on one boto3 client.

CreateBucket of a bucket that is already ours is an error in most regions and none in us-east-1
(https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html), so it is asked for first.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from objfs.config import StoreConfig
from objfs.errors import (
    Exists,
    Forbidden,
    NoSuchBucket,
    NotFound,
    ObjfsError,
)
from objfs.store.account import BucketInfo
from objfs.store.base import Capabilities, Driver, Usage
from objfs.store.s3 import wire
from objfs.store.s3.client import DEFAULT_REGION, connect
from objfs.store.s3.driver import S3Store
from objfs.store.s3.errors import mapped
from objfs.store.s3.products import UNKNOWN, recognise
from objfs.types import Expect, Headers, ObjectInfo


class S3Account:
    """All buckets that these credentials reach; made without a request."""

    def __init__(self, config: StoreConfig) -> None:
        self._config = config
        self._connected = connect(config)
        self._client = self._connected.client
        self._capabilities = UNKNOWN
        self._client.meta.events.register("after-call.s3.ListBuckets", self._recognise)

    @property
    def capabilities(self) -> Capabilities:
        """Those of the product; exact after the first answer."""
        return self._capabilities

    def check(self) -> None:
        """Whether the endpoint and the credentials are good; to list buckets need not be allowed.

        Raises `BadCredentials` and `Unreachable`.
        """
        try:
            self.buckets()
        except Forbidden as error:
            if type(error) is not Forbidden:
                raise

    def buckets(self) -> Sequence[BucketInfo]:
        """By pages where the store has them."""
        found: list[BucketInfo] = []
        with mapped("LIST", "the buckets"):
            for page in self._client.get_paginator("list_buckets").paginate():
                found += [
                    BucketInfo(item["Name"], wire.nanoseconds(item["CreationDate"]))
                    for item in page.get("Buckets", ())
                ]
        return found

    def create_bucket(self, name: str) -> None:
        """In the client's region."""
        if self._exists(name):
            raise Exists(f"MAKE {name}: the bucket exists")
        region = self._client.meta.region_name
        where: dict[str, Any] = {}
        if region != DEFAULT_REGION and self._capabilities == Capabilities():  # AWS alone wants it
            where = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        with mapped("MAKE", name):
            self._client.create_bucket(Bucket=name, **where)

    def remove_bucket(self, name: str) -> None:
        """The store itself refuses one that is not empty."""
        try:
            with mapped("REMOVE", name):
                self._client.delete_bucket(Bucket=name)
        except (NoSuchBucket, NotFound):
            return

    def open_bucket(self, name: str) -> Driver:
        """On the same client, and so on the same connections."""
        config = replace(self._config, bucket=name, prefix="")
        return S3Store(config, connected=self._connected)

    def copy(
        self,
        source: tuple[str, str],
        target: tuple[str, str],
        *,
        size: int,
        expect: Expect,
        headers: Headers | None,
    ) -> ObjectInfo:
        """As inside one bucket: CopySource names the other."""
        store = S3Store(
            replace(self._config, bucket=target[0], prefix=""), connected=self._connected
        )
        return store.copy(
            *(source[1], target[1]),
            size=size,
            expect=expect,
            headers=headers,
            source_bucket=source[0],
        )

    def usage(self) -> Usage | None:
        """S3 keeps no totals that a user may ask for."""
        return None

    def close(self) -> None:
        """Close the pooled connections."""
        self._connected.close()

    def _exists(self, name: str) -> bool:
        try:
            with mapped("HEAD", name):
                self._client.head_bucket(Bucket=name)
        except (NoSuchBucket, NotFound):
            return False
        except Forbidden as error:
            raise Exists(f"MAKE {name}: the name is taken by another account") from error
        except ObjfsError:
            raise
        return True

    def _recognise(self, http_response: Any, **_: Any) -> None:
        known = recognise(http_response.headers)
        if known is not None:
            self._capabilities = known
