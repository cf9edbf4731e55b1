"""Azure: URLs with a shared access signature (SAS), metadata of blobs and containers.

A SAS is signed with the account's key, or, for a login of Entra ID, with a key that Azure gives
that user for at most seven days
(https://learn.microsoft.com/rest/api/storageservices/create-user-delegation-sas). Who has only a
SAS can sign none.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from azure.storage.blob import generate_blob_sas

from objfs.config import StoreConfig
from objfs.errors import BadCredentials, Unsupported, UsageError
from objfs.store.azure import wire
from objfs.store.azure.client import connect
from objfs.store.azure.driver import AzureStore
from objfs.store.azure.errors import mapped
from objfs.store.base import etag_of
from objfs.store.sharing import not_offered

LONGEST: Final = 7 * 24 * 3600
"""Seconds that a key for a user may be good."""
SKEW: Final = timedelta(minutes=15)
"""How far before now it begins, as Microsoft advises for clocks that differ."""


class AzureSharing:
    """One container; made without a request, raises as `connect` does."""

    def __init__(self, config: StoreConfig) -> None:
        self._config = config
        self._service = connect(config)
        self._store = AzureStore(config)

    def share(self, key: str, seconds: int) -> str:
        """The blob's URL with a SAS to read it."""
        self._store.head(key)
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        sas = generate_blob_sas(
            account_name=self._service.account.account_name or "",
            container_name=self._config.bucket,
            blob_name=key,
            permission="r",
            expiry=until,
            **self._signer(key, until, seconds),
        )
        return f"{self._service.url(key)}?{sas}"

    def _signer(self, key: str, until: datetime, seconds: int) -> dict[str, Any]:
        credential = self._service.account.credential
        if hasattr(credential, "account_key"):
            return {"account_key": credential.account_key}
        if not hasattr(credential, "get_token"):
            raise BadCredentials(
                f"share {key}: without the account's key or a login nothing can be signed",
                remedy="Set AZURE_STORAGE_KEY, or run az login.",
            )
        if seconds > LONGEST:
            raise UsageError(
                f"share {key}: a login signs for 7 days at most",
                remedy="Give --expires 7d or less, or the account's key.",
            )
        with mapped("share", key):
            return {
                "user_delegation_key": self._service.account.get_user_delegation_key(
                    datetime.now(UTC) - SKEW, until
                )
            }

    def publish(self, prefix: str) -> str:  # noqa: ARG002  # the protocol's
        """Not offered."""
        raise not_offered("publish", self._config, "public reading")

    def unpublish(self, prefix: str) -> None:  # noqa: ARG002  # the protocol's
        """Not offered."""
        raise not_offered("unpublish", self._config, "public reading")

    def metadata(self) -> Mapping[str, str]:
        """The container's."""
        self._no_account("meta get")
        answer = self._service.send("meta get", "", "GET", params={"restype": "container"})
        return wire.metadata_of(answer.headers)

    def set_metadata(self, changed: Mapping[str, str], removed: Collection[str]) -> None:
        """Azure replaces all at once: who changes them at the same time is overwritten."""
        headers = _changed(self.metadata(), changed, removed)
        params = {"restype": "container", "comp": "metadata"}
        self._service.send("meta set", "", "PUT", params=params, headers=headers)

    def set_object_metadata(
        self, key: str, changed: Mapping[str, str], removed: Collection[str]
    ) -> None:
        """No other header is touched."""
        found = self._service.send("meta set", key, "HEAD").headers
        headers = _changed(wire.metadata_of(found), changed, removed)
        headers["If-Match"] = f'"{etag_of(found["ETag"])}"'
        self._service.send("meta set", key, "PUT", params={"comp": "metadata"}, headers=headers)

    def close(self) -> None:
        """Close the pooled connections."""
        self._store.close()
        self._service.close()

    def _no_account(self, operation: str) -> None:
        if not self._config.bucket:
            raise Unsupported(f"{operation} {self._config.url}: an account has no metadata here")


def _changed(
    old: Mapping[str, str], changed: Mapping[str, str], removed: Collection[str]
) -> dict[str, str]:
    """The headers of all metadata. Azure keeps the case of a name, and tells none apart by it."""
    gone = {name.lower() for name in (*changed, *removed)}
    kept = {name: value for name, value in old.items() if name.lower() not in gone}
    return wire.metadata_headers({**kept, **changed})
