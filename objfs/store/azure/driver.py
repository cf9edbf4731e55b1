"""The Azure driver: `Driver` on block blobs of one container.

Semantics:

- Parts are blocks. Azure keeps those that are not committed for a week, under the blob's name, and
  a commit drops whatever it does not list: of two uploads of one key at once the second to finish
  raises `NoSuchUpload`. Aborting sends nothing: the only ways to drop blocks early are to replace
  or to delete the blob. `start_parts` leaves a block of its own, so that an upload can be told from
  one that was finished or dropped.
- Azure checks Content-MD5 on every put and block, and keeps that of a put: a read of the whole is
  compared with it (`ObjectInfo.md5`). ETags are versions, not sums.
- A retried write may find its own first try; then the blob has our MD5, or consists of our blocks.
- List Blobs cannot begin behind a key, so `after` reads on and drops what comes before.
- An empty blob `d` with hdi_isfolder is the marker of the directory `d/`, and is shown and taken
  under that key. The markers that we write are blobs `d/` with the same mark, as rclone's are.
"""

import base64
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from objfs.config import StoreConfig
from objfs.errors import (
    NoSuchBucket,
    NoSuchUpload,
    NotFound,
    PreconditionFailed,
    Unsupported,
)
from objfs.store.azure import copying, wire
from objfs.store.azure.client import Service, connect, was_repeated
from objfs.store.azure.deleting import delete_many
from objfs.store.azure.errors import mapped
from objfs.store.azure.folders import Folders
from objfs.store.base import Body, Capabilities, Sink, Usage, etag_of
from objfs.store.bodies import body_size, checked_key, md5, opened, quoted, range_size
from objfs.types import ANYTHING, DELIMITER, ETag, Expect, Headers, ObjectInfo, Page, Part

CAPABILITIES: Final = Capabilities(
    etag_is_md5=False,
    ordered=False,  # by UTF-16 units, as .NET compares: an emoji comes before U+FFEE
    max_key=1024,  # Azure counts characters; a name of more bytes is still read
    part_copy=False,
    max_put=5000 * 2**20,
    min_part=1,
    max_parts=50_000,
    mangles=wire.MANGLED,
    mangles_why=wire.MANGLED_WHY,
)
# https://learn.microsoft.com/azure/storage/blobs/scalability-targets


