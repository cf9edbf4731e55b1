"""What each product honours, as its `/info` gives it away.

OpenStack Swift (2.38.3 tried): If-None-Match on a PUT is checked, but not in one step with the
write (of 16 at once 1 to 6 won): asked for all the same, since a HEAD before the PUT leaves a wider
window. If-Match on a PUT is ignored; on a GET and on the source of a copy it holds.

radosgw (16.2.15 tried) ignores every condition of a write. Its SLO manifests cannot be read back,
lose their headers in the PUT and are listed as empty, so large objects go there as DLO, whose
listings are consistent there. An unknown product is believed to take no conditions, and DLO.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from objfs.store.base import Capabilities

_NO_CONDITIONS: Final = Capabilities(
    folder_objects=True,
    put_if_absent=False,
    put_if_match=False,
    finish_if_absent=False,
    finish_if_match=False,
    copy_if_match=False,
    copy_if_absent=False,
    part_copy=False,
    min_part=1,
    max_parts=1000,
)
MAX_PUT: Final = 5 * 2**30


@dataclass(frozen=True, slots=True)
class Product:
    """One cluster."""

    capabilities: Capabilities
    slo: bool
    """Large objects are written as static ones, else as dynamic ones."""
    page: int = 1000
    """The most entries that one listing may have."""
    bulk: int = 0
    """Keys in one bulk delete; 0 where there is none."""


UNKNOWN: Final = Product(_NO_CONDITIONS, slo=False)


def recognise(body: bytes, segment_size: int) -> Product:
    """The product behind an `/info`, `UNKNOWN` for what is no JSON; `segment_size` is the user's.

    radosgw says `max_object_name_size` where OpenStack says `max_object_name_length`.
    """
    try:
        info = json.loads(body)
        swift: dict[str, Any] = info.get("swift", {})
    except (ValueError, AttributeError):
        return UNKNOWN
    openstack = "max_object_name_length" in swift
    bulk = info.get("bulk_delete")
    capabilities = Capabilities(
        folder_objects=True,
        put_if_absent=openstack,
        put_if_match=False,
        finish_if_absent=openstack,
        finish_if_match=False,
        copy_if_match=openstack,
        copy_if_absent=False,
        part_copy=False,
        max_key=int(swift.get("max_object_name_length") or 1024),
        max_put=min(int(swift.get("max_file_size") or MAX_PUT), MAX_PUT),
        min_part=max(1, min(segment_size, MAX_PUT)),
        max_parts=int(info.get("slo", {}).get("max_manifest_segments") or 1000),
    )
    return Product(
        capabilities,
        slo=openstack and "slo" in info,
        page=int(swift.get("container_listing_limit") or 1000),
        bulk=int(bulk.get("max_deletes_per_request") or 0) if isinstance(bulk, dict) else 0,
    )
