r"""Our values to Azure's headers and XML, and back. Pure.

Azure restricts what others do not, so two things are escaped or refused here:

- The name of a metadata item is a C# identifier. Any other character stands as `_xHEX_`, and an
  underscore that would begin such a thing as `_x5f_`.
- `\` in a name becomes `/`, and a dot at the end of a path segment is lost
  (https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata),
  so that two keys would be one blob; a control character breaks every listing that meets it.
  Such keys are refused.
"""

import base64
import binascii
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import unquote

from objfs.errors import InvalidArgument, InvalidName, NoSuchUpload, StoreError
from objfs.store.base import etag_of
from objfs.store.bodies import checked_key, nanoseconds
from objfs.types import DELIMITER, ETag, Headers, ObjectInfo, Part

FOLDER: Final = "hdi_isfolder"
"""Metadata by which Hadoop, blobfuse, rclone and accounts with a hierarchical namespace mark an
empty blob as a directory."""
META: Final = "x-ms-meta-"
MANGLED: Final = r"\\|\.(/|$)|[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]"
MANGLED_WHY: Final = "Azure keeps no backslash, no control character, and no dot at a name's end"
_ODD: Final = re.compile(r"[^A-Za-z0-9_]|_(?=x[0-9a-f]+_)|^[0-9]")
_ESCAPE: Final = re.compile(r"_x([0-9a-f]+)_")
_MONTHS: Final = "JanFebMarAprMayJunJulAugSepOctNovDec"


def writable(operation: str, key: str, limit: int) -> str:
    """The key itself. Raises `InvalidName` for one that Azure would store under another name."""
    checked_key(operation, key, limit)
    if re.search(MANGLED, key):
        raise InvalidName(f"{operation} {key!r}: {MANGLED_WHY}", remedy="Choose another name.")
    return key


# --- headers -------------------------------------------------------------------------------------


def stored_headers(headers: Headers) -> dict[str, str]:
    """For the headers that are kept with a blob. Raises `InvalidArgument` for other than ASCII."""
    return {"x-ms-blob-content-type": headers.content_type, **metadata_headers(headers.metadata)}


def metadata_headers(metadata: Mapping[str, str]) -> dict[str, str]:
    """One header for each item."""
    for name, value in metadata.items():
        if not value.isascii() or not value.isprintable():
            raise InvalidArgument(f"the metadata {name} holds other than printable ASCII")
    return {META + escaped(name): value for name, value in metadata.items()}


def escaped(name: str) -> str:
    """A name that Azure takes."""
    return _ODD.sub(lambda match: f"_x{ord(match[0]):x}_", name)


def unescaped(name: str) -> str:
    """What `escaped` was given."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), name)


def metadata_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The items, without the mark of a directory."""
    found = {
        unescaped(name[len(META) :]): value
        for name, value in headers.items()
        if name.lower().startswith(META)
    }
    return {name: value for name, value in found.items() if name.lower() != FOLDER}


def is_folder(headers: Mapping[str, str]) -> bool:
    """Whether the blob stands for a directory."""
    return headers.get(META + FOLDER, "").lower() == "true"


def object_info(key: str, headers: Mapping[str, str], size: int, md5: str) -> ObjectInfo:
    """From the answer to a HEAD or GET; `md5` as Azure writes it, "" when it has none."""
    return ObjectInfo(
        key=key,
        size=size,
        etag=etag_of(headers.get("ETag", "")),
        mtime_ns=when(headers.get("Last-Modified", "")),
        content_type=headers.get("Content-Type", ""),
        metadata=metadata_of(headers),
        storage_class=headers.get("x-ms-access-tier", ""),
        md5=md5_hex(md5),
    )


def when(text: str) -> int:
    """Nanoseconds of an HTTP date. The usual form goes a short way: a page has thousands."""
    try:
        month = _MONTHS.index(text[8:11]) // 3 + 1
        clock = (int(text[17:19]), int(text[20:22]), int(text[23:25]))
        moment = datetime(int(text[12:16]), month, int(text[5:7]), *clock, tzinfo=UTC)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            raise StoreError(f"the store sent {text[:40]!r} for a date") from None
    return nanoseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def md5_hex(text: str) -> str:
    """Content-MD5 in hex; "" for none."""
    try:
        return base64.b64decode(text, validate=True).hex()
    except binascii.Error:
        return ""


# --- listings ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Listing:
    """One answer to List Blobs: entries in the store's order, and the marker of the next."""

    objects: list[ObjectInfo]
    prefixes: list[str]
    marker: str
    folders: list[str]
    """The keys of empty blobs that stand for a directory, without a slash at their end."""


