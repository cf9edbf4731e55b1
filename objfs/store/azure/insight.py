"""What Azure's API tells beside what a mount needs (`objfs.store.insight`)."""

import base64
from contextlib import AbstractContextManager, nullcontext

from objfs.config import StoreConfig
from objfs.errors import Corrupt
from objfs.store.azure.client import connect
from objfs.store.bodies import md5


class AzureInsight:
    """One container, or the account when there is none. Raises as `connect` does."""

    def __init__(self, config: StoreConfig) -> None:
        self._signed = config.sign_requests
        self._service = connect(config)

    def who(self) -> str:
        """The storage account; whose token it is Azure does not tell."""
        account = f"storage account {self._service.account_name}"
        return account if self._signed else f"nobody (requests are not signed), {account}"

    def where(self) -> str:
        """The container's URL, without the SAS that may stand behind it."""
        return self._service.url("").partition("?")[0]

    def put_corrupt(self, key: str) -> bool:
        """With the Content-MD5 of other bytes; Md5Mismatch is the refusal."""
        body = b"these bytes"
        digest = base64.b64encode(md5(b"other bytes")).decode()
        sent = {"x-ms-blob-type": "BlockBlob", "Content-MD5": digest}
        try:
            self._service.send("PUT", key, "PUT", headers=sent, body=body, size=len(body))
        except Corrupt:
            return True
        return False

    def versions(self) -> str:
        """A setting of the account that only its management API tells."""
        return ""

    def around(self) -> AbstractContextManager[None]:
        """All is in the container."""
        return nullcontext()

    def close(self) -> None:
        """Close the connections."""
        self._service.close()
