"""What Swift's API tells beside what a mount needs (`objfs.store.insight`)."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from objfs.config import StoreConfig
from objfs.errors import Corrupt, NotFound, ObjfsError
from objfs.store.swift import wire
from objfs.store.swift.access import Access
from objfs.store.swift.environment import read_login
from objfs.store.swift.transport import Call, Transport

_VERSIONS = ("x-versions-enabled", "x-versions-location", "x-history-location")


class SwiftInsight:
    """One container, or the account when there is none.

    Raises `UsageError` and `BadCredentials` for a login that is not complete.
    """

    def __init__(self, config: StoreConfig, environ: Mapping[str, str] | None = None) -> None:
        self._container = config.bucket
        self._login = read_login(config, os.environ if environ is None else environ)
        self._access = Access(self._login, config.timeout)
        self._transport = Transport(self._access, config)

    def who(self) -> str:
        """User and account, as far as the login names them."""
        login = self._login
        account = self._access.url().rpartition("/")[2]
        if login.kind == "anonymous":
            return f"nobody (no login), account {account}"
        user = login.user or login.user_id or login.cloud
        return f"user {user}, account {account}" if user else f"account {account}"

    def where(self) -> str:
        """The account's URL."""
        return self._access.url()

    def put_corrupt(self, key: str) -> bool:
        """With the ETag of other bytes; 422 is the refusal."""
        headers = {"ETag": wire.md5(b"other bytes")}
        call = Call("PUT", "PUT", (self._container, key), headers=headers, body=b"these bytes")
        try:
            self._transport.ask(call)
        except Corrupt:
            return True
        return False

    def versions(self) -> str:
        """Whether the container has one of Swift's three ways of keeping them."""
        found = self._transport.ask(Call("HEAD", "HEAD", (self._container,))).headers
        return (
            "on" if any(found.get(name, "") not in {"", "False"} for name in _VERSIONS) else "off"
        )

    @contextmanager
    def around(self) -> Iterator[None]:
        """A container of segments is removed, if there was none; one that is in use stays."""
        segments = f"{self._container}_segments"
        try:
            self._transport.ask(Call("HEAD", "HEAD", (segments,)))
        except NotFound:
            made = True
        except ObjfsError:
            made = False  # who may not look may not remove either
        else:
            made = False
        try:
            yield
        finally:
            if made:
                with suppress(ObjfsError):  # not made, or somebody put segments there meanwhile
                    self._transport.ask(Call("DELETE", "DELETE", (segments,)))

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()
