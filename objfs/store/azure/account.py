"""The containers of one Azure account, on one pipeline."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace

from objfs.config import StoreConfig
from objfs.errors import Busy, Forbidden, InvalidName, NoSuchBucket, NotEmpty, UsageError
from objfs.store.account import BucketInfo
from objfs.store.azure import wire
from objfs.store.azure.client import connect
from objfs.store.azure.driver import CAPABILITIES, AzureStore
from objfs.store.base import Capabilities, Driver, Usage
from objfs.types import Expect, Headers, ObjectInfo

_CONTAINER = {"restype": "container"}


class AzureAccount:
    """All containers that these credentials reach; made without a request."""

    def __init__(self, config: StoreConfig) -> None:
        self._config = config
        self._service = connect(config)

    @property
    def capabilities(self) -> Capabilities:
        """What Azure honours."""
        return CAPABILITIES

    def check(self) -> None:
        """Whether endpoint and credentials are good; to list containers need not be allowed.

        Raises `BadCredentials` and `Unreachable`.
        """
        try:
            self._page("", 1)
        except Forbidden as error:
            if type(error) is not Forbidden:
                raise

    def buckets(self) -> Sequence[BucketInfo]:
        """All pages."""
        found: list[BucketInfo] = []
        marker = ""
        while True:
            root = self._page(marker, 5000)
            for item in root.iterfind("Containers/Container"):
                born = wire.when(item.findtext("Properties/Last-Modified") or "")
                found.append(BucketInfo(item.findtext("Name") or "", born))
            marker = root.findtext("NextMarker") or ""
            if not marker:
                return found

    def _page(self, marker: str, limit: int) -> ET.Element:
        params = {"comp": "list", "maxresults": str(limit)} | ({"marker": marker} if marker else {})
        answer = self._service.send("LIST", "", "GET", params=params)
        return wire.results(answer.content.decode("utf-8-sig"))

    def create_bucket(self, name: str) -> None:
        """A private one. One that is being deleted blocks its name for half a minute."""
        try:
            self._service.of(name).send("MAKE", "", "PUT", params=_CONTAINER)
        except UsageError as error:
            raise InvalidName(
                f"MAKE {name}: not a container's name",
                remedy="Use 3 to 63 small letters, digits and single hyphens.",
            ) from error
        except NoSuchBucket as error:
            raise Busy(f"MAKE {name}: a container of this name is being deleted") from error

    def remove_bucket(self, name: str) -> None:
        """Only an empty one, as far as a look just before it can tell.

        Semantics: Azure deletes a container with all that is in it, and has no condition for that.
        """
        service = self._service.of(name)
        try:
            params = _CONTAINER | {"comp": "list", "maxresults": "1", "include": "uncommittedblobs"}
            found = wire.listing(service.send("LIST", "", "GET", params=params).text())
            if found.objects or found.folders or found.marker:
                raise NotEmpty(f"REMOVE {name}: the container is not empty")
            service.send("REMOVE", "", "DELETE", params=_CONTAINER)
        except NoSuchBucket:
            return

    def open_bucket(self, name: str) -> Driver:
        """On the same connections."""
        config = replace(self._config, bucket=name, prefix="")
        return AzureStore(config, service=self._service.of(name))

    def copy(
        self,
        source: tuple[str, str],
        target: tuple[str, str],
        *,
        size: int,
        expect: Expect,
        headers: Headers | None,
    ) -> ObjectInfo:
        """As inside one container: a source is a URL."""
        config = replace(self._config, bucket=target[0], prefix="")
        store = AzureStore(config, service=self._service.of(target[0]))
        return store.copy(
            *(source[1], target[1]),
            size=size,
            expect=expect,
            headers=headers,
            source_url=self._service.of(source[0]).url(source[1]),
        )

    def usage(self) -> Usage | None:
        """None: Azure tells totals to its monitoring only."""
        return None

    def close(self) -> None:
        """Close the pooled connections."""
        self._service.close()