class AzureStore:
    """One container. Made without a request.

    Raises `UsageError` and `BadCredentials` as `objfs.store.azure.client.connect` does.
    """

    def __init__(self, config: StoreConfig, *, service: Service | None = None) -> None:
        """`service` is an account's, which closes it."""
        assert config.bucket, "without one AzureAccount is meant"
        self._prefix = config.prefix
        self._own = service is None
        self._service = connect(config) if service is None else service
        self._lock = threading.Lock()
        self._aborted: set[str] = set()

    @property
    def capabilities(self) -> Capabilities:
        """What Azure honours."""
        return CAPABILITIES

    def check(self) -> None:
        """List one blob."""
        self._list(self._prefix, "", "", 1)

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
        folders = Folders(prefix, delimiter, token)
        low = after.encode()
        while True:
            found = self._list(prefix, delimiter, folders.marker, limit)
            page = folders.page(found)
            if not low:
                return page
            objects = tuple(info for info in page.objects if info.key.encode() > low)
            prefixes = tuple(name for name in page.prefixes if name.encode() > low)
            if objects or prefixes or not page.token:
                return Page(objects, prefixes, page.token)

    def _list(self, prefix: str, delimiter: str, marker: str, limit: int) -> wire.Listing:
        params = {
            "restype": "container",
            "comp": "list",
            "prefix": prefix,
            "delimiter": delimiter,
            "marker": marker,
            "maxresults": str(limit),
            "include": "metadata",
        }
        answer = self._service.send(
            "LIST", "", "GET", params={name: value for name, value in params.items() if value}
        )
        return wire.listing(answer.content.decode("utf-8-sig"))

    def head(self, key: str) -> ObjectInfo:
        """See `Driver.head`."""
        checked_key("HEAD", key)
        try:
            answer = self._service.send("HEAD", key, "HEAD")
        except NoSuchBucket:
            raise
        except NotFound:
            marker = self._marker(key)
            if not marker:
                raise
            return self._info(key, self._service.send("HEAD", marker, "HEAD").headers)
        if wire.is_folder(answer.headers) and not key.endswith(DELIMITER):
            raise NotFound(f"HEAD {key}: the blob stands for a directory")
        return self._info(key, answer.headers)

    def _info(self, key: str, headers: Mapping[str, str]) -> ObjectInfo:
        size = int(headers.get("Content-Length", "0"))
        return wire.object_info(key, headers, size, headers.get("Content-MD5", ""))

    def _marker(self, key: str) -> str:
        """The blob `d` that stands for the directory `d/`; "" when there is none."""
        name = key[:-1]
        if not key.endswith(DELIMITER) or not name or name.endswith(DELIMITER):
            return ""
        try:
            answer = self._service.send("HEAD", name, "HEAD")
        except NotFound:
            return ""
        return name if wire.is_folder(answer.headers) else ""

    def get(
        self, key: str, sink: Sink, *, start: int, stop: int, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """See `Driver.get`."""
        checked_key("GET", key)
        headers = {"x-ms-range": f"bytes={start}-{stop - 1}", **_condition(expect)}
        try:
            answer = self._service.send("GET", key, "GET", headers=headers, stream=True)
        except PreconditionFailed:
            self.head(key)  # Azurite finds a condition on nothing failed, where Azure says 404
            raise
        told = answer.headers
        try:
            length = told.get("Content-Length")
            size = range_size(
                key, told.get("Content-Range", ""), int(length) if length else None, start, stop
            )
            whole = told.get("x-ms-blob-content-md5", "")
            info = wire.object_info(key, told, size, whole)
            if expect.etag and info.etag != expect.etag:
                raise PreconditionFailed(f"GET {key}: the store holds another version")
            pieces = answer.iter_raw()
            while True:
                with mapped("GET", key):
                    piece = next(pieces, b"")
                if not piece:
                    return info
                sink(memoryview(piece))
        finally:
            answer.close()

    # --- writing -------------------------------------------------------------------------------

    def put(
        self, key: str, body: Body, headers: Headers, *, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """See `Driver.put`; the checksum is Content-MD5."""
        wire.writable("PUT", key, CAPABILITIES.max_key)
        digest = md5(body)
        sent = {
            "x-ms-blob-type": "BlockBlob",
            "Content-MD5": base64.b64encode(digest).decode(),
            **wire.stored_headers(headers),
            **_condition(expect),
        }
        if key.endswith(DELIMITER) and not body_size(body):
            sent[wire.META + wire.FOLDER] = "true"
        try:
            etag = self._write("PUT", key, body, sent, {})
        except PreconditionFailed as error:
            found = self._now(key) if was_repeated(error) else None
            if found is None or found.md5 != digest.hex():
                raise
            etag = found.etag
        return _written(key, body_size(body), etag, headers, digest.hex())

    def _write(
        self, operation: str, key: str, body: Body, headers: dict[str, str], params: dict[str, str]
    ) -> ETag:
        try:
            with opened(body) as stream:
                answer = self._service.send(
                    operation,
                    key,
                    "PUT",
                    params=params,
                    headers=headers,
                    body=stream if body_size(body) else b"",
                    size=body_size(body),
                )
        except NoSuchBucket:
            raise
        except NotFound as error:
            if "If-Match" not in headers:
                raise
            raise PreconditionFailed(f"{operation} {key}: the expected version is gone") from error
        return etag_of(answer.headers.get("ETag", ""))

    def _now(self, key: str) -> ObjectInfo | None:
        try:
            return self.head(key)
        except NotFound:
            return None

    def copy(
        self,
        source: str,
        target: str,
        *,
        size: int,
        expect: Expect = ANYTHING,
        target_expect: Expect = ANYTHING,
        headers: Headers | None = None,
        source_url: str = "",
    ) -> ObjectInfo:
        """See `Driver.copy`; `source_url` is of a blob in another container.

        Another content type comes in a second request, behind the bytes.
        """
        checked_key("COPY", source)
        wire.writable("COPY", target, CAPABILITIES.max_key)
        folder = target.endswith(DELIMITER) and not size
        job = copying.Copy(
            self._service, source_url or self._service.url(source), target, headers, folder=folder
        )
        try:
            return job.run(expect, target_expect)
        except NoSuchBucket:
            raise
        except NotFound:
            if source_url or not self._marker(source):
                raise
        return self.put(target, b"", headers or Headers(), expect=target_expect)

    def delete(self, key: str) -> None:
        """See `Driver.delete`."""
        checked_key("DELETE", key)
        try:
            self._service.send("DELETE", key, "DELETE")
        except NoSuchBucket:
            raise
        except NotFound:
            marker = self._marker(key)
            if marker:
                self._service.send("DELETE", marker, "DELETE")

    def delete_many(self, keys: Sequence[str]) -> Mapping[str, Exception]:
        """See `Driver.delete_many`."""
        return delete_many(self._service, keys, self.delete)

    # --- parts ---------------------------------------------------------------------------------

    def start_parts(self, key: str, headers: Headers) -> str:
        """See `Driver.start_parts`."""
        wire.writable("START", key, CAPABILITIES.max_key)
        wire.stored_headers(headers)  # refuses what could not be stored at the end
        upload = wire.Upload(secrets.token_bytes(wire.MARK), headers)
        self._put_block("START", key, upload, 0, b"\0")
        return upload.id()

    def put_part(self, key: str, upload: str, number: int, body: Body) -> Part:
        """See `Driver.put_part`."""
        return self._put_block("PART", key, self._open(key, upload), number, body)

    def _put_block(
        self, operation: str, key: str, upload: wire.Upload, number: int, body: Body
    ) -> Part:
        digest = md5(body)
        params = {"comp": "block", "blockid": upload.block(number, digest)}
        headers = {"Content-MD5": base64.b64encode(digest).decode()}
        self._write(operation, key, body, headers, params)
        return Part(number, ETag(digest.hex()), body_size(body))

    def copy_part(self, *_: object, **__: object) -> Part:
        """Not offered (`Capabilities.part_copy`)."""
        raise Unsupported("COPY: this store makes no parts of objects")

    def list_parts(self, key: str, upload: str, *, limit: int = 1000) -> Sequence[Part]:  # noqa: ARG002  # Azure tells all at once
        """See `Driver.list_parts`."""
        opened_upload = self._open(key, upload)
        parts = opened_upload.parts(self._blocks(key, "uncommitted"))
        if not parts or parts[0].number:
            raise NoSuchUpload(f"PARTS {key}: the store does not know these blocks any more")
        return parts[1:]

    def _blocks(self, key: str, state: str) -> list[tuple[str, int]]:
        try:
            answer = self._service.send(
                "PARTS", key, "GET", params={"comp": "blocklist", "blocklisttype": state}
            )
        except NoSuchBucket:
            raise
        except NotFound:
            return []
        text = answer.content.decode("utf-8-sig")
        return wire.blocks(text, f"{state.capitalize()}Blocks")

    def finish_parts(
        self, key: str, upload: str, parts: Sequence[Part], *, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """See `Driver.finish_parts`."""
        wanted = self._open(key, upload)
        ids = [wanted.block(part.number, bytes.fromhex(part.etag)) for part in parts]
        size = sum(part.size for part in parts)
        headers = {**wire.stored_headers(wanted.headers), **_condition(expect)}
        headers["Content-Type"] = "application/xml"
        try:
            etag = self._write("FINISH", key, wire.block_list(ids), headers, {"comp": "blocklist"})
        except (PreconditionFailed, NoSuchUpload) as error:
            committed = self._blocks(key, "committed") if was_repeated(error) else []
            if not ids or [block for block, _ in committed] != ids:
                raise
            etag = self.head(key).etag
        return _written(key, size, etag, wanted.headers)

    def abort_parts(self, key: str, upload: str) -> None:
        """See `Driver.abort_parts`: only remembered here, see above."""
        checked_key("ABORT", key)
        with self._lock:
            self._aborted.add(upload)

    def _open(self, key: str, upload: str) -> wire.Upload:
        checked_key("PART", key)
        with self._lock:
            if upload in self._aborted:
                raise NoSuchUpload(f"PART {key}: the upload was given up")
        return wire.read_upload(key, upload)

    def usage(self) -> Usage | None:
        """None: Azure tells totals to its monitoring only."""
        return None

    def close(self) -> None:
        """Close the pooled connections, unless they are the account's."""
        if self._own:
            self._service.close()


def _condition(expect: Expect) -> dict[str, str]:
    if expect.absent:
        return {"If-None-Match": "*"}
    return {"If-Match": quoted(expect.etag)} if expect.etag else {}


def _written(key: str, size: int, etag: ETag, headers: Headers, md5: str = "") -> ObjectInfo:
    metadata: Any = dict(headers.metadata)
    return ObjectInfo(key, size, etag, time.time_ns(), headers.content_type, metadata, md5=md5)
