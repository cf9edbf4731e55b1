"""A resumable upload: one session, one body, going on where a broken connection left it.

https://cloud.google.com/storage/docs/performing-resumable-uploads. The session's address is as
good as a credential, so it is in no message.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from objfs.errors import StoreError, Unavailable
from objfs.store.base import FileRange
from objfs.store.gcs.client import RESUME, Service

TRIES: Final = 4


class Session:
    """One upload of one object; `params` are its conditions and the fields of its answer."""

    def __init__(self, service: Service, key: str, url: str, params: Mapping[str, str]) -> None:
        self._service = service
        self._key = key
        self._url = url
        self._params = params

    def put(self, body: FileRange, told: Mapping[str, Any]) -> dict[str, Any]:
        """Store the body; the object's resource."""
        begun = self._service.send(
            "PUT",
            self._key,
            "POST",
            self._url,
            params={"uploadType": "resumable", **self._params},
            headers={
                "Content-Type": "application/json; charset=UTF-8",
                "X-Upload-Content-Type": told["contentType"],
                "X-Upload-Content-Length": str(body.size),
            },
            body=json.dumps(told).encode(),
        )
        address = begun.headers.get("Location", "")
        if not address:
            raise StoreError(f"PUT {self._key}: the store began no session")
        sent = 0
        for attempt in range(1, TRIES + 1):
            try:
                done = self._send(address, body, sent)
            except Unavailable:
                if attempt == TRIES:
                    raise
                done = self._ask(address, body.size)
            if done.status_code != RESUME:
                found: dict[str, Any] = done.json()
                return found
            sent = _received(done.headers)
        raise Unavailable(f"PUT {self._key}: the session does not come to its end")

    def _send(self, address: str, body: FileRange, sent: int) -> Any:
        """The rest of the body. Not repeated as it is: first one asks how far it came."""
        rest = FileRange(body.fd, body.start + sent, body.size - sent)
        return self._service.send(
            "PUT",
            self._key,
            "PUT",
            address,
            headers={
                "Content-Length": str(rest.size),
                "Content-Range": f"bytes {sent}-{body.size - 1}/{body.size}",
            },
            body=rest.open,
            again=False,
        )

    def _ask(self, address: str, size: int) -> Any:
        return self._service.send(
            "PUT",
            self._key,
            "PUT",
            address,
            headers={"Content-Length": "0", "Content-Range": f"bytes */{size}"},
            body=b"",
        )


def _received(headers: Mapping[str, str]) -> int:
    """How many bytes the session has: `Range: bytes=0-42`, none without it."""
    last = headers.get("Range", "").rpartition("-")[2]
    return int(last) + 1 if last.isdecimal() else 0
