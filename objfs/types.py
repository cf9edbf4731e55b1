"""The values that cross layers: small, immutable, and imported by everybody.

They import nothing of ours. A key is a `str` relative to the mount's prefix, without a leading
slash of our own making; a name is the `bytes` the kernel shows for one path component. Only
`objfs.tree.keys` turns one into the other. Sizes and offsets are bytes; times are integer
nanoseconds since the epoch ("ns") or, where a clock runs a deadline, float seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NewType

Ino = NewType("Ino", int)
"""An inode number of this mount; the root is 1."""
Fh = NewType("Fh", int)
"""A file or directory handle that the kernel holds."""
ETag = NewType("ETag", str)
"""A version of an object, as the store names it, without quotes. Never empty for an object."""

ROOT: Final = Ino(1)
DELIMITER: Final = "/"
NAME_MAX: Final = 255
"""Bytes in one path component (Linux NAME_MAX); FUSE itself would let 1,024 through."""
DIRECTORY_TYPE: Final = "application/x-directory"
"""Content type of the marker that mkdir stores (the one that s3fs and the AWS console use)."""

FOLDER_TYPE: Final = "application/directory"
"""Content type by which an empty object `N` is the marker of the directory `N/` (Swift's tools)."""


class Kind(Enum):
    """What a path is."""

    FILE = "file"
    DIRECTORY = "directory"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store says of one object.

    Listings leave `metadata` at None, and `content_type` too unless it is `FOLDER_TYPE`.
    """

    key: str
    size: int
    etag: ETag
    mtime_ns: int
    content_type: str | None = None
    metadata: Mapping[str, str] | None = None
    storage_class: str = ""
    md5: str = ""
    """Of all bytes, in hex, where the store tells it beside the etag; "" where it does not."""

    @property
    def is_folder(self) -> bool:
        """Whether this is no file but the marker of the directory that is named like it."""
        return not self.size and self.content_type == FOLDER_TYPE


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing: objects and common prefixes (which end in the delimiter).

    `token` is the store's own bookmark for the next page, opaque; "" means that this was the last.
    """

    objects: tuple[ObjectInfo, ...]
    prefixes: tuple[str, ...]
    token: str = ""
    partial: bool = False
    """There may be more than all pages show: names that are not listed may exist all the same."""


@dataclass(frozen=True, slots=True)
class Expect:
    """The condition of a write (RFC 9110 section 13.1: If-Match, If-None-Match).

    `Expect()` is no condition, `Expect(absent=True)` wants no object under the key,
    `Expect(etag=e)` wants exactly that version.
    """

    etag: ETag | None = None
    absent: bool = False


ANYTHING: Final = Expect()
ABSENT: Final = Expect(absent=True)


@dataclass(frozen=True, slots=True)
class Headers:
    """What is stored beside the bytes of an object."""

    content_type: str = "application/octet-stream"
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """One uploaded part of a multipart upload; numbers start at 1."""

    number: int
    etag: ETag
    size: int


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart upload that was begun: the full key in the bucket, and the store's id.

    Part n holds the body's bytes from (n - 1) * `part_size` on; the last one may be shorter.
    """

    key: str
    id: str
    part_size: int


@dataclass(frozen=True, slots=True)
class Stat:
    """The attributes of one inode, as the kernel is told them; `ttl` is seconds of belief left."""

    ino: Ino
    kind: Kind
    size: int
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    ctime_ns: int
    atime_ns: int
    ttl: float