def results(body: str) -> ET.Element:
    """An answer to a list. Raises `StoreError` for what is none: a proxy's page, with 200."""
    try:
        root = ET.fromstring(body)  # noqa: S314  # from the store, as trusted as the bytes it keeps
    except ET.ParseError as error:
        raise StoreError(f"LIST: the answer is no listing ({error})") from error
    if root.tag != "EnumerationResults":
        raise StoreError(
            "LIST: what answered is no Azure Blob server",
            remedy="Check the endpoint URL, and whether the network wants a sign-in first.",
        )
    return root


def listing(body: str) -> Listing:
    """A page of blobs. Raises `StoreError` as `results` does."""
    root = results(body)
    found = Listing([], [], root.findtext("NextMarker") or "", [])
    for item in root.find("Blobs") or ():
        name = _name(item.find("Name"))
        if item.tag == "BlobPrefix":
            found.prefixes.append(name)
        elif _stands_for_folder(name, item):
            found.folders.append(name)
        else:
            found.objects.append(_blob(name, item))
    return found


def _name(item: ET.Element | None) -> str:
    text = (item.text or "") if item is not None else ""
    return unquote(text) if item is not None and item.get("Encoded") == "true" else text


def _stands_for_folder(name: str, item: ET.Element) -> bool:
    if name.endswith(DELIMITER) or item.findtext("Properties/Content-Length") != "0":
        return False
    if item.findtext("Properties/ResourceType") == "directory":
        return True
    return any(
        child.tag.lower() == FOLDER and (child.text or "").lower() == "true"
        for child in item.iterfind("Metadata/*")
    )


def _blob(name: str, item: ET.Element) -> ObjectInfo:
    properties = item.find("Properties")
    facts = {
        child.tag: child.text or "" for child in (properties if properties is not None else ())
    }
    return ObjectInfo(
        key=name,
        size=int(facts.get("Content-Length", "0")),
        etag=etag_of(facts.get("Etag") or facts.get("ETag", "")),
        mtime_ns=when(facts.get("Last-Modified", "")),
        storage_class=facts.get("AccessTier", ""),
        md5=md5_hex(facts.get("Content-MD5", "")),
    )


# --- uploads -------------------------------------------------------------------------------------
# Azure has no upload, only blocks that wait under the blob's name until a list of them is
# committed. So an upload's id is ours, and holds what Azure will be told at the end.


@dataclass(frozen=True, slots=True)
class Upload:
    """What an upload's id says: which blocks are its own, and the headers of the blob to be."""

    mark: bytes
    headers: Headers

    def id(self) -> str:
        """Text that `read_upload` takes back."""
        told = [self.mark.hex(), self.headers.content_type, dict(self.headers.metadata)]
        return base64.urlsafe_b64encode(json.dumps(told, separators=(",", ":")).encode()).decode()

    def block(self, number: int, md5: bytes) -> str:
        """A block's id: all of one length, unlike any other upload's, and true to its bytes."""
        return base64.b64encode(self.mark + number.to_bytes(4, "big") + md5).decode()

    def parts(self, blocks: Iterable[tuple[str, int]]) -> list[Part]:
        """Our parts among a blob's blocks (id, size); sent twice with other bytes, both."""
        found: list[Part] = []
        for block, size in blocks:
            raw = base64.b64decode(block)
            if len(raw) == MARK + 20 and raw.startswith(self.mark):
                number = int.from_bytes(raw[MARK : MARK + 4], "big")
                found.append(Part(number, ETag(raw[MARK + 4 :].hex()), size))
        return sorted(found, key=lambda part: part.number)


MARK: Final = 16
"""Bytes of an upload's mark."""


def read_upload(key: str, text: str) -> Upload:
    """An upload's id. Raises `NoSuchUpload` for what is none of ours."""
    try:
        mark, content_type, metadata = json.loads(base64.urlsafe_b64decode(text))
        return Upload(bytes.fromhex(mark), Headers(content_type, metadata))
    except (ValueError, TypeError) as error:
        raise NoSuchUpload(f"{key}: {text[:40]!r} is no upload's id") from error


def block_list(blocks: Iterable[str]) -> bytes:
    """The body of Put Block List."""
    listed = "".join(f"<Uncommitted>{block}</Uncommitted>" for block in blocks)
    return f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'.encode()


def blocks(body: str, state: str) -> list[tuple[str, int]]:
    """Ids and sizes of a blob's blocks that are "CommittedBlocks" or "UncommittedBlocks"."""
    root = ET.fromstring(body)  # noqa: S314  # from the store, as above
    return [
        (item.findtext("Name") or "", int(item.findtext("Size") or 0))
        for item in root.iterfind(f"{state}/Block")
    ]
