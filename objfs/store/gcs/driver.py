"""The Google driver: `Driver` on the JSON API, with uploads in parts by the XML API.

Semantics:

- The ETag of ours is the object's generation, which conditions are about and which never repeats.
- Every put carries CRC32C in its resource, and Google refuses other bytes; a read of the whole is
  compared with x-goog-hash, of a part nothing is known.
- Above a megabyte a put is a resumable session: where the connection breaks it goes on, not again.
- Parts. The JSON API has none. Objects under temporary names, joined by compose, would take
  conditions, but everybody would see them, and a crash would leave them there for good. So parts
  are the XML API's multipart uploads: invisible, listed, aborted. Those take no conditions
  (https://cloud.google.com/storage/docs/multipart-uploads), which `capabilities` says.
- A retried write may find its own first try: then the object has our CRC32C and size.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import quote

import google_crc32c

from objfs.config import StoreConfig
from objfs.errors import (
    Corrupt,
    NoSuchBucket,
    NoSuchUpload,
    NotFound,
    ObjfsError,
    PreconditionFailed,
    Unsupported,
)
from objfs.store.base import Body, Capabilities, FileRange, Sink, Usage, etag_of
from objfs.store.bodies import CHUNK, base64_of, body_size, checked_key, md5, range_size
from objfs.store.gcs import wire
from objfs.store.gcs.client import Service, connect, was_repeated
from objfs.store.gcs.errors import mapped
from objfs.store.gcs.sessions import Session
from objfs.types import ANYTHING, ETag, Expect, Headers, ObjectInfo, Page, Part

CAPABILITIES: Final = Capabilities(
    finish_if_absent=False,
    finish_if_match=False,
    part_copy=False,
    etag_is_md5=False,
    max_put=5 * 2**40,
    mangles=wire.MANGLED,
    mangles_why=wire.MANGLED_WHY,
)
# https://cloud.google.com/storage/quotas
ONE_REQUEST: Final = 2**20
"""Bytes up to which a put is one request, with the body in memory."""
DELETES_AT_ONCE: Final = 8


class GcsStore:
    """One bucket. Raises `UsageError` and `BadCredentials` as `connect` does."""

    def __init__(self, config: StoreConfig, *, service: Service | None = None) -> None:
        """`service` is an account's, which closes it."""
        assert config.bucket, "without one GcsAccount is meant"
        self._bucket = config.bucket
        self._prefix = config.prefix
        self._own = service is None
        self._service = connect(config) if service is None else service
        self._pool = ThreadPoolExecutor(DELETES_AT_ONCE, thread_name_prefix="gcs-delete")

    @property
    def capabilities(self) -> Capabilities:
        """What Google honours."""
        return CAPABILITIES

    def check(self) -> None:
        """List one object."""
        self.list_page(self._prefix, limit=1)

    def _path(self, key: str = "") -> str:
        """The JSON API's address of an object, or of the bucket's objects."""
        base = self._service.url(f"/storage/v1/b/{self._bucket}/o")
        return f"{base}/{quote(key, safe='')}" if key else base

    def _xml(self, key: str) -> str:
        return self._service.url(f"/{self._bucket}/{quote(key, safe='/~')}")

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
        params = {
            "prefix": prefix,
            "delimiter": delimiter,
            "startOffset": "" if token else after,
            "pageToken": token,
            "maxResults": str(limit),
            "fields": wire.LISTED,
        }
        answer = self._service.send(
            "LIST",
            prefix or self._bucket,
            "GET",
            self._path(),
            params={name: value for name, value in params.items() if value},
        )
        return wire.page(_json(answer), after)

    def head(self, key: str) -> ObjectInfo:
        """See `Driver.head`."""
        checked_key("HEAD", key)
        answer = self._service.send(
            "HEAD", key, "GET", self._path(key), params={"fields": wire.FACTS}
        )
        return wire.object_info(_json(answer))

    def get(
        self, key: str, sink: Sink, *, start: int, stop: int, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """See `Driver.get`. Raises `Corrupt` when a whole object is not what its CRC32C says."""
        checked_key("GET", key)
        try:
            answer = self._service.send(
                "GET",
                key,
                "GET",
                self._path(key),
                params={"alt": "media", **wire.condition(expect)},
                headers={"Range": f"bytes={start}-{stop - 1}"},
                stream=True,
            )
        except PreconditionFailed:
            self.head(key)  # a condition on nothing fails as well
            raise
        told = answer.headers
        try:
            length = told.get("Content-Length")
            size = range_size(
                key, told.get("Content-Range", ""), int(length) if length else None, start, stop
            )
            generation = ETag(told.get("x-goog-generation", ""))
            if expect.etag and generation != expect.etag:
                raise PreconditionFailed(f"GET {key}: the store holds another version")
            total = google_crc32c.Checksum() if (start, stop) == (0, size) else None
            while True:
                with mapped("GET", key):
                    chunk = answer.raw.read(CHUNK, decode_content=False)
                if not chunk:
                    break
                if total is not None:
                    total.update(chunk)
                sink(memoryview(chunk))
        finally:
            answer.close()
        wanted = wire.hash_of(told, "crc32c")
        if total is not None and wanted and base64_of(total.digest()) != wanted:
            raise Corrupt(f"GET {key}: the bytes that came are not those of its CRC32C")
        md5_sum = wire.md5_hex(wire.hash_of(told, "md5"))
        changed = wire.http_date(told.get("Last-Modified", ""))
        return ObjectInfo(key, size, generation, changed, told.get("Content-Type", ""), md5=md5_sum)

    # --- writing -------------------------------------------------------------------------------

    def put(
        self, key: str, body: Body, headers: Headers, *, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """See `Driver.put`; the checksum is CRC32C."""
        wire.writable("PUT", key, CAPABILITIES.max_key)
        told = {**wire.resource(key, headers), "crc32c": wire.crc32c(body)}
        params = {"fields": wire.FACTS, **wire.condition(expect)}
        url = self._service.url(f"/upload/storage/v1/b/{self._bucket}/o")
        try:
            if isinstance(body, FileRange) and body.size > ONE_REQUEST:
                return wire.object_info(Session(self._service, key, url, params).put(body, told))
            content_type, content = wire.related(told, body)
            params["uploadType"] = "multipart"
            answer = self._service.send(
                "PUT",
                key,
                "POST",
                url,
                params=params,
                headers={"Content-Type": content_type},
                body=content,
            )
            return wire.object_info(_json(answer))
        except NoSuchBucket:
            raise
        except NotFound as error:
            if not expect.etag:
                raise
            raise PreconditionFailed(f"PUT {key}: the expected version is gone") from error
        except PreconditionFailed as error:
            found = self._landed(key, body, told["crc32c"]) if was_repeated(error) else None
            if found is None:
                raise
            return found

    def _landed(self, key: str, body: Body, crc32c: str) -> ObjectInfo | None:
        """The object, if it is what an earlier try of ours stored."""
        try:
            answer = self._service.send(
                "HEAD", key, "GET", self._path(key), params={"fields": f"{wire.FACTS},crc32c"}
            )
        except NotFound:
            return None
        item = _json(answer)
        ours = item.get("crc32c") == crc32c and int(item["size"]) == body_size(body)
        return wire.object_info(item) if ours else None

    def copy(
        self,
        source: str,
        target: str,
        *,
        size: int,  # noqa: ARG002  # the protocol's; a rewrite takes any
        expect: Expect = ANYTHING,
        target_expect: Expect = ANYTHING,
        headers: Headers | None = None,
        source_bucket: str = "",
    ) -> ObjectInfo:
        """See `Driver.copy`: rewrites, which go on by a token for as long as it takes."""
        checked_key("COPY", source)
        wire.writable("COPY", target, CAPABILITIES.max_key)
        here = self._service.url(f"/storage/v1/b/{source_bucket or self._bucket}/o")
        url = (
            f"{here}/{quote(source, safe='')}/rewriteTo/b/{self._bucket}/o/{quote(target, safe='')}"
        )
        params = {
            **wire.condition(expect, "ifSourceGenerationMatch"),
            **wire.condition(target_expect),
            "fields": f"done,rewriteToken,resource({wire.FACTS})",
        }
        told = {} if headers is None else wire.resource(target, headers)
        try:
            while True:
                answer = _json(
                    self._service.send(
                        "COPY",
                        f"{source} to {target}",
                        "POST",
                        url,
                        params=params,
                        headers={"Content-Type": "application/json"},
                        body=json.dumps(told).encode(),
                    )
                )
                if answer.get("done"):
                    return wire.object_info(answer["resource"])
                params["rewriteToken"] = answer["rewriteToken"]
        except PreconditionFailed:
            if not source_bucket:
                self.head(source)  # a condition on nothing fails as well
            raise

    def delete(self, key: str) -> None:
        """See `Driver.delete`."""
        checked_key("DELETE", key)
        try:
            self._service.send("DELETE", key, "DELETE", self._path(key))
        except NoSuchBucket:
            raise
        except NotFound:
            return

    def delete_many(self, keys: Sequence[str]) -> Mapping[str, Exception]:
        """See `Driver.delete_many`: one by one, several at once."""

        def remove(key: str) -> ObjfsError | None:
            try:
                self.delete(key)
            except ObjfsError as error:
                return error
            return None

        answers = zip(keys, self._pool.map(remove, keys), strict=True)
        return {key: error for key, error in answers if error is not None}

    # --- parts ---------------------------------------------------------------------------------

    def start_parts(self, key: str, headers: Headers) -> str:
        """See `Driver.start_parts`."""
        wire.writable("START", key, CAPABILITIES.max_key)
        answer = self._service.send(
            "START",
            key,
            "POST",
            self._xml(key),
            params={"uploads": ""},
            headers=wire.stored_headers(headers),
        )
        root = wire.parsed(answer.text, "InitiateMultipartUploadResult")
        return root.findtext("UploadId") or ""

    def put_part(self, key: str, upload: str, number: int, body: Body) -> Part:
        """See `Driver.put_part`; the checksum is Content-MD5."""
        checked_key("PART", key)
        size = body_size(body)
        digest = md5(body)
        answer = self._service.send(
            "PART",
            key,
            "PUT",
            self._xml(key),
            params={"partNumber": str(number), "uploadId": upload},
            headers={"Content-MD5": base64_of(digest), "Content-Length": str(size)},
            body=body.open if isinstance(body, FileRange) else body,
        )
        return Part(number, etag_of(answer.headers.get("ETag", "")), size)

    def copy_part(self, *_: object, **__: object) -> Part:
        """Not offered (`Capabilities.part_copy`)."""
        raise Unsupported("COPY: this store makes no parts of objects")

    def list_parts(self, key: str, upload: str, *, limit: int = 1000) -> Sequence[Part]:
        """See `Driver.list_parts`."""
        checked_key("PARTS", key)
        parts: list[Part] = []
        marker = "0"
        while True:
            params = {"uploadId": upload, "max-parts": str(limit), "part-number-marker": marker}
            answer = self._service.send("PARTS", key, "GET", self._xml(key), params=params)
            root = wire.parsed(answer.text, "ListPartsResult")
            parts += wire.parts_of(root)
            marker = root.findtext("NextPartNumberMarker") or ""
            if root.findtext("IsTruncated") != "true" or not marker:
                return parts

    def finish_parts(
        self, key: str, upload: str, parts: Sequence[Part], *, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """See `Driver.finish_parts`. Any condition is `Unsupported`, see above."""
        checked_key("FINISH", key)
        if expect != ANYTHING:
            raise Unsupported(f"FINISH {key}: this store does not check the condition")
        try:
            answer = self._service.send(
                "FINISH",
                key,
                "POST",
                self._xml(key),
                params={"uploadId": upload},
                headers={"Content-Type": "application/xml"},
                body=wire.part_list(parts),
            )
            wire.parsed(answer.text, "CompleteMultipartUploadResult")
            generation = answer.headers.get("x-goog-generation", "")
        except NoSuchUpload as error:
            if not was_repeated(error):
                raise
            generation = ""
        return self._finished(key, ETag(generation), sum(part.size for part in parts))

    def _finished(self, key: str, generation: ETag, size: int) -> ObjectInfo:
        """The object that an upload became.

        Semantics: where the answer names no generation, what a look finds is believed only if it
        has our size. Somebody's later object would make the mount take their bytes for ours.
        """
        found = self.head(key)
        if found.size != size or (generation and found.etag != generation):
            raise PreconditionFailed(f"FINISH {key}: somebody replaced it at the same moment")
        return found

    def abort_parts(self, key: str, upload: str) -> None:
        """See `Driver.abort_parts`."""
        checked_key("ABORT", key)
        try:
            self._service.send("ABORT", key, "DELETE", self._xml(key), params={"uploadId": upload})
        except NoSuchBucket:
            raise
        except (NoSuchUpload, NotFound):
            return

    def usage(self) -> Usage | None:
        """None: Google tells totals to its monitoring only."""
        return None

    def close(self) -> None:
        """Close the pooled connections."""
        self._pool.shutdown()
        if self._own:
            self._service.close()


def _json(answer: Any) -> dict[str, Any]:
    try:
        found: dict[str, Any] = answer.json()
    except ValueError:
        found = {}
    return found
