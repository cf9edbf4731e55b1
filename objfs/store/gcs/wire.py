"""Our values to Google's JSON, XML and headers, and back; only bodies are read from files."""

import base64
import binascii
import json
import re
import secrets
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import google_crc32c

from objfs.errors import InvalidArgument, InvalidName, StoreError
from objfs.store.base import Body, etag_of
from objfs.store.bodies import CHUNK, checked_key, nanoseconds, opened
from objfs.types import ETag, Expect, Headers, ObjectInfo, Page, Part

MANGLED: Final = r"[\r\n]|^\.{1,2}$"
"""https://cloud.google.com/storage/docs/objects#naming"""
MANGLED_WHY: Final = "Google takes no line break in a name, and not the names . and .."
FACTS: Final = "name,size,generation,updated,contentType,metadata,storageClass,md5Hash"
LISTED: Final = (
    "kind,prefixes,nextPageToken,items(name,size,generation,updated,storageClass,md5Hash)"
)
NEVER: Final = "-1"
"""A generation that no object has."""


def writable(operation: str, key: str, limit: int) -> str:
    """The key itself. Raises `InvalidName` for one that Google does not take."""
    checked_key(operation, key, limit)
    if re.search(MANGLED, key):
        raise InvalidName(f"{operation} {key!r}: {MANGLED_WHY}", remedy="Choose another name.")
    return key


def condition(expect: Expect, name: str = "ifGenerationMatch") -> dict[str, str]:
    """The parameter for a condition. An ETag that is no generation is no object's."""
    if expect.absent:
        return {name: "0"}
    if expect.etag:
        return {name: expect.etag if expect.etag.isdecimal() else NEVER}
    return {}


def object_info(item: Mapping[str, Any], *, listed: bool = False) -> ObjectInfo:
    """From an object's resource."""
    return ObjectInfo(
        key=item["name"],
        size=int(item["size"]),
        etag=ETag(str(item["generation"])),
        mtime_ns=when(item["updated"]),
        content_type=None if listed else item.get("contentType", ""),
        metadata=None if listed else dict(item.get("metadata", {})),
        storage_class=item.get("storageClass", ""),
        md5=md5_hex(item.get("md5Hash", "")),
    )


def when(text: str) -> int:
    """Nanoseconds of an RFC 3339 time."""
    return nanoseconds(datetime.fromisoformat(text))


def http_date(text: str) -> int:
    """Nanoseconds of an HTTP date; 0 for none."""
    return nanoseconds(parsedate_to_datetime(text)) if text else 0


def md5_hex(text: str) -> str:
    """A base64 MD5 in hex; "" for none."""
    try:
        return base64.b64decode(text, validate=True).hex()
    except binascii.Error:
        return ""


def page(answer: Mapping[str, Any], after: str) -> Page:
    """From the answer to a listing; what is not behind `after` is dropped.

    Raises `StoreError` for an answer that is no listing: a router's own page, with status 200.
    """
    if answer.get("kind") != "storage#objects":
        raise StoreError(
            "LIST: what answered is no Google Cloud Storage",
            remedy="Check the endpoint URL, and whether the network wants a sign-in first.",
        )
    low = after.encode()
    return Page(
        tuple(
            object_info(item, listed=True)
            for item in answer.get("items", ())
            if not low or item["name"].encode() > low
        ),
        tuple(name for name in answer.get("prefixes", ()) if not low or name.encode() > low),
        answer.get("nextPageToken", ""),
    )


def resource(key: str, headers: Headers) -> dict[str, Any]:
    """What is stored beside the bytes."""
    return {
        "name": key,
        "contentType": headers.content_type,
        "metadata": dict(headers.metadata),
    }


def related(told: Mapping[str, Any], body: Body) -> tuple[str, bytes]:
    """A resource and its bytes in one body (RFC 2387), and its content type."""
    with opened(body) as stream:
        content = stream if isinstance(stream, bytes) else stream.read()
    mark = secrets.token_hex(16)
    pieces = (
        f"--{mark}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n".encode(),
        json.dumps(told).encode(),
        f"\r\n--{mark}\r\nContent-Type: {told['contentType']}\r\n\r\n".encode(),
        content,
        f"\r\n--{mark}--\r\n".encode(),
    )
    return f"multipart/related; boundary={mark}", b"".join(pieces)


def crc32c(body: Body) -> str:
    """As Google writes it: base64 of the big-endian sum."""
    total = google_crc32c.Checksum()
    if isinstance(body, bytes):
        total.update(body)
    else:
        with opened(body) as stream:
            assert not isinstance(stream, bytes)
            while chunk := stream.read(CHUNK):
                total.update(chunk)
    return base64.b64encode(total.digest()).decode()


def hash_of(headers: Mapping[str, str], name: str) -> str:
    """One of the sums in x-goog-hash: `crc32c=…,md5=…`; "" when it is not there."""
    for word in headers.get("x-goog-hash", "").split(","):
        kind, _, value = word.strip().partition("=")
        if kind == name:
            return value
    return ""


# --- uploads in parts: the XML API ----------------------------------------------------------------


def stored_headers(headers: Headers) -> dict[str, str]:
    """The headers that start an upload in parts. Raises `InvalidArgument` for other than ASCII."""
    for name, value in headers.metadata.items():
        if not f"{name}{value}".isascii() or not value.isprintable():
            raise InvalidArgument(f"the metadata {name} holds other than printable ASCII")
    items = {f"x-goog-meta-{name}": value for name, value in headers.metadata.items()}
    return {"Content-Type": headers.content_type, **items}


def parsed(text: str, tag: str) -> ET.Element:
    """An answer without its namespaces. Raises `StoreError` for another than was expected."""
    try:
        root = ET.fromstring(re.sub(r' xmlns="[^"]*"', "", text))  # noqa: S314  # from the store
    except ET.ParseError as error:
        raise StoreError(f"the answer is no {tag} ({error})") from error
    if root.tag != tag:
        raise StoreError(f"the answer is a {root.tag}, no {tag}")
    return root


def part_list(parts: Sequence[Part]) -> bytes:
    """The body that finishes an upload."""
    listed = "".join(
        f'<Part><PartNumber>{part.number}</PartNumber><ETag>"{part.etag}"</ETag></Part>'
        for part in parts
    )
    return f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()


def parts_of(root: ET.Element) -> list[Part]:
    """From the answer to a listing of parts."""
    return [
        Part(
            int(item.findtext("PartNumber") or 0),
            etag_of(item.findtext("ETag") or ""),
            int(item.findtext("Size") or 0),
        )
        for item in root.iterfind("Part")
    ]
