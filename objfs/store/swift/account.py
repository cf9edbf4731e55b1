"""The containers of one Swift account, on one pool of connections.

Creating a container that exists is a success in Swift, so it is asked for first. Containers of
segments are shown like any other: they hold bytes that are paid for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote

from objfs.config import StoreConfig
from objfs.errors import Exists, NotEmpty, NotFound
from objfs.store.account import BucketInfo
from objfs.store.base import Capabilities, Driver, Usage
from objfs.store.swift import wire
from objfs.store.swift.driver import SwiftStore, connect
from objfs.store.swift.products import UNKNOWN, recognise
from objfs.store.swift.transport import Call
from objfs.types import Expect, Headers, ObjectInfo

_CONFLICT = 409


class SwiftAccount:
    """All containers of this login's account; made without a request.

    Raises `UsageError` and `BadCredentials` as `objfs.store.swift.driver.connect` does.
    """

    def __init__(self, config: StoreConfig, environ: Mapping[str, str] | None = None) -> None:
        self._config = config
        self._transport = connect(config, environ)
        self._capabilities = UNKNOWN.capabilities

    @property
    def capabilities(self) -> Capabilities:
        """Those of the product; exact after `check`."""
        return self._capabilities

    def check(self) -> None:
        """Whether the login is good, and what the cluster is."""
        answer = self._transport.info()
        product = recognise(answer.body if answer else b"", self._config.segment_size)
        self._capabilities = product.capabilities
        self._transport.ask(Call("HEAD", "HEAD", ()))

    def buckets(self) -> Sequence[BucketInfo]:
        """By pages, behind the last name."""
        found: list[BucketInfo] = []
        while True:
            marker = quote(found[-1].name, safe="") if found else ""
            call = Call("LIST", "GET", (), query=f"format=json&marker={marker}")
            page = wire.entries(self._transport.ask(call).body)
            found += [
                BucketInfo(entry["name"], wire.nanoseconds(entry.get("last_modified", "")))
                for entry in page
            ]
            if not page:
                return found

    def create_bucket(self, name: str) -> None:
        """With the account's own storage policy."""
        try:
            self._transport.ask(Call("HEAD", "HEAD", (name,)))
        except NotFound:
            self._transport.ask(Call("MAKE", "PUT", (name,)))
            return
        raise Exists(f"MAKE {name}: the container exists")

    def remove_bucket(self, name: str) -> None:
        """The store itself refuses one that is not empty."""
        try:
            call = Call("REMOVE", "DELETE", (name,))
            if self._transport.ask(call, allowed=(_CONFLICT,)).status == _CONFLICT:
                raise NotEmpty(f"REMOVE {name}: the container is not empty")
        except NotFound:
            return

    def open_bucket(self, name: str) -> Driver:
        """On the same connections."""
        return self._store(name)

    def copy(
        self,
        source: tuple[str, str],
        target: tuple[str, str],
        *,
        size: int,
        expect: Expect,
        headers: Headers | None,
    ) -> ObjectInfo:
        """As inside one container; a large object's segments are copied too."""
        return self._store(target[0]).copy(
            *(source[1], target[1]),
            size=size,
            expect=expect,
            headers=headers,
            origin=self._store(source[0]),
        )

    def usage(self) -> Usage | None:
        """The account's totals, which Swift's updaters bring up to date by and by."""
        found = self._transport.ask(Call("HEAD", "HEAD", ())).headers
        return Usage(
            int(found.get("x-account-bytes-used") or 0),
            int(found.get("x-account-object-count") or 0),
        )

    def close(self) -> None:
        """Close the pooled connections."""
        self._transport.close()

    def _store(self, name: str) -> SwiftStore:
        config = replace(self._config, bucket=name, prefix="")
        return SwiftStore(config, transport=self._transport)
