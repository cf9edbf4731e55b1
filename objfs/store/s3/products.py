"""What each product honours, and how an answer gives the product away.

radosgw ignores conditions on CompleteMultipartUpload and CopyObject instead of refusing them, so
no error can teach it; these facts were found by trying (radosgw 16.2.15, SeaweedFS 4.48). A
product that is not known is believed to honour conditions on PutObject, as S3 says since 2024 and
as an error would tell, and nothing that it could ignore unseen.
"""

import re
from collections.abc import Mapping
from typing import Final

from objfs.store.base import Capabilities

UNKNOWN: Final = Capabilities(
    finish_if_absent=False, finish_if_match=False, copy_if_match=False, copy_if_absent=False
)
_NO_CONDITIONS: Final = Capabilities(
    put_if_absent=False,
    put_if_match=False,
    finish_if_absent=False,
    finish_if_match=False,
    copy_if_match=False,
    copy_if_absent=False,
    part_copy=False,
)
_SERVERS: Final[tuple[tuple[str, Capabilities], ...]] = (
    ("AmazonS3", Capabilities()),
    # lists in the order of folders (`a/b` before `a-b`); the etag of a copied part is not the MD5
    # of its bytes, so that it cannot be told whether they are the right ones
    ("SeaweedFS", Capabilities(ordered=False, part_copy=False)),
    ("rclone", _NO_CONDITIONS),
    ("UploadServer", _NO_CONDITIONS),  # Google's XML API has conditions on generations only
)
_RADOSGW_ID: Final = re.compile(r"tx[0-9a-f]{21}-[0-9a-f]{10}-[0-9a-f]+-.")
"""radosgw sends no Server header. Swift's ids begin alike but have no third group."""


def recognise(headers: Mapping[str, str]) -> Capabilities | None:
    """The capabilities of the product that sent these headers; None when they do not tell."""
    server = headers.get("server", "")
    for name, capabilities in _SERVERS:
        if server.startswith(name):
            return capabilities
    return UNKNOWN if _RADOSGW_ID.match(headers.get("x-amz-request-id", "")) else None
