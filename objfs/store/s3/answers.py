"""HTTP answers of the hot calls as the dictionaries that botocore's parser gives. Pure.

Errors go through botocore's own parser: they are rare, and their many forms are its business.
"""

import re
from datetime import UTC, datetime
from typing import Any, Final
from xml.etree import ElementTree as ET

from botocore import exceptions as boto
from botocore.awsrequest import HeadersDict
from botocore.compat import unquote_str
from botocore.parsers import create_parser
from botocore.utils import parse_timestamp

from objfs.errors import StoreError
from objfs.store.s3.connection import Head
from objfs.store.s3.tokens import parsable

NO_STORE: Final = "Check the endpoint URL, and whether the network wants a sign-in first."
"""The remedy for an answer that no S3 server gives."""
_META: Final = "x-amz-meta-"
_TEXTS: Final = {
    "etag": "ETag",
    "content-type": "ContentType",
    "content-range": "ContentRange",
    "x-amz-storage-class": "StorageClass",
    "x-amz-server-side-encryption": "ServerSideEncryption",
    "x-amz-server-side-encryption-customer-algorithm": "SSECustomerAlgorithm",
}
_HTTP_DATE: Final = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d\d) "
    r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) (\d{4}) (\d\d):(\d\d):(\d\d) GMT"
)
"""RFC 9110 section 5.6.7, the form that every server sends."""
_MONTHS: Final = "JanFebMarAprMayJunJulAugSepOctNovDec"


def when(text: Any) -> datetime:
    """A timestamp of an answer: HTTP's own, or ISO 8601 as in listings; else botocore's guess.

    botocore parses dates with dateutil, which costs more than all else in a page's parsing.
    """
    try:
        if found := _HTTP_DATE.fullmatch(text):
            day, month, *rest = found.groups()
            year, hour, minute, second = map(int, rest)
            number = _MONTHS.index(month) // 3 + 1
            return datetime(year, number, int(day), hour, minute, second, tzinfo=UTC)
        parsed = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return parse_timestamp(text)
    return parsed if parsed.tzinfo else parse_timestamp(text)


def success(head: Head) -> dict[str, Any]:
    """What the headers say."""
    answer: dict[str, Any] = {"ResponseMetadata": _metadata(head)}
    meta: dict[str, str] = {}
    for name, value in head.headers.items():
        if name in _TEXTS:
            answer[_TEXTS[name]] = value
        elif name.startswith(_META):
            meta[name.removeprefix(_META)] = value
    answer["Metadata"] = meta
    if "last-modified" in head.headers:
        answer["LastModified"] = when(head.headers["last-modified"])
    length = head.headers.get("content-length", "")
    if length.isdecimal():
        answer["ContentLength"] = int(length)
    return answer


def error(head: Head, body: bytes) -> dict[str, Any]:
    """What a `ClientError` holds."""
    raw = {"status_code": head.status, "headers": HeadersDict(head.headers), "body": body}
    parser: Any = create_parser("rest-xml")
    parsed: dict[str, Any] = parser.parse(raw, None)
    parsed.setdefault("ResponseMetadata", {})["RetryAttempts"] = 0
    return parsed


def listing(body: bytes) -> dict[str, Any]:
    """The body of a ListObjectsV2.

    Raises `ResponseStreamingError` for one that is cut or says an error, which S3 may do after a
    200, and `StoreError` for one that makes no sense.
    """
    try:
        root = ET.fromstring(parsable(body))  # noqa: S314  # expat 2.4.1 and later limits entities
    except ET.ParseError as reason:
        raise boto.ResponseStreamingError(error=reason) from reason
    if root.tag.rpartition("}")[2] == "Error":
        raise boto.ResponseStreamingError(error="an error in an answer that began well")
    try:
        return _listing(root)
    except (TypeError, ValueError) as reason:
        raise StoreError(f"LIST: the answer makes no sense: {reason}", remedy=NO_STORE) from reason


def _listing(root: ET.Element) -> dict[str, Any]:
    """Raises `TypeError` and `ValueError` for missing and for senseless fields."""
    space = root.tag[: root.tag.rfind("}") + 1]
    answer: dict[str, Any] = {
        name: root.findtext(space + name)
        for name in ("Name", "IsTruncated", "NextContinuationToken")
        if root.find(space + name) is not None
    }
    if "IsTruncated" in answer:
        answer["IsTruncated"] = answer["IsTruncated"] == "true"
    plain = _unescaped if root.findtext(f"{space}EncodingType") == "url" else str
    key, etag, size = f"{space}Key", f"{space}ETag", f"{space}Size"
    modified, storage = f"{space}LastModified", f"{space}StorageClass"
    # five searches in C for one item are half of the work that a loop over its fields is
    answer["Contents"] = [
        {
            "Key": plain(_needed(item.findtext(key))),
            "Size": int(_needed(item.findtext(size))),
            "ETag": item.findtext(etag, ""),
            "LastModified": when(_needed(item.findtext(modified))),
            "StorageClass": item.findtext(storage, ""),
        }
        for item in root.iterfind(f"{space}Contents")
    ]
    answer["CommonPrefixes"] = [
        {"Prefix": plain(_needed(item.findtext(f"{space}Prefix")))}
        for item in root.iterfind(f"{space}CommonPrefixes")
    ]
    return answer


def _needed(text: str | None) -> str:
    if text is None:
        raise TypeError("a field is missing")
    return text


def _unescaped(text: str) -> str:
    text = text.replace("%2F", "/")  # in most keys, and often the only escape
    return str(unquote_str(text)) if "%" in text or "+" in text else text


def _metadata(head: Head) -> dict[str, Any]:
    return {
        "HTTPStatusCode": head.status,
        "HTTPHeaders": head.headers,
        "RequestId": head.headers.get("x-amz-request-id", ""),
        "RetryAttempts": 0,
    }
