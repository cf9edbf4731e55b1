"""What a store says of a multipart upload: which parts it has, and whether it knows it at all."""

from typing import Any

from objfs.errors import NoSuchBucket, NoSuchUpload, NotFound, ObjfsError, StoreError, Unavailable
from objfs.store.base import etag_of
from objfs.store.s3.errors import mapped
from objfs.types import Part


def listed(client: Any, bucket: str, key: str, upload: str, limit: int) -> list[Part]:
    """All parts, by number; `limit` in one request. Raises `NoSuchUpload`."""
    found: list[Part] = []
    marker = 0
    while True:
        answer = _page(client, bucket, key, upload, {"MaxParts": limit, "PartNumberMarker": marker})
        found += [
            Part(item["PartNumber"], etag_of(item["ETag"]), item["Size"])
            for item in answer.get("Parts", ())
        ]
        if not answer.get("IsTruncated"):
            return sorted(found, key=lambda part: part.number)
        before, marker = marker, int(answer.get("NextPartNumberMarker") or 0)
        if marker <= before:
            raise StoreError(f"PARTS {key}: a list of parts that does not go on")


def _page(client: Any, bucket: str, key: str, upload: str, page: dict[str, int]) -> dict[str, Any]:
    """Semantics: radosgw says NoSuchKey of an upload that is gone, where S3 says NoSuchUpload."""
    try:
        with mapped("PARTS", key):
            answer: dict[str, Any] = client.list_parts(
                Bucket=bucket, Key=key, UploadId=upload, **page
            )
    except NoSuchBucket:
        raise
    except NotFound as error:
        raise NoSuchUpload(f"PARTS {key}: the store does not know this upload any more") from error
    return answer


def gone(client: Any, bucket: str, key: str, upload: str, error: ObjfsError) -> NoSuchUpload | None:
    """For radosgw, which answers 500 ("already in progress") to finish an upload that is gone."""
    if type(error) is not Unavailable:
        return None
    try:
        _page(client, bucket, key, upload, {"MaxParts": 1})
    except NoSuchUpload:
        return NoSuchUpload(f"FINISH {key}: the store does not know this upload any more")
    except ObjfsError:  # the first error is the one to report
        return None
    return None
