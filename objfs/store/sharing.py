"""What a store does beside its objects: temporary URLs, public reading, a bucket's metadata.

These are calls for a person at a prompt, so they are no part of `Driver`: nothing of a mount needs
them, and each product has its own idea of them. A store without one of them raises `Unsupported`.
"""

from collections.abc import Collection, Mapping
from typing import Final, Protocol

from objfs.config import StoreConfig
from objfs.errors import Unsupported
from objfs.store import extra, open_store
from objfs.store.base import Driver
from objfs.types import Expect, Headers, ObjectInfo

_LOCAL: Final = frozenset({"file", "mem"})
_LATER: Final = frozenset({"az", "gs"})
"""Schemes whose stores could do more than objfs asks of them."""


class Sharing(Protocol):
    """One bucket or account of one store. Methods block.

    All of them may raise `NoSuchBucket`, `Forbidden`, `BadCredentials` and `Unavailable`.
    """

    def share(self, key: str, seconds: int) -> str:
        """A URL by which anybody reads the object for so long.

        Raises `NotFound`, `UsageError` for a time that the store does not take, `Unsupported`.
        """

    def publish(self, prefix: str) -> str:
        """Let anybody read what is below `prefix` ("" for all); the URL in front of the keys.

        To publish twice is no error. Raises `Unsupported`.
        """

    def unpublish(self, prefix: str) -> None:
        """Take `publish` back; what was not published is no error. Raises `Unsupported`."""

    def metadata(self) -> Mapping[str, str]:
        """The bucket's or account's own, without secrets. Raises `Unsupported`."""

    def set_metadata(self, changed: Mapping[str, str], removed: Collection[str]) -> None:
        """Set and remove some, keep the others. Raises `Unsupported`."""

    def set_object_metadata(
        self, key: str, changed: Mapping[str, str], removed: Collection[str]
    ) -> None:
        """The same of an object; its bytes and its other headers stay.

        Raises `NotFound`, and `PreconditionFailed` when it was replaced meanwhile.
        """

    def close(self) -> None:
        """Give back connections and files."""


def open_sharing(config: StoreConfig) -> Sharing:
    """For a bucket, or for an account; no request is made yet. Raises as `open_store` does."""
    match config.scheme:
        case "s3":
            from objfs.store.s3.sharing import S3Sharing

            return S3Sharing(config)
        case "swift":
            with extra("swift", "swift"):
                from objfs.store.swift.sharing import SwiftSharing
            return SwiftSharing(config)
        case "az":
            with extra("azure", "az"):
                from objfs.store.azure.sharing import AzureSharing
            return AzureSharing(config)
        case _:
            return Local(config)


class Local:
    """Stores without a server: there is nobody to share with. And those not served here yet."""

    def __init__(self, config: StoreConfig) -> None:
        self._config = config

    def share(self, key: str, seconds: int) -> str:  # noqa: ARG002  # the protocol's
        """Not offered."""
        raise not_offered(f"share {key} of", self._config, "temporary URLs")

    def publish(self, prefix: str) -> str:  # noqa: ARG002  # the protocol's
        """Not offered."""
        raise not_offered("publish", self._config, "public reading")

    def unpublish(self, prefix: str) -> None:  # noqa: ARG002  # the protocol's
        """Not offered."""
        raise not_offered("unpublish", self._config, "public reading")

    def metadata(self) -> Mapping[str, str]:
        """Not offered."""
        raise not_offered("meta", self._config, "metadata of buckets")

    def set_metadata(self, changed: Mapping[str, str], removed: Collection[str]) -> None:  # noqa: ARG002  # the protocol's
        """Not offered."""
        raise not_offered("meta", self._config, "metadata of buckets")

    def set_object_metadata(
        self, key: str, changed: Mapping[str, str], removed: Collection[str]
    ) -> None:
        """By a copy onto itself, where that forgets no other header."""
        if self._config.scheme not in _LOCAL:
            raise not_offered("meta set", self._config, "metadata of objects")
        driver = open_store(self._config, create=False)
        try:
            copy_onto_itself(driver, key, changed, removed)
        finally:
            driver.close()

    def close(self) -> None:
        """Nothing is held."""


def copy_onto_itself(
    driver: Driver, key: str, changed: Mapping[str, str], removed: Collection[str]
) -> ObjectInfo:
    """Replace an object's metadata where the driver's copy keeps all other headers."""
    found = driver.head(key)
    headers = Headers(found.content_type or "", merged(found.metadata or {}, changed, removed))
    condition = Expect(etag=found.etag) if driver.capabilities.copy_if_match else Expect()
    return driver.copy(key, key, size=found.size, expect=condition, headers=headers)


def merged(
    old: Mapping[str, str], changed: Mapping[str, str], removed: Collection[str]
) -> dict[str, str]:
    """The new metadata."""
    return {name: value for name, value in {**old, **changed}.items() if name not in removed}


def not_offered(operation: str, config: StoreConfig, what: str) -> Unsupported:
    """The error of a store that lacks it."""
    who = "objfs" if config.scheme in _LATER else "this store"
    return Unsupported(f"{operation} {config.url}: {who} offers no {what}")
