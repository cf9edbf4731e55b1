"""Our values to Swift's headers and JSON, and back. Pure, but for reading a body to hash it.

A large object's etag is no MD5 of its bytes but of its segments' etags, and looks the same, so it
carries the mark `-slo` or `-dlo` here. The mark also tells, without a request, that an object which
is expected to be a certain version is a large one.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote, unquote

from objfs.errors import StoreError
from objfs.store import bodies
from objfs.store.base import Body, etag_of
from objfs.store.bodies import body_size, checked_key
from objfs.types import DIRECTORY_TYPE, FOLDER_TYPE, ETag, Headers, ObjectInfo

__all__ = [
    "bare",
    "body_size",
    "checked_key",
    "entries",
    "etag_from",
    "is_folder",
    "is_large",
    "joined_etag",
    "listed",
    "md5",
    "metadata_from",
    "mtime_from",
    "nanoseconds",
    "object_info",
    "range_size",
    "stored_headers",
    "text",
]
SLO: Final = "-slo"
DLO: Final = "-dlo"
EMPTY: Final = hashlib.md5(b"", usedforsecurity=False).hexdigest()
_META: Final = "x-object-meta-"


def is_large(etag: ETag) -> bool:
    """Whether the version is a large object."""
    return etag.endswith((SLO, DLO))


def bare(etag: ETag) -> str:
    """The etag as the store knows it."""
    return etag.removesuffix(SLO).removesuffix(DLO)


def etag_from(headers: Mapping[str, str]) -> ETag:
    """Of an object's own headers, with its mark."""
    etag = etag_of(headers.get("etag", ""))
    if headers.get("x-static-large-object", "").lower() == "true":
        return ETag(etag + SLO)
    return ETag(etag + DLO) if "x-object-manifest" in headers else etag


def object_info(key: str, headers: Mapping[str, str], size: int) -> ObjectInfo:
    """From the headers of a HEAD or GET."""
    content_type = headers.get("content-type", "")
    if key.endswith("/") and content_type == FOLDER_TYPE:
        content_type = DIRECTORY_TYPE
    return ObjectInfo(
        key=key,
        size=size,
        etag=etag_from(headers),
        mtime_ns=mtime_from(headers),
        content_type=content_type,
        metadata=metadata_from(headers),
    )


def mtime_from(headers: Mapping[str, str]) -> int:
    """Nanoseconds; X-Timestamp has fractions of a second, Last-Modified has none."""
    if stamp := headers.get("x-timestamp"):
        return int(Decimal(stamp) * 10**9)
    if date := headers.get("last-modified"):
        return int(parsedate_to_datetime(date).timestamp()) * 10**9
    return 0


def metadata_from(headers: Mapping[str, str]) -> dict[str, str]:
    """The user's own. radosgw shows its mark of an SLO among them."""
    return {
        name.removeprefix(_META): unquote(value) if "%" in value else text(value)
        for name, value in headers.items()
        if name.startswith(_META) and name != "x-object-meta-static-large-object"
    }


def text(value: str) -> str:
    """A header's value, which is UTF-8 that http.client has read as Latin-1."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def stored_headers(key: str, headers: Headers) -> dict[str, str | bytes]:
    """For a PUT or POST. Values that are not plain ASCII, or have a "%", are percent-encoded.

    A directory's marker gets the content type by which the swift command, Horizon and rclone
    know it.
    """
    marker = key.endswith("/") and headers.content_type == DIRECTORY_TYPE
    stored: dict[str, str | bytes] = {
        "Content-Type": FOLDER_TYPE if marker else headers.content_type
    }
    for name, value in headers.metadata.items():
        plain = value.isascii() and value.isprintable() and "%" not in value
        stored[f"X-Object-Meta-{name}"] = value if plain else quote(value, safe=" /:;,=+")
    return stored


def entries(body: bytes) -> list[dict[str, Any]]:
    """A container's listing. Raises `StoreError` for what is none, such as a proxy's own page."""
    try:
        found = json.loads(body) if body.strip() else []
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise StoreError(
            "LIST: what answered is no Swift server",
            remedy="Check the storage URL, and whether the network wants a sign-in first.",
        )
    return found


def listed(entry: Mapping[str, Any]) -> ObjectInfo:
    """One object of a listing, as far as it tells."""
    slo = entry.get("slo_etag")
    return ObjectInfo(
        key=entry["name"],
        size=entry["bytes"],
        etag=ETag(etag_of(slo) + SLO) if slo else etag_of(entry["hash"]),
        mtime_ns=nanoseconds(entry["last_modified"]),
        content_type=FOLDER_TYPE if is_folder(entry) else None,
    )


def nanoseconds(stamp: str) -> int:
    """Since the epoch, of a time in a listing, which is UTC; 0 for none."""
    if not stamp:
        return 0
    moment = datetime.fromisoformat(stamp.removesuffix("Z")).replace(tzinfo=UTC)
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * 10**9 + moment.microsecond * 1000


def is_folder(entry: Mapping[str, Any]) -> bool:
    """Whether a listed object is the marker of the directory that is named like it."""
    kind = str(entry.get("content_type") or "").partition(";")[0]
    return entry["bytes"] == 0 and kind == FOLDER_TYPE and not entry["name"].endswith("/")


def range_size(key: str, headers: Mapping[str, str], start: int, stop: int) -> int:
    """See `objfs.store.bodies.range_size`."""
    length = headers.get("content-length")
    return bodies.range_size(
        key, headers.get("content-range", ""), int(length) if length else None, start, stop
    )


def md5(body: Body) -> str:
    """In hex, as Swift's etags are."""
    return bodies.md5(body).hex()


def joined_etag(etags: Sequence[str]) -> str:
    """What Swift gives a large object of segments with these etags: the MD5 of them, in a row."""
    return hashlib.md5("".join(etags).encode(), usedforsecurity=False).hexdigest()
