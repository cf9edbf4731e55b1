"""What S3's API tells beside what a mount needs (`objfs.store.insight`)."""

from contextlib import AbstractContextManager, nullcontext

from objfs.config import StoreConfig
from objfs.errors import Corrupt
from objfs.store.s3 import wire
from objfs.store.s3.client import connect
from objfs.store.s3.errors import mapped


class S3Insight:
    """One bucket, or the account when there is none. Raises as `connect` does."""

    def __init__(self, config: StoreConfig) -> None:
        self._bucket = config.bucket
        self._connected = connect(config)

    def who(self) -> str:
        """The access key's id, which is no secret: it stands in every signed URL."""
        credentials = self._connected.credentials
        if credentials is None:
            return "nobody (requests are not signed)"
        with mapped("log in", self._bucket):
            return f"access key {credentials.get_frozen_credentials().access_key}"

    def where(self) -> str:
        """The endpoint."""
        return str(self._connected.client.meta.endpoint_url)

    def put_corrupt(self, key: str) -> bool:
        """With the Content-MD5 of other bytes; BadDigest is the refusal."""
        digest = wire.base64_of(wire.md5(b"other bytes"))
        try:
            with mapped("PUT", key):
                self._connected.client.put_object(
                    Bucket=self._bucket, Key=key, Body=b"these bytes", ContentMD5=digest
                )
        except Corrupt:
            return True
        return False

    def versions(self) -> str:
        """GetBucketVersioning: its status, "off" where it was never switched on."""
        with mapped("versioning", self._bucket):
            answer = self._connected.client.get_bucket_versioning(Bucket=self._bucket)
        return {"Enabled": "on", "Suspended": "suspended"}.get(answer.get("Status", ""), "off")

    def around(self) -> AbstractContextManager[None]:
        """All is in the bucket."""
        return nullcontext()

    def close(self) -> None:
        """Close the connections."""
        self._connected.close()
