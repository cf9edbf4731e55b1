"""Copies inside the store: CopyObject, and UploadPartCopy for what is larger than it takes.

Both may answer 200 with an error in the body, sent after a long copy had begun; botocore turns
that into an error like any other (`_handle_200_error`), and an answer without an ETag is none.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from objfs.errors import PreconditionFailed, StoreError
from objfs.store.base import Capabilities, etag_of
from objfs.store.s3 import wire
from objfs.store.s3.errors import mapped
from objfs.types import ETag, Expect, Headers, ObjectInfo, Part

PART_SIZE: Final = 256 * 2**20
"""Bytes; a server copies this in a few seconds, well inside the read time-out."""
AT_ONCE: Final = 4
_KEPT: Final = (
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "Metadata",
)
"""What CopyObject carries over by itself, and a multipart upload has to be told."""


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy: from where, to where, of which version, with which headers."""

    client: Any
    bucket: str
    source: str
    target: str
    size: int
    expect: Expect
    headers: Headers | None
    source_bucket: str

    def whole(self, target: Expect) -> ObjectInfo:
        """By one CopyObject. Raises `NotFound` and `PreconditionFailed`."""
        request = self._source(self.expect.etag)
        if self.headers is not None:
            request |= wire.stored_headers(self.headers) | {"MetadataDirective": "REPLACE"}
        if target.absent:
            request["IfNoneMatch"] = "*"
        with mapped("COPY", f"{self.source} to {self.target}"):
            answer = self.client.copy_object(Bucket=self.bucket, Key=self.target, **request)
        result = answer.get("CopyObjectResult") or {}
        return ObjectInfo(
            key=self.target,
            size=self.size,
            etag=self._etag(result),
            mtime_ns=wire.nanoseconds(result["LastModified"]),
            content_type=self.headers.content_type if self.headers else None,
            metadata=dict(self.headers.metadata) if self.headers else None,
        )

    def look(self) -> dict[str, Any]:
        """The source as it is now. Raises `NotFound`, and `PreconditionFailed` when it changed."""
        with mapped("COPY", self.source):
            found: dict[str, Any] = self.client.head_object(
                Bucket=self.source_bucket, Key=self.source
            )
        if self.expect.etag and etag_of(found["ETag"]) != self.expect.etag:
            raise PreconditionFailed(f"COPY {self.source}: the store holds another version")
        return found

    def start(self, found: dict[str, Any]) -> str:
        """Begin the upload with the new headers, or with the source's."""
        headers: dict[str, Any] = {name: found[name] for name in _KEPT if name in found}
        if self.headers is not None:
            headers = wire.stored_headers(self.headers)
        with mapped("COPY", self.target):
            answer = self.client.create_multipart_upload(
                Bucket=self.bucket, Key=self.target, **headers
            )
        return str(answer["UploadId"])

    def parts(self, upload: str, found: dict[str, Any], caps: Capabilities) -> list[Part]:
        """Copy all parts, several at once.

        Semantics: radosgw ignores the condition on each part's source, so a look at the end makes
        sure that no two versions were mixed. Raises `PreconditionFailed`.
        """
        size = int(found["ContentLength"])
        etag = etag_of(found["ETag"])
        part_size = min(caps.max_put, max(PART_SIZE, math.ceil(size / caps.max_parts)))

        def part(number: int) -> Part:
            start = (number - 1) * part_size
            return self.part(upload, number, start, min(start + part_size, size), etag)

        numbers = range(1, math.ceil(size / part_size) + 1)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            done = [pool.submit(part, number) for number in numbers]
            try:
                parts = [future.result() for future in done]
            finally:
                pool.shutdown(cancel_futures=True)
        if not caps.copy_if_match and etag_of(self.look()["ETag"]) != etag:
            raise PreconditionFailed(f"COPY {self.source}: it changed during the copy")
        return parts

    def part(self, upload: str, number: int, start: int, stop: int, etag: ETag | None) -> Part:
        """Copy bytes [start, stop) of the source, of that version if one is given."""
        with mapped("COPY", f"{self.source} to {self.target}"):
            answer = self.client.upload_part_copy(
                Bucket=self.bucket,
                Key=self.target,
                UploadId=upload,
                PartNumber=number,
                CopySourceRange=f"bytes={start}-{stop - 1}",
                **self._source(etag),
            )
        return Part(number, self._etag(answer.get("CopyPartResult") or {}), stop - start)

    def _source(self, etag: ETag | None) -> dict[str, Any]:
        source = {"Bucket": self.source_bucket, "Key": self.source}
        request: dict[str, Any] = {"CopySource": source}
        return request | ({"CopySourceIfMatch": f'"{etag}"'} if etag else {})

    def _etag(self, result: dict[str, Any]) -> ETag:
        etag = etag_of(result.get("ETag", ""))
        if not etag:
            raise StoreError(f"COPY {self.source} to {self.target}: an answer without an etag")
        return etag
