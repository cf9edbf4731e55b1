"""S3: presigned URLs, public reading by bucket policy, tags of buckets, metadata of objects.

- URLs are signed with version 4. botocore would take version 2 for the older regions of AWS, where
  buckets made since 2020 refuse it
  (https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingAWSSDK.html).
- Public reading is one statement of ours in the bucket's policy; statements of others stay. A
  bucket's ACL would only make its listing public.
- An object's metadata are replaced by a copy onto itself, which resets what is not sent again: so
  all headers are. Its ACL is the bucket's default afterwards, as with an upload.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from botocore.exceptions import ClientError

from objfs.config import StoreConfig
from objfs.errors import BadCredentials, Forbidden, TooLarge, Unsupported, UsageError
from objfs.store.base import etag_of
from objfs.store.s3 import wire
from objfs.store.s3.client import connect
from objfs.store.s3.errors import mapped
from objfs.store.s3.products import UNKNOWN
from objfs.store.sharing import merged, not_offered

LONGEST: Final = 7 * 24 * 3600
"""Seconds that a presigned URL may be good (Signature Version 4, X-Amz-Expires)."""
STATEMENT: Final = "ObjfsPublish"
"""The Sid of our statement: letters and digits only."""
_KEPT: Final = (
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "Expires",
    "WebsiteRedirectLocation",
    "StorageClass",
    "ServerSideEncryption",
    "SSEKMSKeyId",
)
_LACKING: Final = frozenset({"NoSuchBucketPolicy", "NoSuchTagSet"})


class S3Sharing:
    """One bucket, or the account; made without a request, raises as `connect` does."""

    def __init__(self, config: StoreConfig) -> None:
        self._config = config
        self._bucket = config.bucket
        self._connected = connect(config)
        self._client = self._connected.client
        events = self._client.meta.events
        events.register_first("choose-signer.s3.GetObject", _version_4)

    def share(self, key: str, seconds: int) -> str:
        """A presigned GET, which ends earlier where the credentials do."""
        wire.checked_key("share", key)
        if seconds > LONGEST:
            raise UsageError(
                f"share {key}: S3 takes no URL that is good for more than {LONGEST // 86400} days",
                remedy="Give --expires 7d or less, or publish the bucket.",
            )
        if not self._config.sign_requests:
            raise BadCredentials(
                f"share {key}: without credentials nothing can be signed",
                remedy="Leave out --no-sign-request.",
            )
        with mapped("share", key):
            self._client.head_object(Bucket=self._bucket, Key=key)
            url: str = self._client.generate_presigned_url(
                "get_object", {"Bucket": self._bucket, "Key": key}, ExpiresIn=seconds
            )
        return url

    def publish(self, prefix: str) -> str:
        """One more resource in our statement of the bucket's policy."""
        resources = self._published() | {self._resource(prefix)}
        self._publish_all("publish", resources)
        with mapped("publish", self._config.url):
            url: str = self._client.generate_presigned_url(
                "get_object", {"Bucket": self._bucket, "Key": prefix or "-"}
            )
        return url.partition("?")[0].removesuffix("" if prefix else "-")

    def unpublish(self, prefix: str) -> None:
        """One less; with the last one goes the statement, with the last of these the policy."""
        before = self._published()
        if self._resource(prefix) in before:
            self._publish_all("unpublish", before - {self._resource(prefix)})

    def metadata(self) -> Mapping[str, str]:
        """The bucket's tags."""
        self._no_account("get")
        with self._offered("meta get", "tags of buckets"), mapped("meta get", self._config.url):
            try:
                answer = self._client.get_bucket_tagging(Bucket=self._bucket)
            except ClientError as error:
                if not _lacks(error):
                    raise
                return {}
        return {tag["Key"]: tag["Value"] for tag in answer.get("TagSet", ())}

    def set_metadata(self, changed: Mapping[str, str], removed: Collection[str]) -> None:
        """S3 replaces all tags at once: who changes them at the same time is overwritten."""
        tags = merged(self.metadata(), changed, removed)
        tag_set = [{"Key": name, "Value": value} for name, value in sorted(tags.items())]
        with self._offered("meta set", "tags of buckets"), mapped("meta set", self._config.url):
            if tag_set:
                self._client.put_bucket_tagging(Bucket=self._bucket, Tagging={"TagSet": tag_set})
            else:
                self._client.delete_bucket_tagging(Bucket=self._bucket)

    def set_object_metadata(
        self, key: str, changed: Mapping[str, str], removed: Collection[str]
    ) -> None:
        """By a copy onto itself, of objects that fit into one."""
        wire.checked_key("meta set", key)
        with mapped("meta set", key):
            found = self._client.head_object(Bucket=self._bucket, Key=key)
            if found["ContentLength"] > UNKNOWN.max_put:
                raise TooLarge(f"meta set {key}: S3 changes the metadata of up to 5 GiB in place")
            # header names, which S3 gives back in lower case
            lowered = {name.lower(): value for name, value in changed.items()}
            gone = {name.lower() for name in removed}
            kept = {name: found[name] for name in _KEPT if name in found}
            self._client.copy_object(
                Bucket=self._bucket,
                Key=key,
                CopySource={"Bucket": self._bucket, "Key": key},
                CopySourceIfMatch=wire.quoted(etag_of(found["ETag"])),
                Metadata=merged(found.get("Metadata", {}), lowered, gone),
                MetadataDirective="REPLACE",
                **kept,
            )

    def close(self) -> None:
        """Close the pooled connections."""
        self._connected.close()

    # --- inside --------------------------------------------------------------------------------

    def _resource(self, prefix: str) -> str:
        return f"arn:aws:s3:::{self._bucket}/{prefix}*"

    def _published(self) -> set[str]:
        ours = [one for one in self._policy()["Statement"] if one.get("Sid") == STATEMENT]
        return {name for one in ours for name in _listed(one.get("Resource"))}

    def _policy(self) -> dict[str, Any]:
        """The bucket's policy; an empty one where it has none."""
        self._no_account("publish")
        empty = {"Version": "2012-10-17", "Statement": []}
        with self._offered("publish", "bucket policies"), mapped("publish", self._config.url):
            try:
                answer = self._client.get_bucket_policy(Bucket=self._bucket)
            except ClientError as error:
                if not _lacks(error):
                    raise
                return empty
        policy: dict[str, Any] = json.loads(answer["Policy"] or "{}") or empty
        policy["Statement"] = _listed(policy.get("Statement"))
        return policy

    def _publish_all(self, operation: str, resources: set[str]) -> None:
        """Make these resources, and no others, public by our statement."""
        policy = self._policy()
        kept = [one for one in policy["Statement"] if one.get("Sid") != STATEMENT]
        ours = {
            "Sid": STATEMENT,
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": sorted(resources),
        }
        policy["Statement"] = [*kept, *([ours] if resources else [])]
        with self._offered(operation, "bucket policies"), mapped(operation, self._config.url):
            if policy["Statement"]:
                self._client.put_bucket_policy(Bucket=self._bucket, Policy=json.dumps(policy))
            else:
                self._client.delete_bucket_policy(Bucket=self._bucket)

    @contextmanager
    def _offered(self, operation: str, what: str) -> Iterator[None]:
        """Say what it is that a product lacks, or what stands against publishing."""
        try:
            yield
        except Unsupported as error:
            raise not_offered(operation, self._config, what) from error
        except Forbidden as error:
            if isinstance(error, BadCredentials) or operation != "publish":
                raise
            raise Forbidden(
                error.message,
                remedy="It takes the right to change the bucket's policy and, on AWS, a bucket"
                " without Block Public Access.",
            ) from error

    def _no_account(self, operation: str) -> None:
        if not self._bucket:
            raise Unsupported(
                f"{operation} {self._config.url}: an S3 account has no metadata and no policy",
                remedy="Name a bucket: s3://BUCKET.",
            )


def _version_4(signature_version: str, **_: Any) -> str | None:
    return "s3v4-query" if signature_version.endswith("-query") else None


def _lacks(error: ClientError) -> bool:
    return error.response.get("Error", {}).get("Code") in _LACKING


def _listed(value: Any) -> list[Any]:
    """JSON policies take one value for a list of one."""
    return value if isinstance(value, list) else [] if value is None else [value]
