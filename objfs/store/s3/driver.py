"""The S3 driver: `Driver` on one boto3 client, its hot calls by `lean`.

Two things are learned from answers, and only ever once: which product this is (`products`), and
that radosgw matches the If-Match of a PUT with the bare etag while RFC 9110 wants quotes.

Semantics: botocore repeats a request whose answer was lost, so a conditional write may find its
own first try. When a write was repeated and then refused, and the object's etag is the one that
our bytes have, the first try landed and the write is a success.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from objfs.config import StoreConfig
from objfs.errors import (
    NoSuchBucket,
    NoSuchUpload,
    NotFound,
    ObjfsError,
    PreconditionFailed,
    Unavailable,
    Unsupported,
)
from objfs.store.base import Body, Capabilities, Sink, etag_of, parts_etag
from objfs.store.s3 import copying, uploads, wire
from objfs.store.s3.client import Connected, connect
from objfs.store.s3.errors import answered, mapped, was_repeated
from objfs.store.s3.lean import Lean
from objfs.store.s3.products import UNKNOWN, recognise
from objfs.store.s3.tokens import as_given
from objfs.types import ANYTHING, ETag, Expect, Headers, ObjectInfo, Page, Part


class S3Store:
    """One bucket. Made without a request; `max_put` is lowered by tests only.

    Raises `UsageError` and `BadCredentials` as `objfs.store.s3.client.connect` does.
    """

    def __init__(
        self,
        config: StoreConfig,
        *,
        max_put: int = UNKNOWN.max_put,
        connected: Connected | None = None,
    ) -> None:
        assert config.bucket, "without one S3Account is meant"
        self._bucket = config.bucket
        self._prefix = config.prefix
        self._shared = connected is not None
        self._connected = connected or connect(config)
        self._client = self._connected.client
        self._lock = threading.Lock()
        self._capabilities = replace(UNKNOWN, max_put=max_put)
        self._recognised = False
        self._bare_if_match = False
        self._client.meta.events.register("after-call.s3", self._recognise)
        self._lean = Lean(self._connected, config.bucket, self._learn_product)

    @property
    def capabilities(self) -> Capabilities:
        """Exact after the first answer (`check`); conservative before."""
        return self._capabilities

    def check(self) -> None:
        """List one key: a HEAD of the bucket has no body, so it would hide why it was refused."""
        with mapped("LIST", f"s3://{self._bucket}/{self._prefix}"):
            answer = self._client.list_objects_v2(
                Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1
            )
        wire.page(answer, "")

    # --- reading -------------------------------------------------------------------------------

    def list_page(
        self,
        prefix: str,
        *,
        delimiter: str = "",
        after: str = "",
        token: str = "",
        limit: int = 1000,
    ) -> Page:
        """See `Driver.list_page`; a page may be empty and still have a token."""
        request: dict[str, Any] = {"Prefix": prefix, "MaxKeys": limit}
        if delimiter:
            request["Delimiter"] = delimiter
        if token:
            request["ContinuationToken"] = as_given(token)
        elif after:
            request["StartAfter"] = wire.start_after(prefix, delimiter, after)
        with mapped("LIST", prefix or "/"):
            answer = self._lean.call("list_objects_v2", **request)
        return wire.page(answer, after)

    def head(self, key: str) -> ObjectInfo:
        """See `Driver.head`."""
        wire.checked_key("HEAD", key)
        with mapped("HEAD", key):
            answer = self._lean.call("head_object", Key=key)
        return wire.object_info(key, answer, answer.get("ContentLength"))

    def get(
        self, key: str, sink: Sink, *, start: int, stop: int, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """See `Driver.get`."""
        wire.checked_key("GET", key)
        request: dict[str, Any] = {"Range": f"bytes={start}-{stop - 1}"}
        if expect.etag:
            request["IfMatch"] = wire.quoted(expect.etag)
        with mapped("GET", key):
            answer = self._lean.call("get_object", Key=key, **request)
            body = answer["Body"]
            # an early end leaves the rest of the body on the connection, which close() drops
            try:
                size = wire.range_size(key, answer, start, stop)
                info = wire.object_info(key, answer, size)
                if wire.encrypted(answer) and self._capabilities.etag_is_md5:
                    self._learn(etag_is_md5=False)
                if expect.etag and info.etag != expect.etag:  # a server that ignores If-Match
                    raise PreconditionFailed(f"GET {key}: the store holds another version")
                wire.feed(body, sink)
            finally:
                body.close()
        return info

    # --- writing -------------------------------------------------------------------------------

    def put(
        self, key: str, body: Body, headers: Headers, *, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """See `Driver.put`; the checksum is Content-MD5."""
        wire.checked_key("PUT", key, self._capabilities.max_key)
        caps = self._capabilities
        wire.supports("PUT", key, expect, absent=caps.put_if_absent, match=caps.put_if_match)
        body = wire.in_memory(body)
        digest = wire.md5(body)
        request = wire.stored_headers(headers) | {"ContentMD5": wire.base64_of(digest)}
        etag = self._put(key, body, request, expect, ETag(digest.hex()))
        if etag != digest.hex() and self._capabilities.etag_is_md5:
            self._learn(etag_is_md5=False)  # encryption with KMS keys
        return _written(key, wire.body_size(body), etag, headers)

    def _put(
        self, key: str, body: Body, request: dict[str, Any], expect: Expect, md5: ETag
    ) -> ETag:
        """The etag of what was stored; asks a second time when the server may want a bare etag."""
        bare = self._bare_if_match
        try:
            return self._put_once(key, body, request, wire.condition(expect, bare=bare))
        except Unsupported:
            if expect != ANYTHING:
                self._learn(**{"put_if_absent" if expect.absent else "put_if_match": False})
            raise
        except NoSuchBucket:
            raise
        except NotFound as error:
            if not expect.etag:
                raise
            raise PreconditionFailed(f"PUT {key}: the expected version is gone") from error
        except PreconditionFailed as error:
            found = self._etag_now(key)
            if found == md5 and was_repeated(error):
                return found
            if bare or not expect.etag or found != expect.etag:
                raise
        etag = self._put_once(key, body, request, wire.condition(expect, bare=True))
        self._bare_if_match = True
        return etag

    def _put_once(
        self, key: str, body: Body, request: dict[str, Any], condition: dict[str, str]
    ) -> ETag:
        with mapped("PUT", key), wire.opened(body) as stream:
            answer = self._lean.call("put_object", Key=key, Body=stream, **request, **condition)
        return etag_of(answer.get("ETag", "")) or self.head(key).etag

    def copy(
        self,
        source: str,
        target: str,
        *,
        size: int,
        expect: Expect = ANYTHING,
        target_expect: Expect = ANYTHING,
        headers: Headers | None = None,
        source_bucket: str = "",
    ) -> ObjectInfo:
        """See `Driver.copy`. An etag expected of the target is `Unsupported`: S3 has no such."""
        wire.checked_key("COPY", source)
        wire.checked_key("COPY", target, self._capabilities.max_key)
        if not self._recognised and (expect != ANYTHING or target_expect != ANYTHING):
            self.check()
        caps = self._capabilities
        whole = size <= caps.max_put
        absent = caps.copy_if_absent if whole else caps.finish_if_absent
        wire.supports("COPY", source, expect, absent=False, match=caps.copy_if_match)
        wire.supports("COPY", target, target_expect, absent=absent, match=False)
        here = self._bucket
        job = copying.Copy(
            *(self._client, here, source, target, size, expect, headers, source_bucket or here)
        )
        return job.whole(target_expect) if whole else self._copy_parts(job, target_expect)

    def _copy_parts(self, job: copying.Copy, target_expect: Expect) -> ObjectInfo:
        found = job.look()
        upload = job.start(found)
        try:
            parts = job.parts(upload, found, self._capabilities)
            return self.finish_parts(job.target, upload, parts, expect=target_expect)
        except BaseException:
            with suppress(ObjfsError):  # the first error is the one to report
                self.abort_parts(job.target, upload)
            raise

    def delete(self, key: str) -> None:
        """See `Driver.delete`."""
        wire.checked_key("DELETE", key)
        try:
            with mapped("DELETE", key):
                self._lean.call("delete_object", Key=key)
        except NoSuchBucket:
            raise
        except NotFound:
            return

    def delete_many(self, keys: Sequence[str]) -> Mapping[str, Exception]:
        """See `Driver.delete_many`; keys that XML cannot hold are removed one by one."""
        plain = [key for key in keys if key and not wire.NOT_XML.search(key)]
        odd = [key for key in keys if not key or wire.NOT_XML.search(key)]
        failed: dict[str, Exception] = {}
        if plain:
            try:
                failed |= self._delete_plain(plain)
            except Unsupported:  # Google's XML API has no such request
                odd += plain
        for key in odd:
            try:
                self.delete(key)
            except ObjfsError as error:
                failed[key] = error
        return failed

    def _delete_plain(self, keys: Sequence[str]) -> dict[str, Exception]:
        wanted = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        with mapped("DELETE", f"{keys[0]} and {len(keys) - 1} more"):
            answer = self._client.delete_objects(Bucket=self._bucket, Delete=wanted)
        failed: dict[str, Exception] = {}
        for item in answer.get("Errors", ()):
            error = answered("DELETE", item["Key"], {**answer, "Error": item})
            if not isinstance(error, NotFound):
                failed[item["Key"]] = error
        return failed

    # --- parts ---------------------------------------------------------------------------------

    def start_parts(self, key: str, headers: Headers) -> str:
        """See `Driver.start_parts`."""
        wire.checked_key("START", key, self._capabilities.max_key)
        with mapped("START", key):
            answer = self._client.create_multipart_upload(
                Bucket=self._bucket, Key=key, **wire.stored_headers(headers)
            )
        return str(answer["UploadId"])

    def put_part(self, key: str, upload: str, number: int, body: Body) -> Part:
        """See `Driver.put_part`."""
        wire.checked_key("PART", key)
        md5 = wire.base64_of(wire.md5(body))
        part = {"UploadId": upload, "PartNumber": number, "ContentMD5": md5}
        with mapped("PART", key), wire.opened(body) as stream:
            answer = self._client.upload_part(Bucket=self._bucket, Key=key, Body=stream, **part)
        return Part(number, etag_of(answer["ETag"]), wire.body_size(body))

    def copy_part(
        self,
        key: str,
        upload: str,
        number: int,
        source: str,
        *,
        start: int,
        stop: int,
        expect: Expect = ANYTHING,
    ) -> Part:
        """See `Driver.copy_part`."""
        wire.checked_key("COPY", source)
        if not self._recognised and expect != ANYTHING:
            self.check()
        caps = self._capabilities
        wire.supports("COPY", source, expect, absent=False, match=caps.copy_if_match)
        if not caps.part_copy:
            raise Unsupported(f"COPY {source}: this store makes no parts of objects")
        here = self._bucket
        job = copying.Copy(self._client, here, source, key, stop, expect, None, here)
        try:
            return job.part(upload, number, start, stop, expect.etag)
        except Unsupported:
            self._learn(part_copy=False)
            raise

    def list_parts(self, key: str, upload: str, *, limit: int = 1000) -> Sequence[Part]:
        """See `Driver.list_parts`."""
        wire.checked_key("PARTS", key)
        return uploads.listed(self._client, self._bucket, key, upload, limit)

    def finish_parts(
        self, key: str, upload: str, parts: Sequence[Part], *, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """See `Driver.finish_parts`."""
        wire.checked_key("FINISH", key)
        caps = self._capabilities
        wire.supports(
            "FINISH", key, expect, absent=caps.finish_if_absent, match=caps.finish_if_match
        )
        size = sum(part.size for part in parts)
        ours = parts_etag(parts)
        listed = [{"PartNumber": part.number, "ETag": wire.quoted(part.etag)} for part in parts]
        request = {"UploadId": upload, "MultipartUpload": {"Parts": listed}}
        try:
            with mapped("FINISH", key):
                answer = self._client.complete_multipart_upload(
                    Bucket=self._bucket, Key=key, **request, **wire.condition(expect)
                )
        except (PreconditionFailed, NoSuchUpload, Unavailable) as error:
            gone = uploads.gone(self._client, self._bucket, key, upload, error)
            if not (ours and (gone or was_repeated(error)) and self._etag_now(key) == ours):
                raise gone or error from error.__cause__
            return _written(key, size, ours)
        etag = etag_of(answer.get("ETag", "")) or self._finished_etag(key, size, parts)
        return _written(key, size, etag)

    def _finished_etag(self, key: str, size: int, parts: Sequence[Part]) -> ETag:
        """For radosgw, which answers with an empty ETag.

        Semantics: what a HEAD finds is believed only if it can be ours. An etag of somebody's
        later object would make the mount take their bytes for ours.
        """
        found = self.head(key)
        if found.size == size and found.etag.endswith(f"-{len(parts)}"):
            return found.etag
        return parts_etag(parts) or found.etag

    def abort_parts(self, key: str, upload: str) -> None:
        """See `Driver.abort_parts`."""
        wire.checked_key("ABORT", key)
        try:
            with mapped("ABORT", key):
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload)
        except NoSuchBucket:
            raise
        except (NoSuchUpload, NotFound):
            return

    def usage(self) -> None:
        """S3 keeps no totals that a user may ask for."""

    def close(self) -> None:
        """Close the pooled connections, unless they are an account's."""
        if not self._shared:
            self._connected.close()

    # --- learning ------------------------------------------------------------------------------

    def _recognise(self, http_response: Any, **_: Any) -> None:
        """Called by botocore behind each answer, an error's too."""
        self._learn_product(http_response.headers)

    def _learn_product(self, headers: Mapping[str, str]) -> None:
        if self._recognised:
            return
        known = recognise(headers)
        if known is not None:
            if self._bucket.endswith("--x-s3"):  # AWS directory buckets
                known = replace(known, ordered=False, etag_is_md5=False)
            with self._lock:
                self._capabilities = replace(known, max_put=self._capabilities.max_put)
                self._recognised = True

    def _learn(self, **facts: Any) -> None:
        with self._lock:
            self._capabilities = replace(self._capabilities, **facts)

    def _etag_now(self, key: str) -> ETag:
        try:
            return self.head(key).etag
        except NotFound:
            return ETag("")


def _written(key: str, size: int, etag: ETag, headers: Headers | None = None) -> ObjectInfo:
    content_type = headers.content_type if headers else None
    metadata = dict(headers.metadata) if headers else None
    return ObjectInfo(key, size, etag, time.time_ns(), content_type, metadata)
