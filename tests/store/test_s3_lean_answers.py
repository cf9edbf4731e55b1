"""Lean answers are boto3's: the same calls to the same real store, by both, compared."""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from objfs.config import StoreConfig
from objfs.store.s3 import S3Store
from objfs.store.s3.lean import Lean
from tests.servers import Server, new_bucket

DATA = b"0123456789" * 1000
KEYS = ["plain", "sp ace/+plus", "é/😀", "per%2Fcent", "a=b&c#d?e", "q'()*!~-_.", "tab\tx", '<&>"']
COMPARED = (
    *("ETag", "LastModified", "ContentLength", "ContentType", "ContentRange", "Metadata"),
    *("StorageClass", "Name", "IsTruncated", "Contents", "CommonPrefixes"),
)
"""What the driver reads of answers, beside the token of a listing."""


@pytest.fixture
def both(s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Lean, Any, str]]:
    """Our calls, boto3's client, and a bucket with some objects in it."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    bucket = new_bucket(s3_server)
    store = S3Store(StoreConfig("s3://b", "s3", bucket, endpoint_url=s3_server.endpoint))
    for key in KEYS:
        store._client.put_object(
            Bucket=bucket, Key=key, Body=DATA, Metadata={"mode": "1"}, ContentType="text/x"
        )
    yield store._lean, store._client, bucket
    store.close()


def told(call: Any, **request: Any) -> Any:
    """What a call answers, reduced to what is compared; of an error its status and code."""
    try:
        answer = call(**request)
    except ClientError as error:
        meta = error.response["ResponseMetadata"]
        return meta["HTTPStatusCode"], error.response["Error"]["Code"], meta["RetryAttempts"]
    told = {name: answer[name] for name in COMPARED if answer.get(name)}
    if "Metadata" in told:  # Go's servers write X-Amz-Meta-Mode
        told["Metadata"] = {name.lower(): value for name, value in told["Metadata"].items()}
    for item in (*told.get("Contents", ()), *told.get("CommonPrefixes", ())):
        for name in item.keys() - {"Key", "Size", "ETag", "LastModified", "StorageClass", "Prefix"}:
            del item[name]
    if "Body" in answer:
        told["Body"] = answer["Body"].read(10 * len(DATA))
        answer["Body"].close()
    return told


def test_the_same_answers(both: tuple[Lean, Any, str]):
    """Objects, ranges, listings, and what is refused."""
    lean, client, bucket = both
    zeros = f'"{"0" * 32}"'
    calls: list[tuple[str, dict[str, Any]]] = [
        *(("head_object", {"Key": key}) for key in (*KEYS, "absent")),
        *(("get_object", {"Key": key, "Range": "bytes=5-99"}) for key in (*KEYS, "absent")),
        ("get_object", {"Key": "plain", "Range": "bytes=0-0", "IfMatch": zeros}),
        ("get_object", {"Key": "plain", "Range": "bytes=99999-100000"}),
        ("put_object", {"Key": "plain", "Body": b"x", "IfNoneMatch": "*"}),
        ("put_object", {"Key": "plain", "Body": b"x", "ContentMD5": "AAAAAAAAAAAAAAAAAAAAAA=="}),
        ("put_object", {"Key": "new", "Body": b"", "Metadata": {"a-b": "c  d"}}),
        ("head_object", {"Key": "new"}),
        ("delete_object", {"Key": "new"}),
        ("delete_object", {"Key": "new"}),
        ("list_objects_v2", {"Prefix": ""}),
        ("list_objects_v2", {"Prefix": "", "Delimiter": "/", "MaxKeys": 3}),
        ("list_objects_v2", {"Prefix": "sp ace/+", "StartAfter": "a"}),
    ]
    for operation, request in calls:
        theirs = told(getattr(client, operation), Bucket=bucket, **request)
        ours = told(lambda op=operation, **more: lean.call(op, **more), **request)
        if isinstance(ours, dict) and operation not in {"head_object", "get_object"}:
            for name in ("ContentLength", "ContentType"):  # of the answer, not of an object
                ours.pop(name, None)
                theirs.pop(name, None)
        assert ours == theirs, (operation, request)


def test_a_missing_bucket(s3_server: Server, monkeypatch: pytest.MonkeyPatch):
    """Is the same error by both ways."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    config = StoreConfig("s3://b", "s3", "no-such-bucket-1", endpoint_url=s3_server.endpoint)
    store = S3Store(config)
    for operation, request in (("list_objects_v2", {}), ("head_object", {"Key": "k"})):
        theirs = told(getattr(store._client, operation), Bucket="no-such-bucket-1", **request)
        ours = told(lambda op=operation, **more: store._lean.call(op, **more), **request)
        assert ours == theirs
        assert theirs[0] == 404
    store.close()
